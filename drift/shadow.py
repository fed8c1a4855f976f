"""How far the challenger agrees with the champion on the same live rows, of all replicas."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from serve.model.report import ShadowReport
from vigil.arrays import Floats
from vigil.json_types import JsonObject

MAX_RANKED_ROWS = 5000  # the latest; ranks of so many take a few milliseconds
TOP_SHARE = 0.02  # of the rows that count as the top
RankAgreement = dict[str, float | None]
NO_AGREEMENT: RankAgreement = {"kendall_tau": None, "top_overlap": None}


class _PairEvidence:
    """Sums for one champion and one challenger, and the scores of the latest rows.

    alerts, seconds: [2], the champion's first; kept_rows: rows whose scores are kept
    """

    def __init__(self, champion: str, challenger: str) -> None:
        self.champion = champion
        self.challenger = challenger
        self.rows = 0
        self.errors = 0
        self.dropped = 0
        self.alerts = np.zeros(2)
        self.seconds = np.zeros(2)
        self.kept_rows = 0
        self._scores: deque[Floats] = deque()
        self._ranks: RankAgreement | None = None  # asked for each second

    @property
    def pair(self) -> tuple[str, str]:
        return self.champion, self.challenger

    def add(self, report: ShadowReport) -> None:
        self.errors += report.errors
        self.dropped += report.dropped
        if report.scores is not None:
            scores = np.asarray(report.scores, np.float64)
            self._add_scores(scores)
        if report.alerts is not None:
            self.alerts += report.alerts.sum(axis=1)
        if report.seconds is not None:
            self.seconds += report.seconds

    def _add_scores(self, scores: Floats) -> None:
        rows = scores.shape[1]
        self.rows += rows
        self.kept_rows += rows
        self._scores.append(scores)
        self._ranks = None
        while self._is_full_without_oldest():
            oldest = self._scores.popleft()
            self.kept_rows -= oldest.shape[1]

    def _is_full_without_oldest(self) -> bool:
        oldest = self._scores[0].shape[1]
        return self.kept_rows - oldest >= MAX_RANKED_ROWS

    def summary(self) -> JsonObject:
        return {
            "champion": self.champion,
            "challenger": self.challenger,
            "rows": self.rows,
            "errors": self.errors,
            "dropped": self.dropped,
            **self._alert_rates(),
            **self._times_a_row(),
            **self._agreement(),
        }

    def _alert_rates(self) -> dict[str, float | None]:
        champion, challenger = self._by_row(self.alerts)
        return {
            "champion_alert_rate": champion,
            "challenger_alert_rate": challenger,
            "alert_rate_ratio": challenger / champion if champion else None,
        }

    def _times_a_row(self) -> dict[str, float]:
        champion, challenger = self._by_row(self.seconds * 1e6)
        return {"champion_us_per_row": champion, "challenger_us_per_row": challenger}

    def _by_row(self, sums: Floats) -> list[float]:
        means = sums / max(self.rows, 1)
        return means.tolist()

    def _agreement(self) -> RankAgreement:
        if self.rows < 2:
            return NO_AGREEMENT
        if self._ranks is None:
            scores = np.concatenate(list(self._scores), axis=1)
            self._ranks = compare_ranks(*scores)
        return self._ranks


class ShadowEvidence:
    """Evidence of the replicas' shadows; another pair of models begins anew."""

    def __init__(self) -> None:
        self._evidence: _PairEvidence | None = None

    @property
    def kept_rows(self) -> int:
        """Rows whose scores are kept."""
        return self._evidence.kept_rows if self._evidence else 0

    def add(self, report: ShadowReport) -> None:
        """Take in one replica's report."""
        self._evidence_of(report).add(report)

    def _evidence_of(self, report: ShadowReport) -> _PairEvidence:
        evidence = self._evidence
        pair = (report.champion, report.challenger)
        if evidence is None or evidence.pair != pair:
            evidence = _PairEvidence(*pair)
            self._evidence = evidence
        return evidence

    def summary(self, challenger: str | None = None) -> JsonObject | None:
        """Return the evidence as plain values; None while there is none (for this challenger)."""
        evidence = self._evidence
        if evidence is None or challenger not in (None, evidence.challenger):
            return None
        return evidence.summary()


def compare_ranks(champion: Floats, challenger: Floats) -> RankAgreement:
    """Return Kendall's tau of two models' scores [n], and how far their top rows are the same."""
    from scipy.stats import kendalltau  # 35 MB, for whoever compares two models

    tau: Any = kendalltau(champion, challenger)
    return {
        "kendall_tau": _finite(tau.statistic),
        "top_overlap": _top_overlap(champion, challenger),
    }


def _top_overlap(champion: Floats, challenger: Floats) -> float:
    share = round(len(champion) * TOP_SHARE)
    count = max(1, share)
    shared = _top(champion, count) & _top(challenger, count)
    return len(shared) / count


def _top(scores: Floats, count: int) -> set[int]:
    """Rows with the highest scores."""
    by_score = np.argsort(-scores, kind="stable")
    return set(by_score[:count].tolist())


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
