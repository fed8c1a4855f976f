"""Where rows stand among those of their entity in a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from drift.incidents.incident import ScoredRows
from drift.incidents.names import bounded_name

RowIndices = NDArray[np.int64]


class PassedRows(NamedTuple):
    """Which rows of a batch are of an entity, and the latest of their times."""

    entity: str
    places: RowIndices
    latest: float

    @property
    def rows(self) -> int:
        return len(self.places)


class Places:
    """The rows of a batch, counted by entity; rows without entities are of one without a name."""

    def __init__(self, rows: ScoredRows) -> None:
        numbers = _Numbers()
        codes = numbers.codes(rows)
        self._entities = numbers.entities
        self._times = rows.times
        self._codes = codes
        self._order = np.argsort(codes, kind="stable")
        self._counts = np.bincount(codes)
        ends = np.cumsum(self._counts)
        self._starts = ends - self._counts

    def of(self, rows: RowIndices) -> Sequence[int]:
        """Return the place of each of these rows, from 1 on."""
        count = len(self._order)
        ranks = np.empty(count, dtype=np.int64)
        ranks[self._order] = np.arange(count)
        starts = self._starts[self._codes[rows]]
        places = ranks[rows] - starts + 1
        return places.tolist()

    def passed(self) -> list[PassedRows]:
        """Return which rows each entity has."""
        if not len(self._order):
            return []
        times = self._times[self._order]
        latest = np.maximum.reduceat(times, self._starts)
        entities = zip(
            self._entities,
            np.split(self._order, self._starts[1:]),
            latest.tolist(),
            strict=True,
        )
        return [PassedRows(*entity) for entity in entities]


class _Numbers:
    """A number for each entity, in the order in which they come."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def codes(self, rows: ScoredRows) -> RowIndices:
        """The number of the entity of each row."""
        count = len(rows.scores)
        if rows.entities is None:
            self._number("")
            return np.zeros(count, dtype=np.int64)
        numbers = map(self._number, rows.entities)
        return np.fromiter(numbers, np.int64, count)

    def _number(self, entity: str) -> int:
        following = len(self._numbers)
        return self._numbers.setdefault(entity, following)

    @property
    def entities(self) -> list[str]:
        return [bounded_name(entity) for entity in self._numbers]
