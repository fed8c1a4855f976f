"""Labelled telemetry: rows to learn from, and rows that follow, whose anomalies are known."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drift.incidents.backtest.history import History, TimeRange, read_histories
from drift.incidents.backtest.labelled_windows import WindowFile, Windows
from tests.bench.vus import Labels, Segments
from train.table.dataset import read_table
from train.table.schema import Columns
from vigil.arrays import Floats
from vigil.errors import DataError

PROBATION = 0.2  # of a series of the Numenta benchmark, as that benchmark has it
_INTERVAL_S = 60.0


@dataclass(frozen=True, eq=False)
class LabelledTelemetry:
    """Rows of one machine or series.

    train [n, d]: unlabelled; test [m, d]: the rows that follow; labels [m]: 1 = anomaly;
    times [m]: of the rows to test on, Unix seconds; windows: in which something was wrong
    """

    name: str
    train: Floats
    test: Floats
    labels: Labels
    times: Floats
    windows: Windows

    @property
    def period(self) -> TimeRange:
        """From the first row to test on to the last."""
        first, last = self.times[[0, -1]]
        return TimeRange(float(first), float(last))


def folder() -> Path:
    """Where the real tables are; raises DataError where they are not."""
    found = Path(os.environ.get("VIGIL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not found.is_dir():
        raise DataError(f"set VIGIL_TEST_DATA to the folder of the real tables: {found} is absent")
    return found


def machines() -> Iterator[LabelledTelemetry]:
    """The servers of asd and smd, a row a minute."""
    for name in machine_names():
        yield machine_rows(name)


def machine_names() -> list[str]:
    """The servers, as asd/omi-1."""
    return [
        f"{kind}/{file.stem}"
        for kind in ("asd", "smd")
        for file in sorted((folder() / kind).glob("*.npz"))
    ]


def machine_rows(name: str) -> LabelledTelemetry:
    """The rows of one server."""
    table = read_table(folder() / f"{name}.npz")
    assert table.test is not None
    assert table.test.labels is not None
    labels = table.test.labels.astype(np.int64)
    times = np.arange(len(labels), dtype=np.float64) * _INTERVAL_S
    return LabelledTelemetry(
        name=name,
        train=table.train.X,
        test=table.test.X,
        labels=labels,
        times=times,
        windows=_windows_of(labels, times),
    )


def _windows_of(labels: Labels, times: Floats) -> Windows:
    segments = Segments.of(labels)
    pairs = zip(times[segments.first], times[segments.last], strict=True)
    return tuple(TimeRange(float(first), float(last)) for first, last in pairs)


def series() -> Iterator[LabelledTelemetry]:
    """The series of the Numenta benchmark that have a window after their probation."""
    nab = folder() / "nab"
    windows = WindowFile(nab / "windows.json")
    for file in sorted(nab.glob("*.csv")):
        (history,) = read_histories(file, Columns(time="timestamp"))
        of_series = windows.of(history.name)
        if of_series is not None:
            found = _series_rows(history, of_series)
            if found.labels.any():
                yield found


def _series_rows(history: History, windows: Windows) -> LabelledTelemetry:
    first = round(len(history) * PROBATION)
    times = history.times[first:]
    labels = np.zeros(len(times), np.int64)
    for window in windows:
        labels[window.mask(times)] = 1
    X = history.table.X
    return LabelledTelemetry(
        name=f"nab/{history.name}",
        train=X[:first],
        test=X[first:],
        labels=labels,
        times=times,
        windows=windows,
    )
