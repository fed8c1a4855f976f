"""Bodies of requests: how many bytes may be in work, and how long a client may take to send one."""

from __future__ import annotations

import asyncio
from typing import Any

from serve.http.messages import Message, Receive, Request
from serve.http.refusals import Overloaded, TooSlow, UnsupportedMediaType
from serve.metrics import ServeMetrics
from serve.settings import ServeSettings
from vigil.errors import BodyTooLarge

HURRIED_TIMEOUT_S = 0.5  # of a slow body while half of the slots wait for others
MIN_COUNTED_DIGITS = 4  # of a Content-Length: a body under 1,000 bytes is not worth counting
MAX_LENGTH_DIGITS = 15  # of a Content-Length that is read as a number


class BodyReader:
    """Reads bodies within the limits of the settings."""

    def __init__(self, settings: ServeSettings, metrics: ServeMetrics) -> None:
        self._settings = settings
        self._pending_bytes = 0  # of bodies that are read or scored
        self._receiving = 0  # requests whose body is not there yet; each holds a slot
        metrics.pending.set_function(lambda: self._pending_bytes)

    def follow_settings(self, settings: ServeSettings) -> None:
        """Apply other limits from the next request on."""
        self._settings = settings

    def hold(self, request: Request) -> int:
        """Count the body among those in work and return its bytes; raises Overloaded.

        A row costs little, a batch a thousand times that, so bytes say how long a new request
        would wait, and a number of requests does not.
        """
        size = _counted_size(request.headers.get(b"content-length", b""))
        self.hold_bytes(size)
        return size

    def hold_bytes(self, size: int) -> None:
        """Count so many bytes among those in work; raises Overloaded."""
        settings = self._settings
        pending = self._pending_bytes
        if pending and pending + size > settings.max_pending_bytes:
            raise Overloaded(settings.overload_status, settings.retry_after_s)
        self._pending_bytes = pending + size

    def release(self, size: int) -> None:
        """Let go of bytes that were held, once the event loop comes round.

        What was read together is scored one after the other, and the last of many large bodies has
        waited for all the others.
        """
        asyncio.get_running_loop().call_soon(self._release_now, size)

    def _release_now(self, size: int) -> None:
        self._pending_bytes -= size

    async def read(self, request: Request, receive: Receive) -> bytes:
        """Return the body.

        Refuses it as soon as it is known to be compressed (UnsupportedMediaType), over the limit
        (BodyTooLarge) or slow (TooSlow).
        """
        self._check_headers(request.headers)
        message = _at_once(receive)
        if message is not None and not message.get("more_body", False):
            return self._checked(_chunk(message))
        return await self._read_in_time(message, receive)

    async def _read_in_time(self, first: Message | None, receive: Receive) -> bytes:
        timeout_s = self._timeout_s()
        self._receiving += 1
        try:
            async with asyncio.timeout(timeout_s):
                return await self._receive_all(first or await receive(), receive)
        except TimeoutError as error:
            raise TooSlow(f"the body did not arrive in {timeout_s:g} s") from error
        finally:
            self._receiving -= 1

    def _check_headers(self, headers: dict[bytes, bytes]) -> None:
        check_encoding(headers)
        length = headers.get(b"content-length", b"")
        if length.isdigit() and self._is_over_limit(length):
            raise self._too_large()

    def _is_over_limit(self, length: bytes) -> bool:
        return len(length) > MAX_LENGTH_DIGITS or int(length) > self._settings.max_body_bytes

    def _too_large(self) -> BodyTooLarge:
        limit = self._settings.max_body_bytes
        return BodyTooLarge(f"the body is larger than {limit} bytes: send fewer rows per request")

    def _timeout_s(self) -> float:
        """Slow clients may not take all slots."""
        timeout_s = self._settings.body_timeout_s
        if self._receiving > self._settings.max_ongoing_requests // 2:
            return min(timeout_s, HURRIED_TIMEOUT_S)
        return timeout_s

    async def _receive_all(self, message: Message, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        while True:
            chunk = _chunk(message)
            chunks.append(chunk)
            size += len(chunk)
            if size > self._settings.max_body_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return b"".join(chunks)
            message = await receive()

    def _checked(self, body: bytes) -> bytes:
        if len(body) > self._settings.max_body_bytes:
            raise self._too_large()
        return body


def _at_once(receive: Receive) -> Message | None:
    """The next message where it is there already, which is quicker than a timeout; else None.

    An ASGI server's `receive` that is closed while it waits has taken nothing.
    """
    receiving: Any = receive()
    try:
        receiving.send(None)
    except StopIteration as received:
        return received.value
    receiving.close()
    return None


def check_encoding(headers: dict[bytes, bytes]) -> None:
    """Raise UnsupportedMediaType for a body that is compressed."""
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("the body is compressed: send it as it is")


def _chunk(message: Message) -> bytes:
    """The part of the body that a message has; raises TooSlow when the client went away."""
    if message["type"] == "http.disconnect":
        raise TooSlow("the client went away")
    return message.get("body", b"")


def _counted_size(length: bytes) -> int:
    """The bytes that a Content-Length says, 0 for what is not worth counting, or no number."""
    if MIN_COUNTED_DIGITS <= len(length) <= MAX_LENGTH_DIGITS and length.isdigit():
        return int(length)
    return 0
