"""The challenger in the shadow of the champion.

It scores a sample of the same rows, off the response path.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from serve.model.loaded import LoadedModel
from serve.model.report import ShadowReport
from vigil.arrays import Floats

# Between two reports, about a second: more are dropped and counted, so that the cost is bounded.
MAX_SHADOW_ROWS = 1000


class Shadow:
    """A bounded queue of scored rows; `score` catches up, in a thread."""

    def __init__(self, champion: LoadedModel, challenger: LoadedModel) -> None:
        self.champion = champion
        self.challenger = challenger
        self._queue: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._room = MAX_SHADOW_ROWS
        self._dropped = 0

    def offer(self, rows: Floats, scores: Floats) -> None:
        """Rows [n, d] and the champion's scores [n] of one request."""
        taken = min(len(rows), self._room)
        self._dropped += len(rows) - taken
        if taken:
            self._queue.append((rows[:taken], scores[:taken]))
            self._room -= taken

    def take(self) -> list[tuple[NDArray[Any], NDArray[Any]]]:
        """What waits; the queue is empty afterwards."""
        taken = self._queue
        self._queue = []
        self._room = MAX_SHADOW_ROWS
        return taken

    def score(self, taken: list[tuple[NDArray[Any], NDArray[Any]]]) -> ShadowReport:
        """Score what was taken.

        Gives both models' scores and alerts, the seconds each takes for these rows, what failed.
        """
        rows = np.concatenate([rows for rows, _ in taken])
        ours = np.concatenate([scores for _, scores in taken])
        dropped = self._dropped
        self._dropped = 0
        report = ShadowReport(
            champion=self.champion.version, challenger=self.challenger.version, dropped=dropped
        )
        try:
            began = time.perf_counter()
            theirs = self.challenger.bundle.forest.score(rows)
            between = time.perf_counter()
            self.champion.bundle.forest.score(rows)
            seconds = (time.perf_counter() - between, between - began)
            if not np.isfinite(theirs).all():
                raise ArithmeticError("scores that are not finite")
        except Exception:  # it is what the shadow is there to find out
            return structs.replace(report, errors=len(rows))
        alerts = [
            scores > model.bundle.threshold.value
            for scores, model in ((ours, self.champion), (theirs, self.challenger))
        ]
        return structs.replace(
            report, scores=np.stack([ours, theirs]), alerts=np.stack(alerts), seconds=seconds
        )
