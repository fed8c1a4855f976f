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
_ScoredRows = tuple[NDArray[Any], NDArray[Any]]  # rows [n, d] and the champion's scores [n]


class Shadow:
    """A bounded queue of scored rows; `score` catches up, in a thread."""

    def __init__(self, champion: LoadedModel, challenger: LoadedModel) -> None:
        self.champion = champion
        self.challenger = challenger
        self._queue: list[_ScoredRows] = []
        self._room = MAX_SHADOW_ROWS
        self._dropped = 0

    def offer(self, rows: Floats, scores: Floats) -> None:
        """Rows [n, d] and the champion's scores [n] of one request."""
        taken = min(len(rows), self._room)
        self._dropped += len(rows) - taken
        if taken:
            self._queue.append((rows[:taken], scores[:taken]))
            self._room -= taken

    def take(self) -> list[_ScoredRows]:
        """What waits; the queue is empty afterwards."""
        taken = self._queue
        self._queue = []
        self._room = MAX_SHADOW_ROWS
        return taken

    def score(self, taken: list[_ScoredRows]) -> ShadowReport:
        """Score what was taken.

        Gives both models' scores and alerts, the seconds each takes for these rows, what failed.
        """
        rows = np.concatenate([rows for rows, _ in taken])
        scores = np.concatenate([scores for _, scores in taken])
        report = self._empty_report()
        try:
            return self._compare(report, rows, scores)
        except Exception:  # it is what the shadow is there to find out
            return structs.replace(report, errors=len(rows))

    def _empty_report(self) -> ShadowReport:
        dropped = self._dropped
        self._dropped = 0
        return ShadowReport(
            champion=self.champion.version,
            challenger=self.challenger.version,
            dropped=dropped,
        )

    def _compare(
        self,
        report: ShadowReport,
        rows: Floats,
        scores: Floats,
    ) -> ShadowReport:
        theirs, challenger_s = _timed_scores(self.challenger, rows)
        _, champion_s = _timed_scores(self.champion, rows)
        alerts = [_alerts(self.champion, scores), _alerts(self.challenger, theirs)]
        return structs.replace(
            report,
            scores=np.stack([scores, theirs]),
            alerts=np.stack(alerts),
            seconds=(champion_s, challenger_s),
        )


def _timed_scores(model: LoadedModel, rows: Floats) -> tuple[Floats, float]:
    """The scores [n], and the seconds that they took; raises ArithmeticError for no number."""
    began = time.perf_counter()
    scores = model.bundle.forest.score(rows)
    seconds = time.perf_counter() - began
    if not np.isfinite(scores).all():
        raise ArithmeticError("scores that are not finite")
    return scores, seconds


def _alerts(model: LoadedModel, scores: Floats) -> NDArray[np.bool_]:
    return scores > model.bundle.threshold.value
