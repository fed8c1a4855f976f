"""Rows of a table in the order of time, as a backtest replays them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from train.table.dataset import table_roles
from train.table.reader import read_split, split_files
from train.table.schema import Columns
from train.table.source import File, find_files
from train.table.table import Table, concat
from train.table.unix_times import unix_seconds
from train.table.words import DeclaredCategory
from vigil.arrays import Floats
from vigil.errors import DataError
from vigil.terminal import say

DEFAULT_INTERVAL_S = 60.0


@dataclass(frozen=True)
class TimeRange:
    """From `first` to `last` (Unix seconds), both included."""

    first: float
    last: float

    def contains(self, at: float) -> bool:
        return self.first <= at <= self.last

    def overlaps(self, other: TimeRange) -> bool:
        return self.first <= other.last and other.first <= self.last

    def mask(self, times: Floats) -> NDArray[np.bool_]:
        """Return which of the times [n] it contains."""
        return (self.first <= times) & (times <= self.last)


ALL_TIME = TimeRange(-np.inf, np.inf)


@dataclass(frozen=True)
class History:
    """Rows in the order of their times [n], which are Unix seconds.

    name: of the series; training_rows: the first rows, where the file sets them apart; categories:
    features that are words
    """

    name: str
    table: Table
    times: Floats
    training_rows: int = 0
    categories: tuple[DeclaredCategory, ...] = ()

    def __len__(self) -> int:
        return len(self.table)

    @property
    def period(self) -> TimeRange:
        first, last = self.times[[0, -1]]
        return TimeRange(float(first), float(last))

    def within(self, period: TimeRange) -> History:
        """Return the rows of a period. Raises DataError when there are none."""
        rows = np.flatnonzero(period.mask(self.times))
        if not len(rows):
            raise DataError(f"{self.name} has no rows between --from and --to")
        return self.take(rows)

    def in_order(self) -> History:
        """Return the rows sorted by their time, however they were written."""
        falls = np.diff(self.times) < 0
        if not falls.any():
            return self
        late = falls.sum()
        say(f"{self.name}: rows are sorted by time; {late} were earlier than the row before")
        return self.take(np.argsort(self.times, kind="stable"))

    def take(self, rows: NDArray[np.intp]) -> History:
        """Return these rows."""
        for_training = rows < self.training_rows
        return replace(
            self,
            table=self.table.take(rows),
            times=self.times[rows],
            training_rows=int(for_training.sum()),
        )


def read_histories(
    path: str | Path,
    columns: Columns,
    interval_s: float = DEFAULT_INTERVAL_S,
    *,
    each_file: bool = False,
    allow_missing: bool = False,
) -> list[History]:
    """Return the rows of a table as one series, or as one `each_file`.

    interval_s: from row to row, where no column has times. Raises DataError for what no model can
    score, missing values too unless `allow_missing`.
    """
    files = find_files(path)
    series = [[file] for file in files] if each_file else [files]
    return [
        _read_series(
            part,
            columns,
            interval_s,
            allow_missing=allow_missing,
        )
        for part in series
    ]


def _read_series(
    files: Sequence[File],
    columns: Columns,
    interval_s: float,
    *,
    allow_missing: bool,
) -> History:
    roles = table_roles(files, columns)
    for remark in roles.remarks:
        say(remark)
    chunks = _read_chunks(files, roles.columns, allow_missing)
    table = concat(_labelled_alike(chunks))
    history = History(
        name=_series_name(files),
        table=table,
        times=_times_of(table, interval_s),
        training_rows=_count_training_rows(chunks),
        categories=roles.categories,
    )
    return history.in_order()


def _read_chunks(
    files: Sequence[File],
    columns: Columns,
    allow_missing: bool,
) -> list[Table]:
    chunks: list[Table] = []
    for split in split_files(files):
        chunks += read_split(split, columns, allow_missing=allow_missing)
    if not any(map(len, chunks)):
        raise DataError(f"{files[0].path} has 0 rows")
    return chunks


def _series_name(files: Sequence[File]) -> str:
    """That of the only file, else of the folder."""
    first = Path(files[0].path)
    return first.stem if len(files) == 1 else str(first.parent)


def _count_training_rows(chunks: Sequence[Table]) -> int:
    """Rows before those that a file has to test on; none where all rows are alike."""
    if not any(chunk.is_test for chunk in chunks):
        return 0
    return sum(len(chunk) for chunk in chunks if not chunk.is_test)


def _labelled_alike(chunks: Sequence[Table]) -> Sequence[Table]:
    """Chunks with labels, where some have them: rows to train on have none, and are normal."""
    if all(chunk.labels is None for chunk in chunks):
        return chunks
    return [_with_labels(chunk) for chunk in chunks]


def _with_labels(rows: Table) -> Table:
    if rows.labels is not None:
        return rows
    return replace(rows, labels=np.zeros(len(rows), np.int64))


def _times_of(table: Table, interval_s: float) -> Floats:
    if table.times is None:
        return np.arange(len(table), dtype=np.float64) * interval_s
    return unix_seconds(table.times)
