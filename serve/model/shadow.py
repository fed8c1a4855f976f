"""The challenger in the shadow of the champion.

It scores a sample of the same rows, off the response path.
"""

from __future__ import annotations

import time

import numpy as np
from msgspec import structs

from serve.model.loaded import LoadedModel
from serve.model.prepared import PreparedRows
from serve.model.report import ShadowReport
from vigil.arrays import Flags, Floats, Positions

# Between two reports, about a second: more are dropped and counted, so that the cost is bounded.
MAX_SHADOW_ROWS = 1000
# Rows [n, d] of the challenger and of the champion, and the champion's scores and alerts [n].
_ShadowedRows = tuple[Floats, Floats, Floats, Flags]


class Shadow:
    """A bounded queue of scored rows; `score` catches up, in a thread."""

    def __init__(self, champion: LoadedModel, challenger: LoadedModel) -> None:
        self.champion = champion
        self.challenger = challenger
        self._queue: list[_ShadowedRows] = []
        self._room = MAX_SHADOW_ROWS
        self._dropped = 0

    def offer(self, rows: PreparedRows, scores: Floats) -> None:
        """Rows of one request, and the champion's scores [n].

        Rows that were made for the champion's transform alone are passed over, and rows that are
        warming for either model, which say nothing of it.
        """
        if self.challenger.row_format.key not in rows.by_key:
            return
        judged = self._judged(rows)
        taken = judged[: self._room]
        self._dropped += len(judged) - len(taken)
        if len(taken):
            own = self.challenger.rows_of(rows)[taken]
            champions = self.champion.rows_of(rows)[taken]
            alerts = self.champion.scored(rows, scores).alerts[taken]
            self._queue.append((own, champions, scores[taken], alerts))
            self._room -= len(taken)

    def _judged(self, rows: PreparedRows) -> Positions:
        """Numbers of the rows that are not warming."""
        is_warming = np.zeros(len(rows), bool)
        for model in (self.champion, self.challenger):
            is_warming |= rows.warming.get(model.row_format.key, False)
        return np.flatnonzero(~is_warming)

    def take(self) -> list[_ShadowedRows]:
        """What waits; the queue is empty afterwards."""
        taken = self._queue
        self._queue = []
        self._room = MAX_SHADOW_ROWS
        return taken

    def score(self, taken: list[_ShadowedRows]) -> ShadowReport:
        """Score what was taken.

        Gives both models' scores and alerts, the seconds each takes for these rows, what failed.
        """
        report = self._empty_report()
        joined = tuple(np.concatenate(column) for column in zip(*taken, strict=True))
        try:
            return self._compare(report, *joined)
        except Exception:  # it is what the shadow is there to find out
            return structs.replace(report, errors=len(joined[0]))

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
        champions: Floats,
        scores: Floats,
        alerts: Flags,
    ) -> ShadowReport:
        theirs, challenger_s = _timed_scores(self.challenger, rows)
        _, champion_s = _timed_scores(self.champion, champions)
        both = [alerts, _alerts(self.challenger, theirs)]
        return structs.replace(
            report,
            scores=np.stack([scores, theirs]),
            alerts=np.stack(both),
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


def _alerts(model: LoadedModel, scores: Floats) -> Flags:
    return scores > model.bundle.threshold.value
