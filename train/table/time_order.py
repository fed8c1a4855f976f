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


@dataclass
class TimeOrder:
    """First and last time of each entity in the rows so far; raises DataError where one falls."""

    spans: dict[str, tuple[Any, Any]] = field(default_factory=dict)

    def add(self, rows: Table, file: File) -> None:
        """Take in the rows of `file` that follow; does nothing where they have no times."""
        if rows.times is None:
            return
        for entity, numbers in rows.by_entity():
            self._add_entity(entity, rows, numbers, file)

    def _add_entity(self, entity: str, rows: Table, numbers: NDArray[np.intp], file: File) -> None:
        assert rows.times is not None
        times = rows.times[numbers]
        first, last = self.spans.get(entity, (times[0], None))
        wrong = _first_not_later(times, last)
        if wrong is not None:
            before = last if wrong == 0 else times[wrong - 1]
            place = _place(file, rows, int(numbers[wrong]))
            raise _not_later(place, entity, is_same=bool(times[wrong] == before))
        self.spans[entity] = (first, times[-1])

    def follow(self, later: TimeOrder, split: FileSplit) -> None:
        """Take in the times of `split`, which follows; only its first row can be named."""
        for entity, (first, last) in later.spans.items():
            before = self.spans.get(entity)
            if before is not None and first <= before[1]:
                place = f"{split.file.path}, row {split.first_row + 1}"
                raise _not_later(place, entity, is_same=bool(first == before[1]))
            self.spans[entity] = (before[0] if before else first, last)


def _first_not_later(times: NDArray[Any], last: Any) -> int | None:
    """The first of the times that is not later than the one before it; `last` is before them."""
    if last is not None and times[0] <= last:
        return 0
    falls = np.diff(times) <= 0
    return int(np.argmax(falls)) + 1 if falls.any() else None


def _place(file: File, rows: Table, row: int) -> str:
    first_row = 0 if rows.index is None else int(rows.index[0])
    return RowOrigin(file, first_row).name(row)


def _not_later(place: str, entity: str, *, is_same: bool) -> DataError:
    whose = f" of {entity!r}" if entity else ""
    mistake = f"is earlier than the row{whose} before it"
    if is_same:
        mistake = f"has the time of the row{whose} before it"
    return DataError(
        f"{place} {mistake}: sort the table by time and drop duplicates "
        "(or name whose rows they are with --entity)"
    )
