"""A live stream to test with: rows over HTTP, or records for a log, at a rate."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

# A request costs it .1 ms of CPU, and httpx 1.9: a stream of 1,000 rows/s needs that.
import aiohttp
import msgspec
import numpy as np

from vigil.arrays import Floats
from vigil.json_types import JsonObject, without_none

MAX_RECORDS_AT_ONCE = 500  # handed to a log in one go
_REQUEST_TIMEOUT_S = 30.0
_MAX_PAUSE_S = 0.05


NamedRecord = tuple[str, bytes]
"""The id of a record, and its bytes."""


@dataclass
class Tally:
    """What a stream has seen so far.

    Latency counts from the moment a row was due, so a slow answer is not hidden by rows that then
    start late (coordinated omission).
    """

    rows: int = 0
    failed: int = 0
    anomalies: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_version: Counter[str] = field(default_factory=Counter)
    due: list[float] = field(default_factory=list)  # seconds, monotonic
    # The same clock; later than due where the sender could not keep up.
    sent: list[float] = field(default_factory=list)
    latency: list[float] = field(default_factory=list)  # seconds
    version: list[str] = field(default_factory=list)

    def add(
        self,
        due: float,
        sent: float,
        answer: _Answer,
    ) -> None:
        self.rows += 1
        self.due.append(due)
        self.sent.append(sent)
        self.latency.append(time.monotonic() - due)
        self._count(answer)

    def _count(self, answer: _Answer) -> None:
        self.failed += answer.status != "200"
        self.anomalies += answer.is_anomaly
        self.by_status[answer.status] += 1
        self.by_version[answer.version] += 1
        self.version.append(answer.version)

    def quantile_ms(self, q: float) -> float:
        if not self.latency:
            return math.nan
        seconds = float(np.quantile(self.latency, q))
        return seconds * 1e3

    def to_json(self) -> JsonObject:
        return {
            "requests": self.rows,
            "failed_requests": self.failed,
            "anomalies": self.anomalies,
            "statuses": dict(self.by_status),
            "versions": dict(self.by_version),
            "p50_ms": round(self.quantile_ms(0.5), 2),
            "p99_ms": round(self.quantile_ms(0.99), 2),
            "max_ms": round(self.quantile_ms(1.0), 2),
        }


@dataclass(frozen=True)
class _Answer:
    """The HTTP status of one answer (or the name of an error), and what a good one says."""

    status: str
    version: str = ""
    is_anomaly: bool = False


async def send_rows(
    url: str,
    row: Callable[[int], Floats | bytes],
    rate: float,
    *,
    tally: Tally,
    stop: Callable[[int], bool],
    headers: dict[str, str] | None = None,
    connections: int = 16,
    times: Callable[[int], float] = lambda _: 1.0,
    name: Callable[[int], str] | None = None,
) -> None:
    """POST row after row to `url`/predict at `rate` rows a second until `stop(rows sent)`: open
    loop.

    `row` gives the values of a row or a body as it is, `times` how many times faster it follows,
    `name` its request id.
    """
    pace = _Pace(rate, times, time.monotonic)
    limit = asyncio.Semaphore(connections)
    sent = 0
    async with _session(connections, headers or {}) as session:
        sender = _Sender(
            session,
            f"{url}/predict",
            tally,
            limit=limit,
        )
        while not stop(sent):
            await pace.wait_for(sent)
            request_id = name(sent) if name else None
            await sender.start(row(sent), pace.due, request_id=request_id)
            sent += 1
        await sender.finish()


def _session(connections: int, headers: dict[str, str]) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S),
        headers={"Content-Type": "application/json", **headers},
    )


def _scored_answer(scored: JsonObject) -> _Answer:
    return _Answer("200", scored["model_version"], _is_any(scored["is_anomaly"]))


def _is_any(alerts: bool | list[bool]) -> bool:
    """Whether the one row alerts, or one of several."""
    return alerts if isinstance(alerts, bool) else any(alerts)


# No answer, or one that is none of Vigil's.
_FAILURES = (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, LookupError, TypeError)


@dataclass
class _Sender:
    """Sends one row a request, and tallies what comes back."""

    session: aiohttp.ClientSession
    url: str
    tally: Tally
    limit: asyncio.Semaphore  # of requests at once
    running: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(
        self,
        row: Floats | bytes,
        due: float,
        *,
        request_id: str | None,
    ) -> None:
        """Begin a request as soon as one more is allowed."""
        await self.limit.acquire()
        sending = self._send(row, due, request_id)
        request = asyncio.create_task(sending)
        self.running.add(request)
        request.add_done_callback(self._release)

    def _release(self, request: asyncio.Task[None]) -> None:
        self.running.discard(request)
        self.limit.release()

    async def finish(self) -> None:
        """Wait for the answers that are still to come."""
        await asyncio.gather(*self.running)

    async def _send(
        self,
        row: Floats | bytes,
        due: float,
        request_id: str | None,
    ) -> None:
        body = row if isinstance(row, bytes) else row_body(row.tolist())
        headers = {} if request_id is None else {"X-Request-Id": request_id}
        sent = time.monotonic()
        answer = await self._answer(body, headers)
        self.tally.add(due, sent, answer)

    async def _answer(self, body: bytes, headers: dict[str, str]) -> _Answer:
        try:
            return await self._post(body, headers)
        except _FAILURES as error:
            return _Answer(type(error).__name__)

    async def _post(self, body: bytes, headers: dict[str, str]) -> _Answer:
        request = self.session.post(self.url, data=body, headers=headers)
        async with request as response:
            text = await response.read()
        if response.status != 200:
            return _Answer(str(response.status))
        scored = msgspec.json.decode(text)
        return _scored_answer(scored)


def row_body(
    features: Sequence[Any],
    entity: str | None = None,
    at: float | None = None,
) -> bytes:
    """Return the body of a request of one row: its values, whose and of when it is, if it is said.

    at: Unix seconds
    """
    return msgspec.json.encode({"features": features, **whose_row(entity, at)})


def whose_row(entity: str | None, at: float | None) -> JsonObject:
    """Return the fields that say whose a row is, and of when, where that is known."""
    at_ms = None if at is None else round(at * 1000)
    return without_none({"entity": entity, "time": at_ms})


class _Pace:
    """The schedule of records at `rate` a second; record `i` follows `times(i)` times faster."""

    def __init__(
        self,
        rate: float,
        times: Callable[[int], float],
        clock: Callable[[], float],
    ) -> None:
        self.due = clock()  # of the record that was handed on last
        self._rate = rate
        self._times = times
        self._clock = clock

    async def wait_for(self, i: int) -> None:
        """Sleep until record `i` is due, and take it."""
        seconds = self.seconds_until(i)
        if seconds > 0:
            await asyncio.sleep(seconds)
        self.take(i)

    def seconds_until(self, i: int) -> float:
        """Until record `i` is due; negative when it is late."""
        return self._next(i) - self._clock()

    def take(self, i: int) -> None:
        """Record `i` is handed on."""
        self.due = self._next(i)

    @property
    def lateness(self) -> float:
        """Seconds since the record that was handed on last was due."""
        return self._clock() - self.due

    def _next(self, i: int) -> float:
        rate = self._rate * self._times(i)
        return self.due + 1 / rate


def write_records(
    records: Callable[[int], NamedRecord],
    rate: float,
    put: Callable[[list[NamedRecord]], None],
    *,
    rows: int,
    times: Callable[[int], float] = lambda _: 1.0,
    stop: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Any] = time.sleep,
) -> float:
    """Hand (id, record) after (id, record) to `put` at `rate` a second.

    Returns by how many seconds the last came late.
    """
    pace = _Pace(rate, times, clock)
    sent = 0
    lateness = 0.0
    while sent < rows and not stop():
        numbers = _due_numbers(pace, sent, rows)
        if numbers:
            put(list(map(records, numbers)))
            sent += len(numbers)
            lateness = pace.lateness
        else:
            sleep(_pause_s(pace, sent))
    return lateness


def _pause_s(pace: _Pace, i: int) -> float:
    """Seconds to sleep before record `i`; short, as somebody may want to stop."""
    left = max(0.0, pace.seconds_until(i))
    return min(left, _MAX_PAUSE_S)


def _due_numbers(
    pace: _Pace,
    start: int,
    rows: int,
) -> range:
    """Take the records from `start` on that are due now."""
    end = start
    last = min(rows, start + MAX_RECORDS_AT_ONCE)
    while end < last and pace.seconds_until(end) <= 0:
        pace.take(end)
        end += 1
    return range(start, end)
