"""One champion's live rows against its reference: the window that fills, and what the last ones were found to be."""

from __future__ import annotations

from collections import deque
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drift.statistics import Statistics, compare
from drift.verdict import Verdict, judge_window
from drift.window import TumblingWindow, Window
from train.model.bundle import ModelBundle
from train.registry.versions import Version
from vigil.arrays import Floats

REMEMBERED_VERDICTS, TREND = 50, 20
# Of /drift, while there is no champion to compare with.
NOTHING: dict[str, Any] = {
    "model_version": None,
    "model_digest": None,
    "verdict": None,
    "verdicts": [],
    "drift_score": 0.0,
    "features": [],
    "scores": None,
    "calibration": None,
    "alert_budget": None,
    "rows_in_window": 0,
    "window_rows": None,
}


class Comparison:
    """Of the windows that were judged the last verdicts and trends are kept, and the statistics of the last one."""

    def __init__(self, champion: Version, bundle: ModelBundle) -> None:
        self.champion, self.bundle = champion, bundle
        self.window = TumblingWindow(bundle.reference.window_rows)
        self._statistics: Statistics | None = None
        self._verdicts: deque[dict[str, Any]] = deque(maxlen=REMEMBERED_VERDICTS)
        self._trends: deque[Floats] = deque(maxlen=TREND)

    @property
    def last(self) -> dict[str, Any] | None:
        """The last verdict."""
        return self._verdicts[-1] if self._verdicts else None

    @property
    def severity(self) -> float:
        """Of the last window: the largest KS distance over its floor."""
        return float(self.last["severity"]) if self.last else 0.0

    def alerts(self, scores: Floats) -> NDArray[np.bool_]:
        """Which of the scores [n] are over the threshold."""
        return scores > self.bundle.threshold.value

    def judge(self, window: Window, alpha: float) -> Verdict:
        """What the window is, at the family-wise significance `alpha`."""
        reference = self.bundle.reference.of_window(len(window.rows))
        self._statistics = compare(
            reference, window.rows, window.scores, self.bundle.threshold.value
        )
        self._trends.append(self._statistics.ks / reference.floors)
        verdict = judge_window(reference, self._statistics, alpha)
        self._verdicts.append(verdict.to_json())
        return verdict

    def status(self) -> dict[str, Any]:
        """What `/drift` says of it."""
        found, bundle = self._statistics, self.bundle
        return {
            "model_version": self.champion.version,
            "model_digest": self.champion.digest,
            "verdict": self.last,
            "verdicts": [v["verdict"] for v in self._verdicts],
            "drift_score": self.severity,
            "features": self._features(found) if found else [],
            "scores": asdict(found.scores) if found and found.scores else None,
            "calibration": asdict(bundle.reference.calibration),
            "alert_budget": bundle.threshold.budget,
            "rows_in_window": len(self.window),
            "window_rows": self.window.size,
        }

    def _features(self, found: Statistics) -> list[dict[str, Any]]:
        reference = self.bundle.reference
        columns = {
            "ks": found.ks,
            "floor": reference.floors,
            "alone": reference.single_feature_floors,
            "wasserstein": found.wasserstein,
            "psi": found.psi,
            "correlation": found.correlation_shift,
            "correlation_floor": reference.correlation_floors,
        }
        trends = np.array(self._trends).T
        return [
            {"feature": name, "trend": [round(float(t), 3) for t in trends[j]]}
            | {key: float(values[j]) for key, values in columns.items()}
            for j, name in enumerate(self.bundle.names)
        ]
