"""How far the challenger agrees with the champion on the same live rows, gathered from all replicas."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from vigil.arrays import Floats

MAX_RANKED_ROWS = 5000  # the latest; ranks of so many take a few milliseconds
TOP = 0.02  # share of the rows that count as the top


class ShadowEvidence:
    """What the replicas' shadows found for one champion and one challenger; another pair begins anew."""

    def __init__(self) -> None:
        self._pair: tuple[str, str] | None = None
        self._clear()

    def _clear(self) -> None:
        self._scores: deque[Floats] = deque()
        self._rows, self._kept, self._errors, self._dropped = 0, 0, 0, 0
        self._alerts, self._seconds = np.zeros(2), np.zeros(2)
        self._ranks: dict[str, float | None] | None = (
            None  # as of the latest rows: they are asked for each second
        )

    def add(self, report: Mapping[str, Any]) -> None:
        """One replica's report (serve/model/shadow.py)."""
        pair = (str(report["champion"]), str(report["challenger"]))
        if pair != self._pair:
            self._pair = pair
            self._clear()
        self._errors += int(report["errors"])
        self._dropped += int(report["dropped"])
        if "scores" not in report:
            return
        scores = np.asarray(report["scores"], dtype=np.float64)
        self._scores.append(scores)
        self._ranks = None
        self._rows += scores.shape[1]
        self._kept += scores.shape[1]
        self._alerts += np.asarray(report["alerts"]).sum(axis=1)
        self._seconds += np.asarray(report["seconds"])
        while len(self._scores) > 1 and self._kept - self._scores[0].shape[1] >= MAX_RANKED_ROWS:
            self._kept -= self._scores.popleft().shape[1]

    def found(self, challenger: str | None = None) -> dict[str, Any] | None:
        """The evidence as plain values; None while there is none (for this challenger)."""
        if self._pair is None or (challenger is not None and self._pair[1] != challenger):
            return None
        rows = max(self._rows, 1)
        rates, microseconds = self._alerts / rows, self._seconds / rows * 1e6
        found: dict[str, Any] = {
            "champion": self._pair[0],
            "challenger": self._pair[1],
            "rows": self._rows,
            "errors": self._errors,
            "dropped": self._dropped,
            "champion_alert_rate": float(rates[0]),
            "challenger_alert_rate": float(rates[1]),
            "alert_rate_ratio": float(rates[1] / rates[0]) if rates[0] else None,
            "champion_us_per_row": float(microseconds[0]),
            "challenger_us_per_row": float(microseconds[1]),
        }
        if self._rows < 2:
            return found | {"kendall_tau": None, "top_overlap": None}
        self._ranks = self._ranks or self._compared()
        return found | self._ranks

    def _compared(self) -> dict[str, float | None]:
        ours, theirs = np.concatenate(list(self._scores), axis=1)
        top = max(1, round(len(ours) * TOP))
        both = set(np.argsort(-ours, kind="stable")[:top].tolist()) & set(
            np.argsort(-theirs, kind="stable")[:top].tolist()
        )
        tau: Any = kendalltau(ours, theirs)
        return {"kendall_tau": _finite(tau.statistic), "top_overlap": len(both) / top}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
