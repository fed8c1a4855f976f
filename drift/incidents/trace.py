"""The course of an incident: scores and leading features of its entities, some points a time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from drift.incidents.incident import IncidentTrace, ScoredRows, TracePoint
from drift.incidents.names import bounded_name
from drift.incidents.places import RowIndices

MAX_TRACE_POINTS = 60
MAX_TRACE_FEATURES = 6
MAX_RECENT_ROWS = 500


def follow_features(trace: IncidentTrace, names: Iterable[str]) -> None:
    """Have the points that come have these features too, as far as there is room."""
    wanted = dict.fromkeys([*trace.names, *names])
    trace.names = tuple(wanted)[:MAX_TRACE_FEATURES]


def extend_trace(
    trace: IncidentTrace,
    rows: ScoredRows,
    places: RowIndices,
) -> None:
    """Add these rows of a batch: of each step of time the highest score stays.

    Steps become longer until all points fit in.
    """
    trace.threshold = rows.threshold
    trace.step_s = _fitting_step(rows.times[places], trace.step_s)
    highest = places[_highest_of_steps(rows.times[places], rows.scores[places], trace.step_s)]
    columns = _columns(rows.names, trace.names)
    found = [_point(rows, row, columns) for row in highest.tolist()]
    trace.points = _merged([*trace.points, *found], trace.step_s)
    while len(trace.points) > MAX_TRACE_POINTS:
        trace.step_s *= 2
        trace.points = _merged(trace.points, trace.step_s)


def _steps(times: NDArray[np.float64], step_s: float) -> NDArray[np.float64]:
    return np.floor(times / step_s)


def _fitting_step(times: NDArray[np.float64], step_s: float) -> float:
    while len(np.unique(_steps(times, step_s))) > MAX_TRACE_POINTS:
        step_s *= 2
    return step_s


def _highest_of_steps(
    times: NDArray[np.float64],
    scores: NDArray[np.float64],
    step_s: float,
) -> NDArray[np.int64]:
    """The place of the highest score of each step."""
    steps = _steps(times, step_s)
    order = np.lexsort((scores, steps))
    is_last = np.append(np.diff(steps[order]) > 0, True)
    return order[is_last[: len(order)]]


def _point(
    rows: ScoredRows,
    row: int,
    columns: Iterable[int | None],
) -> TracePoint:
    values = [_value(rows, row, column) for column in columns]
    return TracePoint(float(rows.times[row]), float(rows.scores[row]), tuple(values))


def _value(
    rows: ScoredRows,
    row: int,
    column: int | None,
) -> float | None:
    value = math.nan if column is None else float(rows.rows[row, column])
    return value if math.isfinite(value) else None


@lru_cache(maxsize=64)
def _columns(names: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[int | None, ...]:
    """The column of each of these features, None where the batch does not have it."""
    places = {bounded_name(name): column for column, name in enumerate(names)}
    return tuple(map(places.get, wanted))


def _merged(points: Iterable[TracePoint], step_s: float) -> list[TracePoint]:
    by_step: dict[int, TracePoint] = {}
    for point in points:
        step = math.floor(point.at / step_s)
        former = by_step.get(step)
        if former is None or former.score < point.score:
            by_step[step] = point
    return [by_step[step] for step in sorted(by_step)]


class RecentRows:
    """The latest batches, at least so many rows: what came before an incident opened."""

    def __init__(self, max_rows: int = MAX_RECENT_ROWS) -> None:
        self._max_rows = max_rows
        self._batches: deque[ScoredRows] = deque()
        self._rows = 0

    def add(self, rows: ScoredRows) -> None:
        self._batches.append(_last_of(rows, self._max_rows))
        self._rows += len(self._batches[-1].scores)
        while self._rows - len(self._batches[0].scores) >= self._max_rows:
            self._rows -= len(self._batches.popleft().scores)

    def of_entity(self, entity: str, since: float) -> Iterator[tuple[ScoredRows, RowIndices]]:
        """Yield the batches that have rows of an entity since then, with their places."""
        for rows in self._batches:
            is_own = _is_of(rows, entity) & (rows.times >= since)
            places = np.flatnonzero(is_own)
            if len(places):
                yield rows, places


def _is_of(rows: ScoredRows, entity: str) -> NDArray[np.bool_]:
    if rows.entities is None:
        return np.full(len(rows.scores), not entity)
    return np.array([bounded_name(name) == entity for name in rows.entities], dtype=bool)


def _last_of(rows: ScoredRows, most: int) -> ScoredRows:
    """Its last rows; a copy, so that a large batch is not kept for them."""
    if len(rows.scores) <= most:
        return rows
    return msgspec.structs.replace(
        rows,
        rows=rows.rows[-most:].copy(),
        scores=rows.scores[-most:].copy(),
        times=rows.times[-most:].copy(),
        entities=None if rows.entities is None else rows.entities[-most:],
        requests=None,
        numbering=None,
        limits=None,
    )
