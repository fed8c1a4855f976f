"""A bounded sample of the live rows on its way to the drift monitor, never on the response path."""

from __future__ import annotations

from collections import deque
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serve.model.report import CapturedRows
from serve.settings import ServeSettings

# Model version, rows [n, d], scores [n], request ids [n]: a request adds one, so it is a tuple.
_Batch = tuple[str, NDArray[Any], NDArray[Any], list[str]]


class Capture:
    """A ring of at most `capacity` rows: when it is full the oldest go, and are counted."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._batches: deque[_Batch] = deque()
        self._count = 0
        self.dropped = 0

    def follow_settings(self, settings: ServeSettings) -> None:
        """Hold at most so many rows from the next ones on."""
        self._capacity = settings.capture_rows

    def __len__(self) -> int:
        return self._count

    def add(
        self, version: str, rows: NDArray[Any], scores: NDArray[Any], requests: list[str]
    ) -> None:
        """Remember rows [n, d] that `version` scored, and the requests [n] that brought them."""
        if len(rows) > self._capacity:
            self.dropped += len(rows) - self._capacity
            rows = rows[-self._capacity :]
            scores = scores[-self._capacity :]
            requests = requests[-self._capacity :]
        self._batches.append((version, rows, scores, requests))
        self._count += len(rows)
        while self._count > self._capacity:
            oldest = self._batches.popleft()
            self._count -= len(oldest[1])
            self.dropped += len(oldest[1])

    def take(self) -> list[CapturedRows]:
        """Everything remembered, oldest first; the ring is empty afterwards.

        Neighbours of one version become one batch: thousands of small ones cost more to send than
        they cost to score.
        """
        taken = self._batches
        self._batches = deque()
        self._count = 0
        return [
            _joined(list(batches))
            for _, batches in groupby(taken, lambda batch: (batch[0], batch[1].shape[1]))
        ]

    def put_back(self, batches: list[CapturedRows]) -> None:
        """Return what could not be delivered.

        It is older than what has come since, and the first to be dropped.
        """
        newer = self.take()
        for batch in (*batches, *newer):
            self.add(batch.version, batch.rows, batch.scores, batch.requests)


def _joined(batches: list[_Batch]) -> CapturedRows:
    rows, scores = (np.concatenate([batch[part] for batch in batches]) for part in (1, 2))
    requests = [request for batch in batches for request in batch[3]]
    return CapturedRows(batches[0][0], rows, scores, requests)
