"""What the request log and traces need to know of a request, gathered around doors and scoring, and only where one is on.

Both can be switched on while the replica runs: a request that nobody observes pays for the question alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import importlib.metadata
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from serve.http.gateway import Handler, Message, Request, Response, Route
from serve.http.request_log import RequestLog
from serve.metrics import ServeMetrics
from serve.settings import ServeSettings
from vigil.arrays import Floats
from vigil.home import Home

if TYPE_CHECKING:
    from serve.http.traces import Traces
    from serve.model.loaded import LoadedModel

Score = Callable[["LoadedModel", Floats, Request], tuple["LoadedModel", Floats]]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Any]], Awaitable[None]
]
MAX_PATH = 200
READS = ("GET", "HEAD")  # probes, scrapes and pages


@dataclass
class Seen:
    """One request under observation; times are in Unix ns, 0 where it did not come so far."""

    began: int
    decoding: int = 0
    scoring: int = 0
    scored: int = 0
    encoded: int = 0
    status: int = 0
    rows: int | None = None
    anomalies: int | None = None
    model_version: str | None = None

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """The parts that were gone through, with begin and end."""
        found = {
            "decode": (self.decoding, self.scoring),
            "score": (self.scoring, self.scored),
            "encode": (self.scored, self.encoded),
        }
        return {name: times for name, times in found.items() if all(times)}

    def result(self, prefix: str = "") -> dict[str, Any]:
        """What was scored, if it was."""
        if self.model_version is None:
            return {}
        return {
            f"{prefix}{key}": getattr(self, key) for key in ("rows", "anomalies", "model_version")
        }


SEEN: contextvars.ContextVar[Seen | None] = contextvars.ContextVar("seen", default=None)


class RequestObserver:
    """Wraps routes, scoring and gateway."""

    def __init__(self, settings: ServeSettings, metrics: ServeMetrics, replica: str) -> None:
        self._log = RequestLog(Home(settings.home).logs / "requests" / f"{replica}.jsonl", metrics)
        self._rate = settings.request_log_rate
        self._traces: Traces | None = None
        if settings.traces_endpoint:
            from serve.http.traces import Traces  # here: the SDK takes memory

            about = {
                "service.version": importlib.metadata.version("vigil"),
                "service.instance.id": replica,
            }
            self._traces = Traces(settings.traces_endpoint, settings.traces_rate, about)

    def follow_settings(self, settings: ServeSettings) -> None:
        """Observe another share of the requests."""
        self._rate = settings.request_log_rate
        if self._traces is not None:
            self._traces.sample(settings.traces_rate)

    async def flush(self) -> None:
        """Write the request log, off the event loop."""
        if lines := self._log.take():
            await asyncio.to_thread(self._log.write, lines)

    def close(self) -> None:
        """Send what waits; returns within seconds."""
        if self._traces is not None:
            self._traces.close()

    def routes(self, routes: dict[str, Route]) -> dict[str, Route]:
        """The routes, whose scoring handlers note when they begin and end."""

        def observed(handler: Handler) -> Handler:
            async def noting(call: Request) -> Response:
                if (seen := SEEN.get()) is None:
                    return await handler(call)
                seen.decoding = time.time_ns()
                answer = await handler(call)
                seen.encoded = time.time_ns()
                return answer

            return noting

        return {
            path: replace(
                route, methods={name: observed(handler) for name, handler in route.methods.items()}
            )
            if route.scores
            else route
            for path, route in routes.items()
        }

    def scoring(self, score: Score) -> Score:
        """The scoring path, which notes what it scored, with which model, and when."""

        def noting(model: LoadedModel, rows: Floats, call: Request) -> tuple[LoadedModel, Floats]:
            if (seen := SEEN.get()) is None:
                return score(model, rows, call)
            seen.scoring, seen.rows = time.time_ns(), len(rows)
            model, scores = score(model, rows, call)
            seen.scored, seen.model_version = time.time_ns(), model.version
            seen.anomalies = int(np.count_nonzero(scores > model.bundle.threshold.value))
            return model, scores

        return noting

    def gateway(self, app: App) -> App:
        """The gateway, observed but for reads."""

        async def observed(
            scope: Message,
            receive: Callable[[], Awaitable[Message]],
            send: Callable[[Message], Any],
        ) -> None:
            sampled = self._rate > 0 and random.random() < self._rate
            if not (sampled or self._traces) or scope["type"] != "http" or scope["method"] in READS:
                await app(scope, receive, send)
                return
            await self._observe(app, scope, receive, send, sampled)

        return observed

    async def _observe(
        self, app: App, scope: Message, receive: Any, send: Callable[[Message], Any], sampled: bool
    ) -> None:
        seen, call = Seen(time.time_ns()), Request(dict(scope["headers"]))
        span = (
            self._traces.begin(_name(scope), _carrier(call.headers), seen.began)
            if self._traces
            else None
        )

        async def noting(message: Message) -> None:
            seen.status = message.get("status", seen.status)
            await send(message)

        token = SEEN.set(seen)
        try:
            await app(scope, receive, noting)
        finally:
            SEEN.reset(token)
            ended, path = time.time_ns(), scope["path"][:MAX_PATH]
            if span is not None and self._traces is not None:
                about = {
                    "http.request.method": scope["method"],
                    "url.path": path,
                    "http.response.status_code": seen.status,
                }
                about |= {"vigil.request_id": call.request_id} | seen.result("vigil.")
                self._traces.end(span, about, seen.parts, ended)
            if sampled:
                trace = (
                    f"{span.get_span_context().trace_id:032x}"
                    if span is not None
                    else call.trace_id
                )
                took = round((ended - seen.began) / 1e6, 3)
                self._log.add(
                    {
                        "time": seen.began / 1e9,
                        "request_id": call.request_id,
                        "trace_id": trace,
                        "path": path,
                        "status": seen.status,
                        "latency_ms": took,
                        **seen.result(),
                    }
                )


def _name(scope: Message) -> str:
    """Of a span: as many names as there are doors, whatever callers send."""
    path = scope["path"]
    known = (
        "/v2"
        if path.startswith("/v2/")
        else path
        if path in ("/predict", "/invocations", "/feedback")
        else "other"
    )
    return f"{scope['method'] if scope['method'] == 'POST' else '_OTHER'} {known}"


def _carrier(headers: dict[bytes, bytes]) -> dict[str, str]:
    return {
        name.decode(): headers[name].decode("latin-1")
        for name in (b"traceparent", b"tracestate")
        if name in headers
    }
