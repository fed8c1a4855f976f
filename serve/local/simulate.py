"""A live stream to test with: built-in server telemetry or a table, replayed at a rate, with drift
injected on request."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

# A request costs it .1 ms of CPU, and httpx 1.9: a stream of 1,000 rows/s needs that.
import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from train.table.table import Table
from vigil.arrays import Floats
from vigil.json_types import JsonObject

FEATURES = (
    "cpu",
    "memory",
    "disk_io",
    "disk_wait",
    "net_in",
    "net_out",
    "requests",
    "latency",
    "errors",
    "threads",
    "gc_pause",
    "queue",
)
ROWS_PER_DAY = 288  # one row every five minutes
SERVER_SEED = 20_240_501  # of the one server that all telemetry is of
MAX_RECORDS_AT_ONCE = 500  # handed to a log in one go
_REQUEST_TIMEOUT_S = 30.0
_MAX_PAUSE_S = 0.05
_ANOMALOUS_FEATURES = 4
_SPIKE = 0
_BROKEN_CORRELATION = 2
DriftKind = Literal["shift", "scale", "mix"]


def telemetry(rows: int, seed: int = 0, anomaly_rate: float = 0.01) -> Table:
    """Seeded telemetry of one server.

    A daily cycle, features that move together, noise that remembers, and labelled anomalies
    (spikes, level shifts of some minutes, broken correlation) in about `anomaly_rate` of the rows.
    """
    server = np.random.default_rng(SERVER_SEED)
    rng = np.random.default_rng(seed)
    X = _ordinary_rows(rows, server, rng)
    labels = _plant_anomalies(X, anomaly_rate, rng)
    scale = server.uniform(1, 40, len(FEATURES))
    offset = scale * server.uniform(4, 8, len(FEATURES))
    return Table(X * scale + offset, FEATURES, labels)


def _ordinary_rows(rows: int, server: np.random.Generator, rng: np.random.Generator) -> Floats:
    features = len(FEATURES)
    mixing = server.normal(size=(3, features)) / np.sqrt(3)
    cycle = _daily_cycle(rows, server, rng)
    common = _autoregressive(rng.normal(size=(rows, 3)), 0.8)
    noise = _autoregressive(rng.normal(size=(rows, features)), 0.5)
    return cycle + common @ mixing + 0.5 * noise


def _daily_cycle(rows: int, server: np.random.Generator, rng: np.random.Generator) -> Floats:
    """Each feature of the server has an amplitude and a phase of its own."""
    amplitude = server.uniform(0.2, 0.7, len(FEATURES))
    phase = server.uniform(-0.6, 0.6, len(FEATURES))
    step = np.arange(rows) + rng.integers(ROWS_PER_DAY)
    time_of_day = 2 * np.pi * step / ROWS_PER_DAY
    return np.sin(time_of_day[:, None] + phase) * amplitude


def _plant_anomalies(X: Floats, rate: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Change some rows of `X`; return the labels, 1 = anomaly."""
    labels = np.zeros(len(X), np.int64)
    while labels.mean() < rate:
        start = int(rng.integers(len(X)))
        kind = int(rng.integers(3))
        length = 1 if kind == _SPIKE else int(rng.integers(2, 8))
        rows = slice(start, start + length)
        _plant_anomaly(X, rows, kind, rng=rng)
        labels[rows] = 1
    return labels


def _plant_anomaly(X: Floats, rows: slice, kind: int, *, rng: np.random.Generator) -> None:
    columns = rng.choice(X.shape[1], _ANOMALOUS_FEATURES, replace=False)
    signs = rng.choice((-1.0, 1.0), _ANOMALOUS_FEATURES)
    if kind == _BROKEN_CORRELATION:  # each value is ordinary, their combination is not
        X[rows, columns] = -X[rows, columns] + signs * 2.5
    else:
        X[rows, columns] += signs * rng.uniform(5, 9, _ANOMALOUS_FEATURES)


def _autoregressive(noise: Floats, memory: float) -> Floats:
    series = np.empty_like(noise)
    series[0] = noise[0]
    for i in range(1, len(noise)):
        series[i] = memory * series[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    return series


def write_table(table: Table, rows: int, file: Path) -> None:
    """The first `rows` rows of a table as CSV with a header, over and over where it has fewer;
    labels stay out."""
    lines = [",".join(table.names)]
    lines += (_csv_line(table.X[i % len(table)]) for i in range(rows))
    file.write_text("\n".join(lines) + "\n", "utf-8")


def _csv_line(row: Floats) -> str:
    return ",".join(map(repr, row.tolist()))


@dataclass(frozen=True)
class Drift:
    """A change of the world in some features.

    `shift` by `size` standard deviations, `scale` of the spread by `size`, or a `mix` in which the
    share `size` / 10 of the rows are shifted by three standard deviations.
    """

    kind: DriftKind = "shift"
    size: float = 3.0
    share: float = 0.4  # of the features
    seed: int = 0

    def features(self, d: int) -> NDArray[np.intp]:
        """Indices of the features that change."""
        count = max(1, round(self.share * d))
        return np.sort(np.random.default_rng(self.seed).choice(d, count, replace=False))

    def apply(self, X: Floats) -> Floats:
        """A copy of the rows [n, d], changed; centre and spread are those of `X` itself."""
        rng = np.random.default_rng(self.seed)
        columns = self.features(X.shape[1])
        signs = rng.choice((-1.0, 1.0), len(columns))
        changed = X.copy()
        changed[:, columns] = self._change(X[:, columns], signs, rng)
        return changed

    def _change(self, values: Floats, signs: Floats, rng: np.random.Generator) -> Floats:
        """The values [n, k] of the features that change, as they are afterwards."""
        if self.kind == "scale":
            centre = values.mean(axis=0)
            return centre + (values - centre) * self.size
        spread = values.std(axis=0)
        if self.kind == "shift":
            return values + signs * self.size * spread
        is_shifted = rng.random(len(values)) < min(self.size / 10, 1)
        return values + is_shifted[:, None] * (signs * 3 * spread)


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

    def add(self, due: float, sent: float, answer: _Answer) -> None:
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
        if self.latency:
            return float(np.quantile(self.latency, q) * 1e3)
        return float("nan")

    def to_json(self) -> JsonObject:
        return {
            "requests": self.rows,
            "failed_requests": self.failed,
            "anomalies": self.anomalies,
            "statuses": dict(self.by_status),
            "versions": dict(self.by_version),
            **self._quantiles(),
        }

    def _quantiles(self) -> dict[str, float]:
        quantiles = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
        return {name: round(self.quantile_ms(q), 2) for name, q in quantiles.items()}


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
    sent = 0
    async with _session(connections, headers or {}) as session:
        sender = _Sender(session, f"{url}/predict", tally, limit=asyncio.Semaphore(connections))
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
    alerts = scored["is_anomaly"]
    is_anomaly = alerts if isinstance(alerts, bool) else any(alerts)
    return _Answer("200", scored["model_version"], is_anomaly)


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

    async def start(self, row: Floats | bytes, due: float, *, request_id: str | None) -> None:
        """Begin a request as soon as one more is allowed."""
        await self.limit.acquire()
        request = asyncio.create_task(self._send(row, due, request_id))
        self.running.add(request)
        request.add_done_callback(self._release)

    def _release(self, request: asyncio.Task[None]) -> None:
        self.running.discard(request)
        self.limit.release()

    async def finish(self) -> None:
        """Wait for the answers that are still to come."""
        await asyncio.gather(*self.running)

    async def _send(self, row: Floats | bytes, due: float, request_id: str | None) -> None:
        body = row if isinstance(row, bytes) else msgspec.json.encode({"features": row.tolist()})
        headers = {} if request_id is None else {"X-Request-Id": request_id}
        sent = time.monotonic()
        self.tally.add(due, sent, await self._answer(body, headers))

    async def _answer(self, body: bytes, headers: dict[str, str]) -> _Answer:
        try:
            return await self._post(body, headers)
        except _FAILURES as error:
            return _Answer(type(error).__name__)

    async def _post(self, body: bytes, headers: dict[str, str]) -> _Answer:
        async with self.session.post(self.url, data=body, headers=headers) as response:
            text = await response.read()
        if response.status != 200:
            return _Answer(str(response.status))
        return _scored_answer(msgspec.json.decode(text))


class _Pace:
    """The schedule of records at `rate` a second; record `i` follows `times(i)` times faster."""

    def __init__(
        self, rate: float, times: Callable[[int], float], clock: Callable[[], float]
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
        return self.due + 1 / (self._rate * self._times(i))


def write_records(
    records: Callable[[int], tuple[str, bytes]],
    rate: float,
    put: Callable[[list[tuple[str, bytes]]], None],
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
        if not numbers:
            sleep(min(max(0.0, pace.seconds_until(sent)), _MAX_PAUSE_S))
            continue
        put([records(i) for i in numbers])
        sent += len(numbers)
        lateness = pace.lateness
    return lateness


def _due_numbers(pace: _Pace, start: int, rows: int) -> range:
    """Take the records from `start` on that are due now."""
    end = start
    last = min(rows, start + MAX_RECORDS_AT_ONCE)
    while end < last and pace.seconds_until(end) <= 0:
        pace.take(end)
        end += 1
    return range(start, end)
