"""What Serve leaves to a stream of lines: to read at its own pace, and to last.

Serve reads the body of a request ahead into a queue without a bound, so as to notice a client that
goes away, and ends a request after its timeout. Two headers of Serve's own switch that off for one
request; this middleware sets them. Serve finds it by RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH.
"""

from __future__ import annotations

from starlette.middleware import Middleware

from serve.http.messages import LINES_TYPE, Asgi, Message, Receive, Send

_READS_ITSELF = (b"x-request-disconnect-disabled", b"?1")
_TIMEOUT = b"x-request-timeout-seconds"
_LASTS = (_TIMEOUT, b"0")


class LineMiddleware:
    """Sets the headers of requests whose bodies are lines; a timeout of the client's own stays."""

    def __init__(self, app: Asgi) -> None:
        self._app = app

    async def __call__(
        self,
        scope: Message,
        receive: Receive,
        send: Send,
    ) -> None:
        if scope["type"] == "http":
            headers = dict(scope["headers"])
            if headers.get(b"content-type", b"").lower().startswith(LINES_TYPE.encode()):
                scope = {**scope, "headers": _lasting(scope["headers"])}
        await self._app(
            scope,
            receive,
            send,
        )


def _lasting(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    if any(name == _TIMEOUT for name, _ in headers):
        return [*headers, _READS_ITSELF]
    return [*headers, _READS_ITSELF, _LASTS]


def middlewares() -> list[Middleware]:
    """Return what Serve puts in front of the application, in every proxy and replica."""
    return [Middleware(LineMiddleware)]
