"""Answers leave in one write each, and together.

uvicorn hands the head of an answer to the transport, and then its body; uvloop (0.22 on, its pull
request 619) gives each to the kernel at once. So an answer costs two system calls, and each may
have to wake the proxy, which on a virtual machine takes as long as a score. Here the head of an
answer whose length is known waits for its body, and both wait for the answers that are made in the
same turn of the event loop: the proxy is woken once for all of them.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from serve.http.messages import Message, Send

_LENGTH = b"content-length"


class AnswerQueue:
    """The answers of one event loop that wait for the end of its turn."""

    def __init__(self) -> None:
        self._answers: list[_Answer] = []

    def hold(self, send: Send) -> Send:
        """Return `send` for one request; it is `send` itself where the server is not uvicorn's."""
        cycle = getattr(send, "__self__", None)
        if not isinstance(cycle, RequestResponseCycle):
            return send
        if cycle.waiting_for_100_continue:  # uvicorn writes that itself, behind what waits
            self.write_out()
        return _WholeAnswer(cycle, self)

    def add(self, answer: _Answer) -> None:
        """Write the answer at the end of this turn."""
        self._answers.append(answer)
        if len(self._answers) == 1:
            asyncio.get_running_loop().call_soon(self.write_out)

    def write_out(self) -> None:
        """Write what waits: called before anything that may not overtake it."""
        answers = self._answers
        self._answers = []
        for answer in answers:
            answer.write_out()


class _WholeAnswer:
    """Sends as the cycle of a request does, but for a head that waits for its body."""

    __slots__ = ("_cycle", "_head", "_queue")

    def __init__(self, cycle: RequestResponseCycle, queue: AnswerQueue) -> None:
        self._cycle = cycle
        self._queue = queue
        self._head: Message | None = None

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start" and _has_length(message):
            self._head = message
            return
        head = self._head
        self._head = None
        if head is not None:
            await self._send_both(head, message)
            return
        self._queue.write_out()
        await self._cycle.send(message)

    async def _send_both(self, head: Any, body: Any) -> None:
        cycle: Any = self._cycle
        transport = cycle.transport
        answer = cycle.transport = _Answer(transport)
        try:
            await cycle.send(head)
            await cycle.send(body)
        finally:
            cycle.transport = transport
            self._queue.add(answer)


class _Answer:
    """Stands for the transport: takes what is written, and writes and closes it later."""

    __slots__ = ("_is_last", "_parts", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._is_last = False

    def write(self, data: bytes) -> None:
        self._parts.append(data)

    def close(self) -> None:
        self._is_last = True

    def write_out(self) -> None:
        if self._transport.is_closing():  # the client went away, and nobody reads it
            return
        self._transport.writelines(self._parts)
        if self._is_last:
            self._transport.close()


def _has_length(message: Message) -> bool:
    return any(name == _LENGTH for name, _ in message["headers"])
