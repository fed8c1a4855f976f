"""The ASGI application in front of the handlers: finds the route, admits the caller, reads the body, tells what is refused.

Not Starlette's router: a request whose row is scored in microseconds would spend most of its time in there.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from serve.http.auth import Authenticator, Caller
from serve.metrics import ServeMetrics
from serve.settings import ServeSettings
from vigil.errors import BodyTooLarge, VigilError

log = logging.getLogger("ray.serve")
Headers = tuple[tuple[bytes, bytes], ...]
Message = dict[str, Any]
JSON = b"application/json"
MODEL_PATH = re.compile(r"(/v2/models/)([^/]+)((?:/versions/)([^/]+))?(/infer|/ready)?")
MAX_REQUEST_ID = 128
TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")
HURRIED_S = 0.5
NOT_MODIFIED = 304
SMALL_DIGITS = 3  # of a Content-Length: a body under 1,000 bytes is not worth counting
BODY_LIMIT = "the body is larger than {} bytes: send fewer rows per request"


@dataclass(slots=True)
class Request:
    """One request: `name` and `version` are those of an Open Inference path, `caller` is None where nobody is asked who it is."""

    headers: dict[bytes, bytes]
    body: bytes = b""
    name: str = ""
    version: str | None = None
    caller: Caller | None = None

    @property
    def request_id(self) -> str:
        """The client's X-Request-Id, else the one that Serve made; Serve also puts it into the answer's headers."""
        return self.headers.get(b"x-request-id", b"").decode("latin-1")[:MAX_REQUEST_ID]

    @property
    def content_type(self) -> str:
        """In lower case, without parameters; empty when there is none."""
        return (
            self.headers.get(b"content-type", b"")
            .decode("latin-1")
            .partition(";")[0]
            .strip()
            .lower()
        )

    @property
    def trace_id(self) -> str | None:
        """The trace that the caller says the request belongs to."""
        found = TRACEPARENT.fullmatch(self.headers.get(b"traceparent", b""))
        return found[1].decode() if found else None

    @property
    def about(self) -> dict[str, str | None]:
        """What a line in the log says of the request."""
        return {"request_id": self.request_id, "trace_id": self.trace_id}


@dataclass(frozen=True, slots=True)
class Response:
    """What a handler gives back."""

    body: bytes
    kind: bytes = JSON
    headers: Headers = ()
    status: int = 200


Handler = Callable[[Request], Awaitable[Response]]
Admission = Callable[[Request], None]  # raises VigilError


def _vigil(error: VigilError) -> dict[str, object]:
    return error.body()


def _mlflow(error: VigilError) -> dict[str, object]:
    codes = {
        401: "UNAUTHENTICATED",
        404: "ENDPOINT_NOT_FOUND",
        500: "INTERNAL_ERROR",
        503: "TEMPORARILY_UNAVAILABLE",
    }
    return {"error_code": codes.get(error.status, "BAD_REQUEST"), "message": error.message}


def _open_inference(error: VigilError) -> dict[str, object]:
    return {"error": error.message}


@dataclass(frozen=True)
class Route:
    """A handler by HTTP method. `open` asks for no key; `refusal` is the form of the protocol's errors; `scores` is counted;
    `admit` has the last word on who may come in."""

    methods: dict[str, Handler]
    open: bool = False
    refusal: Callable[[VigilError], dict[str, object]] = field(default=_vigil)
    scores: bool = False
    admit: Admission | None = None


class NotFound(VigilError):
    """There is no such path."""

    status = 404


class MethodNotAllowed(VigilError):
    """The path has other methods."""

    status = 405


class HeadersTooLarge(VigilError):
    """The headers are over the limit."""

    status = 431


class UnsupportedMediaType(VigilError):
    """The body is of a kind that this path does not read."""

    status = 415


class TooSlow(VigilError):
    """The client did not send its body in time."""

    status = 408


class Overloaded(VigilError):
    """More is being read and scored than the replica can do soon."""

    def __init__(self, status: int) -> None:
        super().__init__(
            "the service is overloaded: try again after Retry-After, with a pause that grows"
        )
        self.status = status


class InternalError(VigilError):
    """A fault of the service."""


class Gateway:
    """The ASGI callable. `routes` are by path; those of the Open Inference Protocol by `/v2/models/{name}/...`."""

    def __init__(
        self, routes: dict[str, Route], settings: ServeSettings, metrics: ServeMetrics
    ) -> None:
        self._routes = routes
        self._settings = settings
        self._metrics = metrics
        self._ok = metrics.requests.labels("ok")
        self._authenticator = Authenticator(settings)
        self._pending = 0  # bytes of bodies that are read or scored
        self._receiving = (
            0  # requests whose body is not there yet; each holds a slot of the replica
        )
        metrics.pending.set_function(lambda: self._pending)

    def follow_settings(self, settings: ServeSettings) -> None:
        """Other limits from the next request on; who is let in stays."""
        self._settings = settings

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Any],
    ) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        began = time.perf_counter()
        method, route, held = scope["method"], None, 0
        call = Request(dict(scope["headers"]))
        try:
            route = self._find(scope["path"], call)
            handler = route.methods.get(method)
            if handler is None:
                raise MethodNotAllowed(
                    f"{method} is not for {scope['path']}; it has {', '.join(route.methods)}"
                )
            self._admit(scope["headers"])
            if not route.open:
                await self._let_in(route, call)
            if method == "POST":
                held = self._hold(call.headers)
                call.body = await self._body(call.headers, receive)
            answer = await handler(call)
            if route.scores:
                self._ok.inc()
                self._metrics.latency.observe(time.perf_counter() - began)
        except VigilError as error:
            answer = self._refused(error, scope["path"], route)
        except Exception:
            log.exception("%s %r failed", method, scope["path"], extra=call.about)
            answer = self._refused(
                InternalError("the service failed on this request; its log says why"),
                scope["path"],
                route,
            )
        finally:
            if held:
                asyncio.get_running_loop().call_soon(self._release, held)
        await send(
            {"type": "http.response.start", "status": answer.status, "headers": _head(answer)}
        )
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})

    def _find(self, path: str, call: Request) -> Route:
        route = self._routes.get(path)
        if route is not None:
            return route
        if found := MODEL_PATH.fullmatch(path):
            prefix, call.name, versions, call.version, action = found.groups()
            if route := self._routes.get(
                f"{prefix}{{name}}{'/versions/{version}' if versions else ''}{action or ''}"
            ):
                return route
        raise NotFound(f"there is no {path}; /docs describes what there is")

    async def _let_in(self, route: Route, call: Request) -> None:
        if self._authenticator.required:
            call.caller = await self._authenticator.caller(call.headers)
        if route.admit is not None:
            route.admit(call)

    def _admit(self, headers: list[tuple[bytes, bytes]]) -> None:
        size = 0
        for name, value in headers:
            size += len(name) + len(value)
        if size > self._settings.max_header_bytes:
            raise HeadersTooLarge(
                f"the headers have {size} bytes, the limit is {self._settings.max_header_bytes}"
            )

    def _hold(self, headers: dict[bytes, bytes]) -> int:
        """Count the body among those in work, unless they are too many: a row costs little, a batch a thousand times that, so
        bytes say how long a new request would wait, and a number of requests does not.

        They are let go only when the loop comes round: what was read together is scored one after the other, and the last of
        many large bodies has waited for all the others.
        """
        declared = headers.get(b"content-length", b"")
        size = int(declared) if declared.isdigit() and SMALL_DIGITS < len(declared) < 16 else 0
        if self._pending and self._pending + size > self._settings.max_pending_bytes:
            raise Overloaded(self._settings.overload_status)
        self._pending += size
        return size

    def _release(self, held: int) -> None:
        self._pending -= held

    async def _body(
        self, headers: dict[bytes, bytes], receive: Callable[[], Awaitable[Message]]
    ) -> bytes:
        """The body, refused as soon as it is known to be over the limit or slow."""
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise UnsupportedMediaType("the body is compressed: send it as it is")
        limit, declared = self._settings.max_body_bytes, headers.get(b"content-length", b"")
        if declared.isdigit() and (len(declared) > 15 or int(declared) > limit):
            raise BodyTooLarge(BODY_LIMIT.format(limit))
        chunks: list[bytes] = []
        size, more, patience_s = 0, True, self._settings.body_timeout_s
        if self._receiving > self._settings.max_ongoing_requests // 2:
            patience_s = min(patience_s, HURRIED_S)  # slow clients may not take all slots
        self._receiving += 1
        try:
            async with asyncio.timeout(patience_s):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise TooSlow("the client went away")
                    chunks.append(message.get("body", b""))
                    size, more = size + len(chunks[-1]), message.get("more_body", False)
                    if size > limit:
                        raise BodyTooLarge(BODY_LIMIT.format(limit))
        except TimeoutError as error:
            raise TooSlow(f"the body did not arrive in {patience_s:g} s") from error
        finally:
            self._receiving -= 1
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _refused(self, error: VigilError, path: str, route: Route | None) -> Response:
        self._metrics.requests.labels(type(error).__name__).inc()
        refusal = route.refusal if route else _open_inference if path.startswith("/v2") else _vigil
        headers: list[tuple[bytes, bytes]] = []
        if isinstance(error, Overloaded):
            headers.append((b"retry-after", b"%d" % max(1, round(self._settings.retry_after_s))))
        elif error.status == 503:
            headers.append((b"retry-after", b"2"))
        elif error.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        elif error.status == 405 and route:
            headers.append((b"allow", ", ".join(route.methods).encode()))
        return Response(
            msgspec.json.encode(refusal(error)), headers=tuple(headers), status=error.status
        )


def _head(answer: Response) -> list[tuple[bytes, bytes]]:
    if (
        answer.status == NOT_MODIFIED
    ):  # the length would have to be that of the body which is not sent
        return [(b"content-type", answer.kind), *answer.headers]
    return [
        (b"content-type", answer.kind),
        (b"content-length", b"%d" % len(answer.body)),
        *answer.headers,
    ]


def require_content_type(call: Request, *kinds: str) -> None:
    """Raise UnsupportedMediaType unless the body says it is one of `kinds`, or says nothing."""
    if call.content_type and call.content_type not in kinds:
        raise UnsupportedMediaType(f"content type {call.content_type!r}; send {' or '.join(kinds)}")


def build_routes(
    scoring: Mapping[str, Handler],
    reads: Mapping[str, Handler],
    open_reads: Mapping[str, Handler],
    acts: Mapping[str, tuple[Handler, Admission | None]],
) -> dict[str, Route]:
    """Routes by path: `scoring` and `acts` are POST, the others GET; `open_reads` ask for no key."""

    def refusal(path: str) -> Callable[[VigilError], dict[str, object]]:
        return (
            _open_inference
            if path.startswith("/v2")
            else _mlflow
            if path in ("/invocations", "/ping")
            else _vigil
        )

    def made(
        handlers: Mapping[str, Handler], is_open: bool, *methods: str
    ) -> Iterable[tuple[str, Route]]:
        scores = handlers is scoring
        return (
            (p, Route(dict.fromkeys(methods, handler), is_open, refusal(p), scores))
            for p, handler in handlers.items()
        )

    gets = ("GET", "HEAD")
    posts = (
        *made(scoring, False, "POST"),
        *((p, Route({"POST": act}, admit=admit)) for p, (act, admit) in acts.items()),
    )
    return dict([*posts, *made(reads, False, *gets), *made(open_reads, True, *gets)])


async def _lifespan(
    receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Any]
) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
