"""A live stream to test with: built-in server telemetry or a table, replayed at a rate, with drift injected on request."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import aiohttp
import msgspec
import numpy as np
from numpy.typing import NDArray

from train.table.table import Table
from vigil.arrays import Floats

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
MAX_RECORDS_AT_ONCE = 500  # records handed to a log in one go
DriftKind = Literal["shift", "scale", "mix"]


def telemetry(rows: int, seed: int = 0, anomaly_rate: float = 0.01) -> Table:
    """Seeded telemetry of one server: a daily cycle, features that move together, noise that remembers, and labelled
    anomalies (spikes, level shifts of some minutes, broken correlation) in about `anomaly_rate` of the rows."""
    structure, rng = np.random.default_rng(20_240_501), np.random.default_rng(seed)
    d = len(FEATURES)
    mixing = structure.normal(size=(3, d)) / np.sqrt(3)
    cycle = structure.uniform(0.2, 0.7, d)
    phase = structure.uniform(-0.6, 0.6, d)
    time_of_day = 2 * np.pi * (np.arange(rows) + rng.integers(ROWS_PER_DAY)) / ROWS_PER_DAY
    common = _autoregressive(rng.normal(size=(rows, 3)), 0.8)
    X = (
        np.sin(time_of_day[:, None] + phase) * cycle
        + common @ mixing
        + 0.5 * _autoregressive(rng.normal(size=(rows, d)), 0.5)
    )
    labels = np.zeros(rows, np.int64)
    while labels.mean() < anomaly_rate:
        start, kind = int(rng.integers(rows)), rng.integers(3)
        length = 1 if kind == 0 else int(rng.integers(2, 8))
        where, which = slice(start, start + length), rng.choice(d, 4, replace=False)
        signs = rng.choice((-1.0, 1.0), 4)
        if kind == 2:  # each value is ordinary, their combination is not
            X[where, which] = -X[where, which] + signs * 2.5
        else:
            X[where, which] += signs * rng.uniform(5, 9, 4)
        labels[where] = 1
    scale = structure.uniform(1, 40, d)
    return Table(X * scale + scale * structure.uniform(4, 8, d), FEATURES, labels)


def write_table(table: Table, rows: int, file: Path) -> None:
    """The first `rows` rows of a table as CSV with a header, over and over where it has fewer; labels stay out."""
    lines = [",".join(table.names)]
    lines += [",".join(map(repr, table.X[i % len(table)].tolist())) for i in range(rows)]
    file.write_text("\n".join(lines) + "\n")


def _autoregressive(noise: Floats, memory: float) -> Floats:
    out = np.empty_like(noise)
    out[0] = noise[0]
    for i in range(1, len(noise)):
        out[i] = memory * out[i - 1] + np.sqrt(1 - memory**2) * noise[i]
    return out


@dataclass(frozen=True)
class Drift:
    """A change of the world in some features: `shift` by `size` sd, `scale` of the spread by `size`, or a `mix` in which
    the share `size` / 10 of the rows are shifted by three sd."""

    kind: DriftKind = "shift"
    size: float = 3.0
    share: float = 0.4  # of the features
    seed: int = 0

    def features(self, d: int) -> NDArray[np.intp]:
        """Indices of the features that change."""
        return np.sort(
            np.random.default_rng(self.seed).choice(d, max(1, round(self.share * d)), replace=False)
        )

    def apply(self, X: Floats) -> Floats:
        """A copy of the rows [n, d], changed; centre and spread are those of `X` itself."""
        rng = np.random.default_rng(self.seed)
        changed, columns = X.copy(), self.features(X.shape[1])
        signs = rng.choice((-1.0, 1.0), len(columns))
        part, sd = X[:, columns], X[:, columns].std(axis=0)
        if self.kind == "shift":
            changed[:, columns] = part + signs * self.size * sd
        elif self.kind == "scale":
            changed[:, columns] = part.mean(axis=0) + (part - part.mean(axis=0)) * self.size
        else:
            hit = rng.random(len(X)) < min(self.size / 10, 1)
            changed[np.ix_(hit, columns)] += signs * 3 * sd
        return changed


@dataclass
class Tally:
    """What a stream has seen so far. Latency counts from the moment a row was due, so a slow answer is not hidden by
    rows that then start late (coordinated omission)."""

    rows: int = 0
    failed: int = 0
    anomalies: int = 0
    by_status: Counter[str] = field(default_factory=Counter)
    by_version: Counter[str] = field(default_factory=Counter)
    due: list[float] = field(default_factory=list)  # seconds, monotonic
    sent: list[float] = field(
        default_factory=list
    )  # the same clock; later than due where the sender could not keep up
    latency: list[float] = field(default_factory=list)  # seconds
    version: list[str] = field(default_factory=list)

    def quantile_ms(self, q: float) -> float:
        return float(np.quantile(self.latency, q) * 1e3) if self.latency else float("nan")

    def to_json(self) -> dict[str, Any]:
        quantiles = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
        return {
            "requests": self.rows,
            "failed_requests": self.failed,
            "anomalies": self.anomalies,
            "statuses": dict(self.by_status),
            "versions": dict(self.by_version),
            **{name: round(self.quantile_ms(q), 2) for name, q in quantiles.items()},
        }


async def send_rows(
    url: str,
    row: Callable[[int], Floats | bytes],
    rate: float,
    tally: Tally,
    stop: Callable[[int], bool],
    headers: dict[str, str] | None = None,
    connections: int = 16,
    times: Callable[[int], float] = lambda _: 1.0,
    name: Callable[[int], str] | None = None,
) -> None:
    """POST row after row to `url`/predict at `rate` rows a second until `stop(rows sent)`: open loop.

    `row` gives the values of a row or a body as it is, `times` how many times faster it follows, `name` its request id.
    """
    due, sent = time.monotonic(), 0
    limit = asyncio.Semaphore(connections)
    running: set[asyncio.Task[None]] = set()
    connector, timeout = aiohttp.TCPConnector(limit=connections), aiohttp.ClientTimeout(total=30)
    about = {"Content-Type": "application/json", **(headers or {})}
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=about
    ) as session:
        while not stop(sent):
            due += 1 / (rate * times(sent))
            if (ahead := due - time.monotonic()) > 0:
                await asyncio.sleep(ahead)
            await limit.acquire()
            named = {"X-Request-Id": name(sent)} if name else {}
            task = asyncio.create_task(
                _send(session, f"{url}/predict", row(sent), due, tally, named)
            )
            running.add(task)
            task.add_done_callback(lambda done: (running.discard(done), limit.release()))
            sent += 1
        if running:
            await asyncio.gather(*running)


def write_records(
    records: Callable[[int], tuple[str, bytes]],
    rate: float,
    put: Callable[[list[tuple[str, bytes]]], None],
    rows: int,
    times: Callable[[int], float] = lambda _: 1.0,
    stop: Callable[[], bool] = lambda: False,
) -> float:
    """Hand (id, record) after (id, record) to `put` at `rate` a second; return by how many seconds the last came late."""
    due, sent, late = time.monotonic(), 0, 0.0
    while sent < rows and not stop():
        ready: list[tuple[str, bytes]] = []
        while sent < rows and (due + 1 / (rate * times(sent))) <= time.monotonic():
            due += 1 / (rate * times(sent))
            ready.append(records(sent))
            sent += 1
            if len(ready) == MAX_RECORDS_AT_ONCE:
                break
        if ready:
            put(ready)
            late = time.monotonic() - due
        else:
            time.sleep(max(0.0, min(due + 1 / (rate * times(sent)) - time.monotonic(), 0.05)))
    return late


async def _send(
    session: aiohttp.ClientSession,
    url: str,
    row: Floats | bytes,
    due: float,
    tally: Tally,
    headers: dict[str, str],
) -> None:
    body = row if isinstance(row, bytes) else msgspec.json.encode({"features": row.tolist()})
    status, version, anomaly, sent = "error", "", False, time.monotonic()
    try:
        async with session.post(url, data=body, headers=headers) as answer:
            text, status = await answer.read(), str(answer.status)
            if answer.status == 200:
                found = msgspec.json.decode(text)
                version, alerts = found["model_version"], found["is_anomaly"]
                anomaly = alerts if isinstance(alerts, bool) else any(alerts)
    except (
        aiohttp.ClientError,
        TimeoutError,
        msgspec.DecodeError,
        LookupError,
        TypeError,
    ) as error:
        status = type(error).__name__
    tally.rows += 1
    tally.failed += status != "200"
    tally.anomalies += anomaly
    tally.by_status[status] += 1
    tally.by_version[version] += 1
    tally.due.append(due)
    tally.sent.append(sent)
    tally.latency.append(time.monotonic() - due)
    tally.version.append(version)
