"""Requests and responses as handlers see them, and the types of ASGI."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec

from serve.http.caller import Caller
from serve.http.observation import RequestObservation

Headers = tuple[tuple[bytes, bytes], ...]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Message, Receive, Send], Awaitable[None]]
JSON_TYPE = b"application/json"
LINES_TYPE = "application/x-ndjson"
NOT_MODIFIED = 304
MAX_REQUEST_ID = 128
_CHARSET = re.compile(rb""";\s*charset\s*=\s*["']?([A-Za-z0-9._:+-]{1,40})""", re.IGNORECASE)
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*")


class Request(msgspec.Struct):
    """One HTTP request.

    `model_name` and `model_version` are those of an Open Inference path, `incident_id` that of a
    path below /incidents; `caller` is None where nobody is asked who it is; `observation` is None
    unless the request is logged or traced.
    """

    headers: dict[bytes, bytes]
    body: bytes = b""
    method: str = "POST"
    path: str = ""
    query_string: bytes = b""
    incident_id: str = ""
    model_name: str = ""
    model_version: str | None = None
    caller: Caller | None = None
    observation: RequestObservation | None = None
    began: float = msgspec.field(default_factory=time.perf_counter)

    @property
    def request_id(self) -> str:
        """The client's X-Request-Id, else the one that Serve made.

        Serve also puts it into the headers of the response.
        """
        return self.headers.get(b"x-request-id", b"").decode("latin-1")[:MAX_REQUEST_ID]

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty when there is none."""
        return media_type(self.headers.get(b"content-type", b""))

    @property
    def query(self) -> str:
        """The query string, empty where there is none."""
        return self.query_string.decode("latin-1")

    @property
    def charset(self) -> str | None:
        """The encoding that the media type says, if it does."""
        match = _CHARSET.search(self.headers.get(b"content-type", b""))
        return match[1].decode() if match else None

    @property
    def accepts_gzip(self) -> bool:
        """Whether the response may be compressed."""
        return b"gzip" in self.headers.get(b"accept-encoding", b"")

    @property
    def trace_id(self) -> str | None:
        """The trace that the caller says the request belongs to."""
        match = _TRACEPARENT.fullmatch(self.headers.get(b"traceparent", b""))
        if match:
            return match[1].decode()
        return None

    @property
    def log_fields(self) -> dict[str, str | None]:
        """Fields that identify the request in a log line."""
        return {"request_id": self.request_id, "trace_id": self.trace_id}


@lru_cache(maxsize=64)  # clients send few different ones, and each is read several times
def media_type(header: bytes) -> str:
    """Return what a Content-Type says, in lower case and without parameters."""
    return header.decode("latin-1").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Response:
    """What a handler returns."""

    body: bytes
    content_type: bytes = JSON_TYPE
    headers: Headers = ()
    status: int = 200

    @property
    def start_message(self) -> Message:
        """The ASGI message with status and headers."""
        headers = [(b"content-type", self.content_type), *self.headers]
        if self.status != NOT_MODIFIED:  # its length would be that of the body that is not sent
            headers.insert(1, (b"content-length", b"%d" % len(self.body)))
        return {
            "type": "http.response.start",
            "status": self.status,
            "headers": headers,
        }


@dataclass(frozen=True, slots=True)
class StreamedResponse:
    """What a handler returns whose answer comes in parts, each made when the last one is sent."""

    parts: AsyncGenerator[bytes]
    content_type: bytes = LINES_TYPE.encode()
    status: int = 200

    @property
    def start_message(self) -> Message:
        """The ASGI message with status and headers; what follows has no length."""
        return {
            "type": "http.response.start",
            "status": self.status,
            "headers": [(b"content-type", self.content_type)],
        }


Handler = Callable[[Request], Awaitable[Response]]
StreamHandler = Callable[[Request, Receive], Awaitable[StreamedResponse]]


def json_response(value: Any) -> Response:
    """Return `value` encoded as JSON with status 200."""
    return Response(msgspec.json.encode(value))
