"""Tumbling windows over the live rows: bounded, in arrival order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Floats

MIN_PART = 5  # an unfinished window is judged when it has a fifth of its rows


@dataclass(frozen=True)
class Window:
    """`rows` [size, d], their anomaly `scores` [size] and the `requests` [size] that brought them.

    since: when the first of them arrived (Unix seconds)
    """

    rows: Floats
    scores: Floats
    requests: list[str]
    since: float


class TumblingWindow:
    """Collects rows and hands out full windows of `size` rows; holds less than one at any time."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._since = 0.0
        self._clear()

    def _clear(self) -> None:
        self._rows: list[NDArray[Any]] = []
        self._scores: list[NDArray[Any]] = []
        self._requests: list[str] = []

    def __len__(self) -> int:
        return len(self._requests)

    def add(
        self, rows: NDArray[Any], scores: NDArray[Any], requests: list[str], *, now: float
    ) -> list[Window]:
        """Add rows [n, d] with their scores and requests [n] that arrived at `now`.

        Return the windows that they complete.
        """
        full = []
        begin = 0
        while begin < len(rows):
            end = begin + self.size - len(self)
            self._append(rows[begin:end], scores[begin:end], requests[begin:end], now=now)
            begin = end
            if len(self) == self.size:
                full.append(self._finish())
        return full

    def _append(
        self, rows: NDArray[Any], scores: NDArray[Any], requests: list[str], *, now: float
    ) -> None:
        if not len(self):
            self._since = now
        self._rows.append(rows)
        self._scores.append(scores)
        self._requests += requests

    def _finish(self) -> Window:
        """The window as it is; the next one begins."""
        window = Window(
            rows=np.concatenate(self._rows),
            scores=np.concatenate(self._scores),
            requests=self._requests,
            since=self._since,
        )
        self._clear()
        return window

    def flush_if_older_than(self, at: float) -> Window | None:
        """Return the unfinished window when it began before `at` (Unix seconds), and begin anew.

        None when it is younger, or has too few rows to say anything.
        """
        min_rows = max(1, self.size // MIN_PART)
        if self._since >= at or len(self) < min_rows:
            return None
        return self._finish()
