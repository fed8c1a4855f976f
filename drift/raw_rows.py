"""Raw rows that came last, for the context of entities that is lost: bounded, in memory."""

from __future__ import annotations

import threading
from collections import deque
from itertools import chain
from typing import NamedTuple

import numpy as np

from drift.recent_margins import RecentMargins
from serve.model.report import CapturedRows
from vigil.arrays import Floats

MAX_RAW_ROWS = 200_000


class OrderedRows(NamedTuple):
    """Rows [n, d] in the order of their time, whose they are [n], and of when (Unix seconds, NaN).

    They travel to another process as they are.
    """

    X: Floats
    entities: list[str | None]
    times: Floats


class RecentRawRows:
    """The last rows of models that look back in time, as callers sent them; `margins`: of all
    whose entities have thresholds of their own."""

    def __init__(self, max_rows: int = MAX_RAW_ROWS) -> None:
        self.margins = RecentMargins()
        self._max_rows = max_rows
        self._batches = deque[CapturedRows]()
        self._rows = 0
        self._lock = threading.Lock()  # rows come and are asked for in different threads

    def take(self, batch: CapturedRows) -> CapturedRows:
        """Remember a batch; return its rows that can be judged: a warming one says nothing."""
        if batch.raw is not None:
            with self._lock:
                self._add(batch)
        judged = batch.judged()
        self.margins.take(judged)
        return judged

    def _add(self, batch: CapturedRows) -> None:
        """Remember a batch; the oldest go where there are too many."""
        self._batches.append(batch)
        self._rows += len(batch.rows)
        while self._rows > self._max_rows and len(self._batches) > 1:
            self._rows -= len(self._batches.popleft().rows)

    def rows(self, features: int, most: int) -> OrderedRows:
        """Return at most so many of the last rows that have so many raw features."""
        with self._lock:
            batches = list(self._batches)
        of_width = [batch for batch in batches if _width(batch) == features]
        raw = [np.empty((0, features)), *(batch.raw for batch in of_width if batch.raw is not None)]
        X = np.concatenate(raw)
        entities = list(chain.from_iterable(map(_entities, of_width)))
        times = np.concatenate([np.empty(0), *map(_times, of_width)])
        captured = np.concatenate([np.empty(0), *map(_captured, of_width)])
        known = np.where(np.isnan(times), captured, times)
        order = np.argsort(known, kind="stable")[-most:]
        return OrderedRows(X[order], [entities[row] for row in order], times[order])


def _width(batch: CapturedRows) -> int:
    return -1 if batch.raw is None else batch.raw.shape[1]


def _entities(batch: CapturedRows) -> list[str | None]:
    if batch.context is None or batch.context.entities is None:
        return [None] * len(batch.rows)
    return list(batch.context.entities)


def _times(batch: CapturedRows) -> Floats:
    if batch.context is None or batch.context.times is None:
        return np.full(len(batch.rows), np.nan)
    return np.array(batch.context.times, np.float64)


def _captured(batch: CapturedRows) -> Floats:
    return np.full(len(batch.rows), batch.captured or 0.0)
