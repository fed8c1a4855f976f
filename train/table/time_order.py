"""Whether the times of a table rise: within each entity, from chunk to chunk, from file to file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.table.source import File, FileSplit
from train.table.table import Table
from train.table.values import RowOrigin
from vigil.arrays import Positions
from vigil.errors import DataError

Times = NDArray[Any]
_ADVICE = (
    "sort the table by time and drop duplicates (or name whose rows they are with --entity, or "
    "leave the times out with --ignore)"
)


@dataclass(frozen=True)
class TimeSpan:
    """First and last time of an entity."""

    first: Any
    last: Any


@dataclass
class TimeOrder:
    """The time span of each entity in the rows so far.

    must_rise: raises DataError where a time does not; else `disorder` says where one first fell,
    and `stands_still` whether two are the same
    """

    must_rise: bool = True
    spans: dict[str, TimeSpan] = field(default_factory=dict)
    disorder: str | None = None
    stands_still: bool = False

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
        earlier = [] if span is None else [span.last]
        steps = np.diff([*earlier, *times])
        self.stands_still |= bool((steps == 0).any())
        wrong = np.flatnonzero(self._is_wrong(steps))
        if len(wrong):
            step = int(wrong[0])
            row = step + 1 - len(earlier)
            self._refuse(places.name(row), entity, is_same=bool(steps[step] == 0))

    def _is_wrong(self, steps: Times) -> Times:
        """Whether a time is too early: one that was only recognised may stand still."""
        return steps <= 0 if self.must_rise else steps < 0

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
        self.disorder = self.disorder or later.disorder
        self.stands_still |= later.stands_still
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
        if span is None:
            return
        step = later.first - span.last
        self.stands_still |= bool(step == 0)
        if self._is_wrong(step):
            place = f"{split.file.path}, row {split.first_row + 1}"
            self._refuse(place, entity, is_same=bool(step == 0))

    def _refuse(
        self,
        place: str,
        entity: str,
        *,
        is_same: bool,
    ) -> None:
        """Raise for a time that must rise; of others the first is kept."""
        whose = f" of {entity!r}" if entity else ""
        mistake = "has the time of" if is_same else "is earlier than"
        finding = f"{place} {mistake} the row{whose} before it"
        if self.must_rise:
            raise DataError(f"{finding}: {_ADVICE}")
        self.disorder = self.disorder or finding


@dataclass(frozen=True)
class _Places:
    """Where the rows of these numbers lie in a file."""

    file: File
    rows: Table
    numbers: Positions

    def name(self, row: int) -> str:
        """How a message names one of them."""
        assert self.rows.index is not None
        first_row = int(self.rows.index[0])
        return RowOrigin(self.file, first_row).name(int(self.numbers[row]))
