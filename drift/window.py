"""Tumbling windows over the live rows: bounded, in arrival order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Floats


@dataclass(frozen=True)
class Window:
    """`rows` [size, d], their anomaly `scores` [size] and the `requests` [size] that brought them; the first arrived at
    `since` (Unix seconds)."""

    rows: Floats
    scores: Floats
    requests: list[str]
    since: float


@dataclass
class TumblingWindow:
    """Collects rows and hands out full windows of `size` rows; holds less than one window at any time."""

    size: int
    _rows: list[NDArray[Any]] = field(default_factory=list)
    _scores: list[NDArray[Any]] = field(default_factory=list)
    _requests: list[str] = field(default_factory=list)
    _count: int = 0
    _since: float = 0.0

    def __len__(self) -> int:
        return self._count

    def add(
        self, rows: NDArray[Any], scores: NDArray[Any], requests: list[str], now: float
    ) -> list[Window]:
        """Add rows [n, d] with their scores and requests [n] that arrived at `now`; return the windows that they complete."""
        full = []
        while len(rows):
            if not self._count:
                self._since = now
            take = min(self.size - self._count, len(rows))
            self._rows.append(rows[:take])
            self._scores.append(scores[:take])
            self._requests += requests[:take]
            self._count += take
            rows, scores, requests = rows[take:], scores[take:], requests[take:]
            if self._count == self.size:
                full.append(
                    Window(
                        np.concatenate(self._rows),
                        np.concatenate(self._scores),
                        self._requests,
                        self._since,
                    )
                )
                self.reset()
        return full

    def flush_if_older_than(self, at: float) -> Window | None:
        """The unfinished window, when it began before `at` (Unix seconds) and has a fifth of its rows; it begins anew then."""
        if self._since >= at or self._count < max(1, self.size // 5):
            return None
        made = Window(
            np.concatenate(self._rows), np.concatenate(self._scores), self._requests, self._since
        )
        self.reset()
        return made

    def reset(self) -> int:
        """Forget the rows of the unfinished window; return how many."""
        dropped, self._count = self._count, 0
        self._rows, self._scores, self._requests = [], [], []
        return dropped
