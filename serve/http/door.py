"""What stands before Serve in a replica: it tells Serve what a request does not need.

Serve reads the body of a request ahead in a task of its own, so as to notice a client that goes
away, and ends a request after its timeout. Both cost a small request more than its score does. Two
headers of Serve's own switch them off for one request; this middleware sets them, in a replica

- for small rows: their body is there (the proxy waits for it, and the gateway has its own timeout),
  their score takes microseconds, and what they may wait for, the context, has a timeout too;
- for a stream of lines, which reads at its own pace, and lasts: in a proxy as well, where Serve's
  queue of the body has no bound.

Serve finds it by RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH.
"""

from __future__ import annotations

from ray import serve
from ray.serve.exceptions import RayServeException
from starlette.middleware import Middleware

from serve.http.messages import LINES_TYPE, Asgi, Headers, Message, Receive, Send, media_type
from serve.http.one_write import AnswerQueue

SMALL_BYTES = 16 * 1024  # a body of so much has come with its head, or right behind it
_SMALL_DIGITS = len(str(SMALL_BYTES))
_SCORING_PATHS = ("/predict", "/invocations", "/v2/models/")
_TIMEOUT = b"x-request-timeout-seconds"
_HINTS: Headers = (
    (b"x-request-disconnect-disabled", b"?1"),
    (_TIMEOUT, b"0"),
)


class Door:
    """Sets the headers; a timeout of the client's own stays. Answers leave together."""

    def __init__(self, app: Asgi, in_replica: bool) -> None:
        self._app = app
        self._in_replica = in_replica
        self._queue = AnswerQueue()

    async def __call__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            if _is_stream(headers) or (self._in_replica and _is_small(scope, headers)):
                scope = {**scope, "headers": [*scope["headers"], *_hints(headers)]}
            send = self._queue.hold(send)
        await self._app(
            scope,
            receive,
            send,
        )


def _is_stream(headers: dict[bytes, bytes]) -> bool:
    return media_type(headers.get(b"content-type", b"")) == LINES_TYPE


def _is_small(scope: Message, headers: dict[bytes, bytes]) -> bool:
    """Whether it is a request to score that says that its body is small."""
    if not scope["path"].startswith(_SCORING_PATHS):
        return False
    length = headers.get(b"content-length", b"")
    return len(length) <= _SMALL_DIGITS and length.isdigit() and int(length) <= SMALL_BYTES


def _hints(headers: dict[bytes, bytes]) -> Headers:
    return _HINTS[:1] if _TIMEOUT in headers else _HINTS


def middlewares() -> list[Middleware]:
    """Return what Serve puts in front of the application, in every proxy and replica."""
    return [Middleware(Door, in_replica=_is_replica())]


def _is_replica() -> bool:
    try:
        serve.get_replica_context()
    except RayServeException:
        return False
    return True
