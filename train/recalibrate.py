"""A threshold as its own change: the champion's forest with one that fits recent rows."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from sklearn.ensemble import IsolationForest

from train.judged import JudgedRows, JudgedScores, score_judged
from train.model import forest, threshold
from train.model.bundle import ModelBundle
from train.model.gate import CONFIRMED_ALERTS, DISMISSED_ALERTS, Check, GateVerdict
from train.model.threshold import Threshold
from train.registry.candidate import Candidate
from train.registry.versions import Registry, Version
from train.table.captured import read_captured
from train.table.table import Table
from train.table.transform.plain_values import transform_key
from vigil.arrays import Floats
from vigil.errors import DataError, RegistryError
from vigil.home import Home
from vigil.json_types import Numbers

MIN_ROWS = 500


def recalibrate(
    registry: Registry,
    home: Home,
    since: float,
    *,
    alert_rate: float | None = None,
    captured: str | None = None,
    judged: Sequence[JudgedRows] | None = None,
) -> Version:
    """Register a version with the forest of the champion and a threshold for captured rows.

    `alert_rate` (default: its own budget) of the rows captured since `since` (Unix seconds) alert;
    the version becomes the challenger. `captured`: where the rows are, if not in the home. With
    incidents that people have `judged` the threshold tells the confirmed from the dismissed, and
    the budget decides between thresholds that do so equally well.

    Raises RegistryError when there is no champion, DataError when too few rows were captured, or
    too few incidents judged.
    """
    champion = registry.champion()
    if champion is None:
        raise RegistryError("there is no champion to recalibrate; `vigil promote V` names one")
    bundle = registry.fetch(champion, home.cache)
    recalibrated = _Recalibrated(
        champion,
        bundle,
        _captured_rows(bundle, captured or home.captured, since),
        alert_rate or bundle.threshold.budget,
        None if judged is None else score_judged(bundle, judged),
    )
    fitted = registry.forest(champion)
    forest.set_threshold(fitted, recalibrated.threshold.value)
    return registry.register(recalibrated.candidate(fitted))


def _captured_rows(
    bundle: ModelBundle,
    where: str | Path,
    since: float,
) -> Table:
    """Captured rows of the features of a model; raises DataError when they are too few."""
    rows = read_captured(where, since, made_by=transform_key(bundle.transform))
    count = len(rows) if rows is not None else 0
    if rows is None or rows.names != bundle.names or count < MIN_ROWS:
        raise DataError(
            f"{count} captured rows of the champion's features since {since:.0f}; "
            f"{MIN_ROWS} are needed"
        )
    return rows


class _Recalibrated:
    """The champion with a threshold at which `budget` of `rows` alert, or one by verdicts."""

    def __init__(
        self,
        champion: Version,
        bundle: ModelBundle,
        rows: Table,
        budget: float,
        judged: JudgedScores | None,
    ) -> None:
        scores = bundle.forest.score(rows.X)
        self._champion = champion
        self._bundle = bundle
        self._rows = len(rows)
        self._rate_before = float(np.mean(scores > bundle.threshold.value))
        self._judged = judged
        self.threshold = replace(
            _threshold(scores, budget, judged),
            entity_width=bundle.threshold.entity_width,
        )

    def candidate(self, fitted: IsolationForest) -> Candidate:
        """What is registered, with the forest `fitted` that scikit-learn loads."""
        return Candidate(
            fitted,
            self._new_bundle(),
            params={"threshold": self.threshold.value},
            metrics=self._metrics(),
            tags=self._tags(),
            gate=self._verdict().to_json(),
        )

    def _new_bundle(self) -> ModelBundle:
        about = {
            "recalibrated": time.time(),
            "recalibrated_from": self._champion.version,
        }
        return replace(
            self._bundle,
            threshold=self.threshold,
            info=self._bundle.info | about,
        )

    def _verdict(self) -> GateVerdict:
        limit = self.threshold
        check = Check(
            name="alert_rate",
            value=limit.expected_rate,
            limit=limit.budget,
            passed=True,
            finding=_finding(self._rows, limit.expected_rate, self._rate_before),
            subject="alert rate",
        )
        return GateVerdict((check, *self._judged_checks()))

    def _judged_checks(self) -> Iterator[Check]:
        """How many of the judged incidents still alert; a person decides by them."""
        for name, scores in self._judged_scores().items():
            share = _share_over(scores, self.threshold)
            before = _share_over(scores, self._bundle.threshold)
            yield Check(
                name=name,
                value=share,
                limit=before,
                passed=True,
                finding=f"{share:.2f} of {len(scores)} incidents still alert, {before:.2f} before",
            )

    def _judged_scores(self) -> dict[str, Floats]:
        if self._judged is None:
            return {}
        return {
            CONFIRMED_ALERTS: self._judged.confirmed,
            DISMISSED_ALERTS: self._judged.dismissed,
        }

    def _tags(self) -> Mapping[str, str]:
        return {
            "trigger": "recalibrate",
            "job": f"recalibrate-{time.time_ns()}",
            "verdict": "passed",
            "data_fingerprint": self._champion.tags.get("data_fingerprint", ""),
        }

    def _metrics(self) -> Numbers:
        return {
            "alert_rate": self.threshold.expected_rate,
            "champion_alert_rate": self._rate_before,
            "rows": float(self._rows),
            **self._judged_metrics(),
        }

    def _judged_metrics(self) -> Numbers:
        scores = self._judged_scores()
        return {name: _share_over(of, self.threshold) for name, of in scores.items()}


def _threshold(
    scores: Floats,
    budget: float,
    judged: JudgedScores | None,
) -> Threshold:
    if judged is None:
        return threshold.to_alert_rate(scores, budget)
    return threshold.to_verdicts(
        scores,
        judged.confirmed,
        judged.dismissed,
        budget,
    )


def _share_over(scores: Floats, limit: Threshold) -> float:
    return float(np.mean(scores > limit.value))


def _finding(
    rows: int,
    rate: float,
    rate_before: float,
) -> str:
    return f"{rate:.4f} on {rows} captured rows, {rate_before:.4f} before"
