"""A bounded sample of the live rows on its way to the drift monitor, never on the response path."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, groupby
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from serve.model.report import CapturedRows, RowContext, joined_contexts
from serve.settings import ServeSettings


class Capture:
    """A ring of at most `capacity` rows: when it is full the oldest go, and are counted.

    `clock` gives the Unix seconds at which rows are taken.
    """

    def __init__(self, capacity: int, clock: Callable[[], float] = time.time) -> None:
        self._capacity = capacity
        self._clock = clock
        self._batches: deque[CapturedRows] = deque()
        self._count = 0
        self.dropped = 0

    def follow_settings(self, settings: ServeSettings) -> None:
        """Hold at most so many rows from the next ones on."""
        self._capacity = settings.capture_rows

    def __len__(self) -> int:
        return self._count

    def add(self, batch: CapturedRows) -> None:
        """Remember the rows that one model has scored."""
        excess = len(batch.rows) - self._capacity
        if excess > 0:
            self.dropped += excess
            batch = batch.part(slice(-self._capacity, None))
        self._batches.append(batch)
        self._count += len(batch.rows)
        while self._count > self._capacity:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        rows = len(self._batches.popleft().rows)
        self._count -= rows
        self.dropped += rows

    def take(self) -> list[CapturedRows]:
        """Everything remembered, oldest first; the ring is empty afterwards.

        Neighbours of one version become one batch: thousands of small ones cost more to send than
        they cost to score.
        """
        taken = self._batches
        self._batches = deque()
        self._count = 0
        now = self._clock()
        return [_joined(list(batches), now) for _, batches in groupby(taken, _kind)]

    def put_back(self, batches: list[CapturedRows]) -> None:
        """Return what could not be delivered.

        It is older than what has come since, and the first to be dropped.
        """
        newer = self.take()
        for batch in (*batches, *newer):
            self.add(batch)


def _kind(batch: CapturedRows) -> tuple[Any, ...]:
    """What batches share that become one."""
    context = batch.context or RowContext()
    parts = (context.entities is None, context.times is None)
    is_made = (batch.warming is None, batch.raw is None, batch.limits is None)
    return (batch.version, batch.rows.shape[1], batch.captured, *is_made, *parts)


def _joined(batches: list[CapturedRows], now: float) -> CapturedRows:
    first = batches[0]
    return structs.replace(
        first,
        rows=np.concatenate([batch.rows for batch in batches]),
        scores=np.concatenate([batch.scores for batch in batches]),
        requests=list(chain.from_iterable(batch.requests for batch in batches)),
        context=joined_contexts([batch.context for batch in batches]),
        numbering=np.concatenate([batch.number_rows() for batch in batches]),
        captured=now if first.captured is None else first.captured,
        warming=_joined_arrays([batch.warming for batch in batches]),
        raw=_joined_arrays([batch.raw for batch in batches]),
        limits=_joined_arrays([batch.limits for batch in batches]),
    )


def _joined_arrays(arrays: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    """One array; None where the batches, which are of one kind, have none."""
    given = [array for array in arrays if array is not None]
    return np.concatenate(given) if given else None
