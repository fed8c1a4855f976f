"""OpenTelemetry traces over OTLP/HTTP: a span from the gateway on; in it decode, score and encode.

Imported only where traces are on: the SDK and its exporter would cost every replica memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from vigil.json_types import Fields

EXPORT_TIMEOUT_S = 2.0  # a replica that ends waits for it


class Traces:
    """Sends spans to the collector at `endpoint`, beside the requests.

    A caller's `traceparent` decides whether a request is traced, else the `rate`.
    """

    def __init__(
        self,
        endpoint: str,
        rate: float,
        resource: Mapping[str, str],
    ) -> None:
        # A provider of its own: the global one may be Ray's.
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "vigil", **resource}),
            sampler=_sampler(rate),
        )
        exporter = OTLPSpanExporter(_traces_url(endpoint), timeout=EXPORT_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("vigil")
        self._propagator = TraceContextTextMapPropagator()

    def sample(self, rate: float) -> None:
        """Trace another share, of those whose caller sends no `traceparent`."""
        self._provider.sampler = _sampler(rate)
        self._tracer = self._provider.get_tracer("vigil")

    def begin(
        self,
        name: str,
        carrier: dict[str, str],
        at_ns: int,
    ) -> Span:
        """Begin the span of one request; `carrier` has its traceparent and tracestate, if any."""
        parent = self._propagator.extract(carrier)
        return self._tracer.start_span(name, parent, kind=SpanKind.SERVER, start_time=at_ns)

    def end(
        self,
        span: Span,
        attributes: Fields,
        stages: Mapping[str, tuple[int, int]],
        at_ns: int,
    ) -> None:
        """End it, with a span for each stage: begin and end of each in Unix nanoseconds."""
        if span.is_recording():
            self._add_stages(span, stages)
            span.set_attributes(dict(attributes))
            if attributes["http.response.status_code"] >= 500:
                span.set_status(StatusCode.ERROR)
        span.end(at_ns)

    def _add_stages(self, span: Span, stages: Mapping[str, tuple[int, int]]) -> None:
        parent = trace.set_span_in_context(span)
        for name, (began, ended) in stages.items():
            self._tracer.start_span(name, parent, start_time=began).end(ended)

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()


def _sampler(rate: float) -> Sampler:
    return ParentBased(TraceIdRatioBased(rate))


def _traces_url(endpoint: str) -> str:
    """The endpoint itself where it has a path, else that of the protocol."""
    if urlsplit(endpoint).path.strip("/"):
        return endpoint
    return f"{endpoint.rstrip('/')}/v1/traces"
