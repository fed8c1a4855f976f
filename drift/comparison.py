"""One champion's live rows against its reference: the window that fills, and the last verdicts."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import numpy as np

from drift.statistics import Statistics, compare, compared_by_hour
from drift.verdict import Verdict, VerdictKind, judge_window
from drift.window import TumblingWindow, Window
from serve.model.report import CapturedRows
from train.model.bundle import ModelBundle
from train.model.reference import Reference
from train.model.repeats import distinct_rows
from train.registry.versions import Version
from train.table.captured import AnsweredRows, CapturedWindows
from train.table.table import Table
from train.table.transform.plain_values import transform_key
from vigil.arrays import Flags, Floats, to_lists
from vigil.json_types import JsonObject

MAX_VERDICTS = 50
MAX_TREND = 20  # windows
# Of /drift, while there is no champion to compare with.
NOTHING: JsonObject = {
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
    "unknown_categories": {},
}


class Comparison:
    """Keeps the last verdicts and trends, and the statistics of the last window."""

    def __init__(self, champion: Version, bundle: ModelBundle) -> None:
        self.champion = champion
        self.bundle = bundle
        self._transform_key = transform_key(bundle.transform)
        self.window = TumblingWindow(bundle.reference.window_rows)
        self._statistics: Statistics | None = None
        self._reference = bundle.reference
        self._verdicts: deque[Verdict] = deque(maxlen=MAX_VERDICTS)
        self._trends: deque[Floats] = deque(maxlen=MAX_TREND)
        self._unknown = Counter[str]()

    @property
    def last(self) -> Verdict | None:
        """The last verdict."""
        return self._verdicts[-1] if self._verdicts else None

    @property
    def last_kind(self) -> VerdictKind:
        return self.last.kind if self.last else "none"

    @property
    def severity(self) -> float:
        """Severity of the last window, as `/drift` shows it."""
        return self.last.shown_severity if self.last else 0.0

    def alerts(self, batch: CapturedRows) -> Flags:
        """Return which of the rows [n] have alerted."""
        return batch.alerts(self.bundle.threshold.value)

    def count_words(self, batch: CapturedRows) -> None:
        """Count the rows with a word that the model was not trained on."""
        categories = self.bundle.categories
        raw = batch.rows if self.bundle.transform is None else batch.raw
        if categories is not None and raw is not None:
            self._unknown.update(categories.unknown_counts(raw))

    def write(self, window: Window, captured: CapturedWindows) -> None:
        """Write the rows of the window, and what they were answered; raises OSError."""
        captured.write(
            Table(window.rows, self.bundle.names, times=window.times),
            window.scores,
            self._answered(window),
            window.since,
            made_by=self._transform_key,
        )

    def _answered(self, window: Window) -> AnsweredRows:
        return AnsweredRows(
            window.requests,
            window.alerts(self.bundle.threshold.value),
            self.champion.version,
            window.numbering,
        )

    def judge(self, window: Window, alpha: float) -> Verdict:
        """Judge the window, at the family-wise significance `alpha`."""
        kept = distinct_rows(window.rows)
        rows = window.rows[kept]
        whole = self.bundle.reference
        reference = whole.of_window(len(rows))
        threshold = self.bundle.threshold.value
        statistics = compare(reference, rows, window.scores, threshold)
        by_hour = compared_by_hour(whole, statistics, rows, window.times[kept])
        verdict = judge_window(
            reference,
            statistics,
            alpha,
            of_words=self._of_words,
            by_hour=by_hour,
        )
        self._show(*(by_hour or (reference, statistics)))
        self._verdicts.append(verdict)
        return verdict

    def _show(self, reference: Reference, statistics: Statistics) -> None:
        """Remember what the window was judged by."""
        self._reference = reference
        self._statistics = statistics
        self._trends.append(statistics.ks / reference.floors)

    @cached_property
    def _of_words(self) -> Flags | None:
        categories = self.bundle.categories
        return None if categories is None else categories.are_of_words(self.bundle.names)

    def status(self) -> JsonObject:
        """Return the part of `/drift` about it."""
        return {
            "model_version": self.champion.version,
            "model_digest": self.champion.digest,
            "verdict": self.last.to_json() if self.last else None,
            "verdicts": [verdict.kind for verdict in self._verdicts],
            "drift_score": self.severity,
            "features": self._features(),
            "scores": self._scores(),
            "calibration": asdict(self.bundle.reference.calibration),
            "alert_budget": self.bundle.threshold.budget,
            "rows_in_window": len(self.window),
            "window_rows": self.window.size,
            "unknown_categories": dict(self._unknown),
        }

    def _scores(self) -> dict[str, float] | None:
        if self._statistics is None or self._statistics.scores is None:
            return None
        return asdict(self._statistics.scores)

    def _features(self) -> list[JsonObject]:
        if self._statistics is None:
            return []
        columns = self._columns(self._statistics)
        rows = zip(*columns.values(), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _trend_by_feature(self) -> list[list[float]]:
        trends = np.array(self._trends)
        return [_rounded(trend) for trend in trends.T.tolist()]

    def _columns(self, statistics: Statistics) -> dict[str, Sequence[Any]]:
        """What is shown of all features, by its name in `/drift`."""
        numbers = self._numbers(statistics)
        return {
            "feature": self.bundle.names,
            "trend": self._trend_by_feature(),
            **to_lists(numbers),
        }

    def _numbers(self, statistics: Statistics) -> dict[str, Floats]:
        reference = self._reference
        return {
            "ks": statistics.ks,
            "floor": reference.floors,
            "alone": reference.single_feature_floors,
            "wasserstein": statistics.wasserstein,
            "psi": statistics.psi,
            "correlation": statistics.correlation_shift,
            "correlation_floor": reference.correlation_floors,
        }


def _rounded(trend: list[float]) -> list[float]:
    return [round(over_floor, 3) for over_floor in trend]
