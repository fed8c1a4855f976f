"""OpenTelemetry traces over OTLP/HTTP: a span from the door on, and in it decode, score and encode.

Imported only where traces are on: the SDK and its exporter would cost every replica memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

EXPORT_TIMEOUT_S = 2.0  # a replica that ends waits for it


class Traces:
    """Sends spans to the collector at `endpoint`, beside the requests; a caller's `traceparent` decides, else the `rate`."""

    def __init__(self, endpoint: str, rate: float, about: Mapping[str, str]) -> None:
        # A provider of its own: the global one may be Ray's.
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "vigil", **about}),
            sampler=ParentBased(TraceIdRatioBased(rate)),
        )
        url = (
            endpoint if urlsplit(endpoint).path.strip("/") else f"{endpoint.rstrip('/')}/v1/traces"
        )
        exporter = OTLPSpanExporter(url, timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("vigil")
        self._propagator = TraceContextTextMapPropagator()

    def sample(self, rate: float) -> None:
        """Another share, of those whose caller sends no `traceparent`."""
        self._provider.sampler = ParentBased(TraceIdRatioBased(rate))
        self._tracer = self._provider.get_tracer("vigil")

    def begin(self, name: str, carrier: dict[str, str], at_ns: int) -> Span:
        """The span of one request; `carrier` has its traceparent and tracestate, if any."""
        parent = self._propagator.extract(carrier)
        return self._tracer.start_span(name, parent, kind=SpanKind.SERVER, start_time=at_ns)

    def end(
        self,
        span: Span,
        attributes: Mapping[str, Any],
        parts: Mapping[str, tuple[int, int]],
        at_ns: int,
    ) -> None:
        """Its end, with the parts that it had: begin and end of each in Unix nanoseconds."""
        if span.is_recording():
            inside = trace.set_span_in_context(span)
            for name, (began, ended) in parts.items():
                self._tracer.start_span(name, inside, start_time=began).end(ended)
            span.set_attributes(dict(attributes))
            if attributes["http.response.status_code"] >= 500:
                span.set_status(StatusCode.ERROR)
        span.end(at_ns)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()
