"""Head and body of an answer in one write.

uvicorn hands the head of an answer to the transport, and then its body. uvloop (0.22 on) gives
each to the kernel at once (its pull request 619), so an answer costs two system calls, and wakes
the proxy twice. Here the head of an answer whose length is known waits for its body.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from serve.http.messages import Message, Send

_LENGTH = b"content-length"


def in_one_write(send: Send) -> Send:
    """Return `send` for one request; it is `send` itself where the server is not uvicorn's."""
    cycle = getattr(send, "__self__", None)
    if isinstance(cycle, RequestResponseCycle):
        return _WholeAnswer(cycle)
    return send


class _WholeAnswer:
    """Sends as the cycle does, but for the head that waits."""

    __slots__ = ("_cycle", "_head")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._head: Message | None = None

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start" and _has_length(message):
            self._head = message
            return
        head, self._head = self._head, None
        if head is None:
            await self._cycle.send(message)
            return
        await self._send_both(head, message)

    async def _send_both(self, head: Any, body: Any) -> None:
        cycle: Any = self._cycle
        transport = cycle.transport
        parts = cycle.transport = _Parts(transport)
        try:
            await cycle.send(head)
            await cycle.send(body)
        finally:
            cycle.transport = transport
            parts.write_out()


class _Parts:
    """Takes what is written, and writes it out at once; closes behind that."""

    __slots__ = ("_is_closing", "_parts", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._is_closing = False

    def write(self, data: bytes) -> None:
        self._parts.append(data)

    def close(self) -> None:
        self._is_closing = True

    def write_out(self) -> None:
        if self._parts:
            self._transport.writelines(self._parts)
        if self._is_closing:
            self._transport.close()


def _has_length(message: Message) -> bool:
    return any(name == _LENGTH for name, _ in message["headers"])
