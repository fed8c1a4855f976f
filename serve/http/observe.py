"""The request log and traces: what is observed of which request.

Both can be switched on while the replica runs: a request that nobody observes pays for the question
alone.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

from serve.http.messages import Request
from serve.http.observation import RequestObservation
from serve.http.request_log import RequestLog
from serve.metrics import ServeMetrics
from serve.settings import ServeSettings
from vigil.home import Home
from vigil.json_types import JsonObject
from vigil.release import installed_version

if TYPE_CHECKING:
    from serve.http.traces import Traces

MAX_LOGGED_PATH = 200
_UNOBSERVED_METHODS = ("GET", "HEAD")  # probes, scrapes and pages
_NAMED_PATHS = ("/predict", "/invocations", "/feedback")


class RequestObserver:
    """Begins and ends observations for the gateway; `log_rate` is the share of logged requests."""

    def __init__(
        self,
        request_log: RequestLog,
        log_rate: float,
        traces: Traces | None = None,
    ) -> None:
        self._log = request_log
        self._log_rate = log_rate
        self._traces = traces

    @classmethod
    def from_settings(
        cls,
        settings: ServeSettings,
        metrics: ServeMetrics,
        replica: str,
    ) -> RequestObserver:
        """Return the observer of the replica with this name."""
        file = _log_file(settings, replica)
        traces = _open_traces(settings, replica)
        return cls(RequestLog(file, metrics), settings.request_log_rate, traces)

    def follow_settings(self, settings: ServeSettings) -> None:
        """Observe another share of the requests."""
        self._log_rate = settings.request_log_rate
        if self._traces is not None:
            self._traces.sample(settings.traces_rate)

    def begin(self, request: Request) -> RequestObservation | None:
        """Return the observation of a request that begins; None when nobody observes it."""
        log_rate = self._log_rate
        is_logged = log_rate > 0 and random.random() < log_rate
        if not is_logged and self._traces is None:
            return None
        if request.method in _UNOBSERVED_METHODS:
            return None
        observation = RequestObservation(is_logged, began=time.time_ns())
        if self._traces is not None:
            observation.span = self._traces.begin(
                _span_name(request),
                _trace_context(request),
                observation.began,
            )
        return observation

    def end(self, request: Request, observation: RequestObservation) -> None:
        """Write down a request whose response was sent."""
        ended = time.time_ns()
        if self._traces is not None and observation.span is not None:
            attributes = _span_attributes(request, observation)
            self._traces.end(observation.span, attributes, observation.stages, at_ns=ended)
        if observation.is_logged:
            self._log.add(_log_line(request, observation, ended))

    async def flush(self) -> None:
        """Write the request log, off the event loop."""
        if lines := self._log.take():
            await asyncio.to_thread(self._log.write, lines)

    def close(self) -> None:
        """Send the spans that wait; returns within seconds."""
        if self._traces is not None:
            self._traces.close()


def _log_file(settings: ServeSettings, replica: str) -> Path:
    return Home(settings.home).logs / "requests" / f"{replica}.jsonl"


def _open_traces(settings: ServeSettings, replica: str) -> Traces | None:
    """Where an endpoint takes them."""
    if not settings.traces_endpoint:
        return None
    from serve.http.traces import Traces  # here: the SDK takes memory

    resource = {
        "service.version": installed_version(),
        "service.instance.id": replica,
    }
    return Traces(settings.traces_endpoint, settings.traces_rate, resource)


def _log_line(request: Request, observation: RequestObservation, ended: int) -> JsonObject:
    began = observation.began
    return {
        "time": began / 1e9,
        "request_id": request.request_id,
        "trace_id": _trace_id(request, observation),
        "path": request.path[:MAX_LOGGED_PATH],
        "status": observation.status,
        "latency_ms": round((ended - began) / 1e6, 3),
        **observation.result,
    }


def _trace_id(request: Request, observation: RequestObservation) -> str | None:
    """The trace that the request was recorded in, else the one that its caller names."""
    if observation.span is None:
        return request.trace_id
    return f"{observation.span.get_span_context().trace_id:032x}"


def _span_attributes(request: Request, observation: RequestObservation) -> JsonObject:
    attributes = {
        "http.request.method": request.method,
        "url.path": request.path[:MAX_LOGGED_PATH],
        "http.response.status_code": observation.status,
        "vigil.request_id": request.request_id,
    }
    for name, value in observation.result.items():
        attributes[f"vigil.{name}"] = value
    return attributes


def _span_name(request: Request) -> str:
    """A name from a small set, whatever callers send."""
    method = request.method if request.method == "POST" else "_OTHER"
    return f"{method} {_span_path(request.path)}"


def _span_path(path: str) -> str:
    if path.startswith("/v2/"):
        return "/v2"
    if path in _NAMED_PATHS:
        return path
    return "other"


def _trace_context(request: Request) -> dict[str, str]:
    """The headers of W3C Trace Context that the caller sent."""
    headers = request.headers
    return {
        name.decode(): headers[name].decode("latin-1")
        for name in (b"traceparent", b"tracestate")
        if name in headers
    }
