"""`/console/state`: what the console shows, at a cost that does not grow with the number of consoles.

Polled, not streamed: an open stream would hold one of the requests that a replica may work on at once.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from serve.http.gateway import NOT_MODIFIED, Request, Response
from vigil.errors import VigilError

FRESH_S = 1.0
PATIENCE_S = 0.5  # a poll waits no longer for the monitor once there is something to show
FIRST_PATIENCE_S = 5.0
LEAST_POLL_S, MOST_POLL_S, POLLS_A_SECOND = 2.0, 120.0, 20.0
COMPRESSION = 3


class PollPace:
    """How long consoles should wait between polls, so that together they ask at most POLLS_A_SECOND times a second.

    It is set anew after a time in which each of them has asked about once: only then is the number of polls that of consoles.
    """

    def __init__(self) -> None:
        self.poll_s = LEAST_POLL_S
        self._since, self._polls = 0.0, 0

    def count(self, now: float) -> float:
        """One poll at `now` (monotonic seconds); returns how long to wait for the next."""
        if now - self._since >= self.poll_s:
            rate = self._polls / (now - self._since)
            self.poll_s = min(max(LEAST_POLL_S, self.poll_s * rate / POLLS_A_SECOND), MOST_POLL_S)
            self._since, self._polls = now, 0
        self._polls += 1
        return self.poll_s


@dataclass(frozen=True)
class State:
    """One version of the document, ready to be sent."""

    body: bytes
    packed: bytes
    etag: bytes

    @classmethod
    def of(cls, body: bytes) -> State:
        digest = hashlib.sha256(body).hexdigest()[:32]
        return cls(body, gzip.compress(body, COMPRESSION, mtime=0), f'"{digest}"'.encode())


class ConsoleState:
    """The state as the monitor told it last. `ask` has the monitor tell it; `about` is what the replica knows by itself."""

    def __init__(
        self, ask: Callable[[], Awaitable[bytes]], about: Callable[[], dict[str, Any]], polls: Any
    ) -> None:
        self._ask, self._about, self._polls = ask, about, polls
        self._pace = PollPace()
        self._monitor: bytes | None = None
        self._told = 0.0  # monotonic: when the monitor answered last
        self._tried = float("-inf")
        self._away = ""
        self._state: State | None = None
        self._asking: asyncio.Task[None] | None = None

    async def answer(self, call: Request) -> Response:
        """GET /console/state. Headers tell what would change the document all the time: X-Vigil-Time (Unix seconds), how old
        the state is (X-Vigil-Age-S), when to ask again (X-Vigil-Poll-S), and whether the caller is an operator."""
        self._polls.inc()
        wait_s = self._pace.count(time.monotonic())
        state = await self._fresh()
        age_s = time.monotonic() - self._told if self._told else 0.0
        operator = call.caller is None or call.caller.operator
        head = (
            (b"x-vigil-operator", b"1" if operator else b"0"),
            (b"etag", state.etag),
            (b"cache-control", b"no-store"),
            (b"vary", b"accept-encoding"),
            (b"x-vigil-poll-s", b"%.1f" % wait_s),
            (b"x-vigil-time", b"%.3f" % time.time()),
            (b"x-vigil-age-s", b"%.1f" % age_s),
        )
        if call.headers.get(b"if-none-match") == state.etag:
            return Response(b"", headers=head, status=NOT_MODIFIED)
        if b"gzip" in call.headers.get(b"accept-encoding", b""):
            return Response(state.packed, headers=(*head, (b"content-encoding", b"gzip")))
        return Response(state.body, headers=head)

    async def _fresh(self) -> State:
        """The state, not older than FRESH_S where the monitor answers in time; however many ask, it is asked once."""
        if time.monotonic() - self._tried > FRESH_S and (
            self._asking is None or self._asking.done()
        ):
            self._asking = asyncio.create_task(self._refresh())
        if self._asking is not None and not self._asking.done():
            await asyncio.wait(
                [self._asking], timeout=PATIENCE_S if self._state else FIRST_PATIENCE_S
            )
        return self._state or await self._make()

    async def _refresh(self) -> None:
        try:
            self._monitor, self._away = await self._ask(), ""
            self._told = time.monotonic()
        except VigilError as error:
            self._away = error.message
        await self._make()
        self._tried = time.monotonic()

    async def _make(self) -> State:
        about = self._about() | {
            "away": self._away,
            "monitor": msgspec.Raw(self._monitor or b"null"),
        }
        body = msgspec.json.encode(about)
        if self._state is None or self._state.body != body:
            self._state = await asyncio.to_thread(State.of, body)
        return self._state
