"""`/console/state`: what the console shows, at a cost that many consoles do not raise.

Polled, not streamed: an open stream would hold one of the requests that a replica may work on at
once.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
from prometheus_client import Counter

from serve.http.messages import NOT_MODIFIED, Headers, Request, Response
from vigil.errors import VigilError
from vigil.json_types import JsonObject

MIN_POLL_S = 2.0
MAX_POLL_S = 120.0
POLLS_A_SECOND = 20.0
_GZIP_LEVEL = 3


class PollPace:
    """How long consoles should wait between polls.

    Together they ask at most POLLS_A_SECOND times a second. The pace is set anew after a time in
    which each of them has asked about once: only then is the number of polls that of consoles.
    """

    def __init__(self) -> None:
        self.poll_s = MIN_POLL_S
        self._since = 0.0
        self._polls = 0

    def count(self, now: float) -> float:
        """Count one poll at `now` (monotonic seconds); return how long to wait for the next."""
        if now - self._since >= self.poll_s:
            self._set_pace(now)
        self._polls += 1
        return self.poll_s

    def _set_pace(self, now: float) -> None:
        rate = self._polls / (now - self._since)
        poll_s = self.poll_s * rate / POLLS_A_SECOND
        self.poll_s = min(max(MIN_POLL_S, poll_s), MAX_POLL_S)
        self._since = now
        self._polls = 0


@dataclass(frozen=True)
class StateLimits:
    """How old a state may be, and how long a poll waits for the monitor.

    `timeout_s` holds once there is a state to show, `first_timeout_s` before.
    """

    max_age_s: float = 1.0
    timeout_s: float = 0.5
    first_timeout_s: float = 5.0


@dataclass(frozen=True)
class _Document:
    """One version of the state, ready to be sent."""

    body: bytes
    packed: bytes
    etag: bytes

    @classmethod
    def pack(cls, body: bytes) -> _Document:
        digest = hashlib.sha256(body).hexdigest()[:32]
        packed = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        return cls(body, packed, f'"{digest}"'.encode())

    def response(self, request: Request, headers: Headers) -> Response:
        """The document, or 304 where the browser has it already."""
        headers = (*headers, (b"etag", self.etag))
        if request.headers.get(b"if-none-match") == self.etag:
            return Response(b"", headers=headers, status=NOT_MODIFIED)
        if request.accepts_gzip:
            headers = (*headers, (b"content-encoding", b"gzip"))
            return Response(self.packed, headers=headers)
        return Response(self.body, headers=headers)


class ConsoleState:
    """The state as the monitor gave it last.

    `ask` asks the monitor for it; `facts` are what the replica knows by itself; `polls` counts.
    """

    def __init__(
        self,
        ask: Callable[[], Awaitable[bytes]],
        facts: Callable[[], JsonObject],
        polls: Counter,
        limits: StateLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ask = ask
        self._facts = facts
        self._polls = polls
        self._limits = limits or StateLimits()
        self._clock = clock
        self._pace = PollPace()
        self._monitor_state = b"null"
        self._answered_at: float | None = None  # when the monitor answered last
        self._tried_at = float("-inf")
        self._error = ""
        self._document: _Document | None = None
        self._refreshing: asyncio.Task[None] | None = None

    async def answer(self, request: Request) -> Response:
        """GET /console/state.

        Headers have what would change the document all the time: X-Vigil-Time (Unix seconds), how
        old the state is (X-Vigil-Age-S), when to ask again (X-Vigil-Poll-S), and whether the
        caller is an operator (X-Vigil-Operator).
        """
        self._polls.inc()
        poll_s = self._pace.count(self._clock())
        document = await self._current()
        return document.response(request, self._headers(request, poll_s))

    def _headers(self, request: Request, poll_s: float) -> Headers:
        is_operator = request.caller is None or request.caller.operator
        return (
            (b"x-vigil-operator", b"%d" % is_operator),
            (b"cache-control", b"no-store"),
            (b"vary", b"accept-encoding"),
            (b"x-vigil-poll-s", b"%.1f" % poll_s),
            (b"x-vigil-time", b"%.3f" % time.time()),
            (b"x-vigil-age-s", b"%.1f" % self._age_s()),
        )

    def _age_s(self) -> float:
        if self._answered_at is None:
            return 0.0
        return self._clock() - self._answered_at

    async def _current(self) -> _Document:
        """The state, not older than the limit where the monitor answers in time.

        However many ask, the monitor is asked once.
        """
        if self._is_old and not self._is_refreshing:
            self._refreshing = asyncio.create_task(self._refresh())
        if self._refreshing is not None and self._is_refreshing:
            await asyncio.wait([self._refreshing], timeout=self._timeout_s)
        return self._document or await self._encode()

    @property
    def _is_old(self) -> bool:
        return self._clock() - self._tried_at > self._limits.max_age_s

    @property
    def _is_refreshing(self) -> bool:
        return self._refreshing is not None and not self._refreshing.done()

    @property
    def _timeout_s(self) -> float:
        if self._document:
            return self._limits.timeout_s
        return self._limits.first_timeout_s

    async def _refresh(self) -> None:
        try:
            self._monitor_state = await self._ask()
            self._error = ""
            self._answered_at = self._clock()
        except VigilError as error:
            self._error = error.message
        await self._encode()
        self._tried_at = self._clock()

    async def _encode(self) -> _Document:
        body = self._body()
        if self._document is None or self._document.body != body:
            self._document = await asyncio.to_thread(_Document.pack, body)
        return self._document

    def _body(self) -> bytes:
        facts = self._facts()
        facts["away"] = self._error
        facts["monitor"] = msgspec.Raw(self._monitor_state)
        return msgspec.json.encode(facts)
