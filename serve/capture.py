"""A bounded sample of the live rows on its way to the drift monitor, never on the response path."""

from __future__ import annotations

from collections import deque
from typing import Any

from numpy.typing import NDArray

Rows = tuple[str, NDArray[Any], NDArray[Any], str]  # model version, rows [n, d], scores [n], request id


class Capture:
    """A ring of at most `capacity` rows: when it is full the oldest go, and are counted."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._batches: deque[Rows] = deque()
        self._count = 0
        self.dropped = 0

    def __len__(self) -> int:
        return self._count

    def add(self, version: str, rows: NDArray[Any], scores: NDArray[Any], request: str) -> None:
        """Remember rows [n, d] that `version` scored in `request`."""
        if len(rows) > self._capacity:
            self.dropped += len(rows) - self._capacity
            rows, scores = rows[-self._capacity :], scores[-self._capacity :]
        self._batches.append((version, rows, scores, request))
        self._count += len(rows)
        while self._count > self._capacity:
            oldest = self._batches.popleft()
            self._count -= len(oldest[1])
            self.dropped += len(oldest[1])

    def take(self) -> list[Rows]:
        """Everything remembered, oldest first; the ring is empty afterwards."""
        taken, self._batches, self._count = list(self._batches), deque(), 0
        return taken

    def put_back(self, batches: list[Rows]) -> None:
        """Return what could not be delivered; it is older than what has come since, and the first to be dropped."""
        newer = self.take()
        for batch in (*batches, *newer):
            self.add(*batch)
