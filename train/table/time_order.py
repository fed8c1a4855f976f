"""Whether the times of a table rise: within each entity, from chunk to chunk, from file to file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.table.source import File, FileSplit
from train.table.table import Table
from train.table.values import RowOrigin
from vigil.errors import DataError

Times = NDArray[Any]


@dataclass(frozen=True)
class TimeSpan:
    """First and last time of an entity."""

    first: Any
    last: Any


@dataclass
class TimeOrder:
    """The time span of each entity in the rows so far; raises DataError where a time falls."""

    spans: dict[str, TimeSpan] = field(default_factory=dict)

    def add(
        self,
        rows: Table,
        file: File,
    ) -> None:
        """Take in the rows of `file` that follow; does nothing where they have no times."""
        if rows.times is None:
            return
        for entity, numbers in rows.by_entity():
            times = rows.times[numbers]
            self._check(entity, times, _Places(file, rows, numbers))
            self._extend(entity, TimeSpan(times[0], times[-1]))

    def _check(
        self,
        entity: str,
        times: Times,
        places: _Places,
    ) -> None:
        span = self.spans.get(entity)
        if span is not None and times[0] <= span.last:
            raise _not_later(places.name(0), entity, is_same=bool(times[0] == span.last))
        falls = np.flatnonzero(np.diff(times) <= 0)
        if len(falls):
            before, wrong = times[falls[0] :][:2]
            place = places.name(int(falls[0]) + 1)
            raise _not_later(place, entity, is_same=bool(wrong == before))

    def _extend(
        self,
        entity: str,
        later: TimeSpan,
    ) -> None:
        span = self.spans.get(entity, later)
        self.spans[entity] = TimeSpan(span.first, later.last)

    def follow(
        self,
        later: TimeOrder,
        split: FileSplit,
    ) -> None:
        """Take in the times of `split`, which follows; only its first row can be named."""
        for entity, span in later.spans.items():
            self._check_follows(entity, span, split)
            self._extend(entity, span)

    def _check_follows(
        self,
        entity: str,
        later: TimeSpan,
        split: FileSplit,
    ) -> None:
        span = self.spans.get(entity)
        if span is not None and later.first <= span.last:
            place = f"{split.file.path}, row {split.first_row + 1}"
            raise _not_later(place, entity, is_same=bool(later.first == span.last))


@dataclass(frozen=True)
class _Places:
    """Where the rows of these numbers lie in a file."""

    file: File
    rows: Table
    numbers: NDArray[np.intp]

    def name(self, row: int) -> str:
        """How a message names one of them."""
        assert self.rows.index is not None
        first_row = int(self.rows.index[0])
        return RowOrigin(self.file, first_row).name(int(self.numbers[row]))


def _not_later(
    place: str,
    entity: str,
    *,
    is_same: bool,
) -> DataError:
    whose = f" of {entity!r}" if entity else ""
    mistake = "has the time of" if is_same else "is earlier than"
    return DataError(
        f"{place} {mistake} the row{whose} before it: sort the table by time and drop duplicates "
        "(or name whose rows they are with --entity)"
    )
