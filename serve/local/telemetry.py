"""Rows to test with: seeded telemetry of one server, and drift that is put into rows."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from train.table.table import Table
from vigil.arrays import Floats, Positions

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
_ANOMALOUS_FEATURES = 4
_SPIKE = 0
_BROKEN_CORRELATION = 2
_Random = np.random.Generator
DriftKind = Literal["shift", "scale", "mix"]


def telemetry(
    rows: int,
    seed: int = 0,
    anomaly_rate: float = 0.01,
) -> Table:
    """Seeded telemetry of one server.

    A daily cycle, features that move together, noise that remembers, and labelled anomalies
    (spikes, level shifts of some minutes, broken correlation) in about `anomaly_rate` of the rows.
    """
    server = np.random.default_rng(SERVER_SEED)
    rng = np.random.default_rng(seed)
    X = _ordinary_rows(rows, server, rng)
    labels = _plant_anomalies(X, anomaly_rate, rng)
    features = len(FEATURES)
    scale = server.uniform(1, 40, features)
    levels = server.uniform(4, 8, features)
    return Table(X * scale + scale * levels, FEATURES, labels)


def _ordinary_rows(
    rows: int,
    server: _Random,
    rng: _Random,
) -> Floats:
    features = len(FEATURES)
    mixing = server.normal(size=(3, features))
    cycle = _daily_cycle(rows, server, rng)
    common = _autoregressive(rng.normal(size=(rows, 3)), 0.8)
    noise = _autoregressive(rng.normal(size=(rows, features)), 0.5)
    together = common @ (mixing / np.sqrt(3))
    return cycle + together + 0.5 * noise


def _daily_cycle(
    rows: int,
    server: _Random,
    rng: _Random,
) -> Floats:
    """Each feature of the server has an amplitude and a phase of its own."""
    features = len(FEATURES)
    amplitude = server.uniform(0.2, 0.7, features)
    phase = server.uniform(-0.6, 0.6, features)
    first = rng.integers(ROWS_PER_DAY)
    step = np.arange(rows) + first
    time_of_day = 2 * np.pi * step / ROWS_PER_DAY
    angle = time_of_day[:, None] + phase
    return np.sin(angle) * amplitude


def _plant_anomalies(
    X: Floats,
    rate: float,
    rng: _Random,
) -> NDArray[np.int64]:
    """Change some rows of `X`; return the labels, 1 = anomaly."""
    labels = np.zeros(len(X), np.int64)
    while labels.mean() < rate:
        start = int(rng.integers(len(X)))
        kind = int(rng.integers(3))
        rows = slice(start, start + _length(kind, rng))
        _plant_anomaly(
            X,
            rows,
            kind,
            rng=rng,
        )
        labels[rows] = 1
    return labels


def _length(kind: int, rng: _Random) -> int:
    """How many rows an anomaly lasts."""
    return 1 if kind == _SPIKE else int(rng.integers(2, 8))


def _plant_anomaly(
    X: Floats,
    rows: slice,
    kind: int,
    *,
    rng: _Random,
) -> None:
    count = _ANOMALOUS_FEATURES
    columns = rng.choice(X.shape[1], count, replace=False)
    signs = rng.choice((-1.0, 1.0), count)
    changed = X[rows, columns]
    if kind == _BROKEN_CORRELATION:  # each value is ordinary, their combination is not
        X[rows, columns] = signs * 2.5 - changed
    else:
        X[rows, columns] = changed + signs * rng.uniform(5, 9, count)


def _autoregressive(noise: Floats, memory: float) -> Floats:
    """Series [n, k] in which each value holds `memory` of the one before (AR(1))."""
    series = noise.copy()
    innovation = np.sqrt(1 - memory**2)
    for i in range(1, len(noise)):
        series[i] = memory * series[i - 1] + innovation * noise[i]
    return series


def write_table(
    table: Table,
    rows: int,
    file: Path,
) -> None:
    """The first `rows` rows of a table as CSV with a header, over and over where it has fewer;
    labels stay out."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(table.sent or table.names)
        for i in range(rows):
            row = i % len(table)
            lines.writerow(table.sent_row(row, table.X[row].tolist()))


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

    def features(self, d: int) -> Positions:
        """Indices of the features that change."""
        count = max(1, round(self.share * d))
        rng = np.random.default_rng(self.seed)
        chosen = rng.choice(d, count, replace=False)
        return np.sort(chosen)

    def apply(self, X: Floats) -> Floats:
        """A copy of the rows [n, d], changed; centre and spread are those of `X` itself."""
        rng = np.random.default_rng(self.seed)
        columns = self.features(X.shape[1])
        signs = rng.choice((-1.0, 1.0), len(columns))
        changed = X.copy()
        changed[:, columns] = self._changed(X[:, columns], signs, rng)
        return changed

    def _changed(
        self,
        values: Floats,
        signs: Floats,
        rng: _Random,
    ) -> Floats:
        """The values [n, k] of the features that change, as they are afterwards."""
        if self.kind == "scale":
            centre = values.mean(axis=0)
            return centre + (values - centre) * self.size
        direction = signs * values.std(axis=0)
        if self.kind == "shift":
            return values + direction * self.size
        share = min(self.size / 10, 1)
        is_shifted = rng.random(len(values)) < share
        return values + is_shifted[:, None] * (direction * 3)
