"""How well a detector ranks labelled telemetry, and what people would have been told of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from drift.incidents.backtest.judgement import EventJudgement, judge_moments
from drift.incidents.deviation import Deviations
from drift.incidents.incident import ScoredRows
from drift.incidents.tracker import IncidentTracker
from drift.settings import DriftSettings
from tests.bench.detectors import Detector, DetectorScores
from tests.bench.labelled import LabelledTelemetry
from tests.bench.vus import period_of, vus_pr
from train.model.threshold import to_alert_rate
from train.settings import TrainSettings
from vigil.arrays import Floats

Figures = dict[str, float]
RANKING = ("VUS-PR", "AUC-PR", "AUROC")
EVENTS = ("event recall", "event precision", "false events a week", "median delay (min)")
_MINUTE_S = 60.0


def measure(
    telemetry: LabelledTelemetry,
    detector: Detector,
    seeds: Sequence[int],
) -> Figures:
    """Return the figures of a detector: each the mean over the seeds that have one."""
    runs = [_figures(telemetry, detector(telemetry, seed)) for seed in seeds]
    return {name: _mean([run[name] for run in runs]) for name in runs[0]}


def _mean(values: Sequence[float]) -> float:
    present = [value for value in values if value == value]
    return float(np.mean(present)) if present else np.nan


def _figures(telemetry: LabelledTelemetry, scores: DetectorScores) -> Figures:
    return ranking_figures(telemetry, scores.test) | event_figures(telemetry, scores)


def ranking_figures(telemetry: LabelledTelemetry, scores: Floats) -> Figures:
    """Return how well the scores [m] of the rows to test on rank them.

    The buffer of VUS-PR is the period of the first feature, as in TSB-AD's benchmark.
    """
    labels = telemetry.labels
    window = period_of(telemetry.test[:, 0])
    return {
        "VUS-PR": vus_pr(labels, scores, window),
        "AUC-PR": float(average_precision_score(labels, scores)),
        "AUROC": float(roc_auc_score(labels, scores)),
    }


def event_figures(telemetry: LabelledTelemetry, scores: DetectorScores) -> Figures:
    """Return what became of incidents, with the default threshold and grouping."""
    judged = judge_moments(
        opened_at(telemetry, scores),
        telemetry.windows,
        telemetry.period,
    )
    values = _event_values(judged)
    return dict(zip(EVENTS, values, strict=True))


def _event_values(judged: EventJudgement) -> list[float]:
    delay_s = judged.median_delay_s
    values = (
        judged.event_recall,
        judged.event_precision,
        judged.false_per_week,
        None if delay_s is None else delay_s / _MINUTE_S,
    )
    return [np.nan if value is None else value for value in values]


def opened_at(telemetry: LabelledTelemetry, scores: DetectorScores) -> Floats:
    """Return when incidents would have been opened, in Unix seconds.

    A row alerts above the score that 1 % of the rows that were learnt from exceed; a platform's
    tracker groups alerts, whatever they deviate by.
    """
    threshold = to_alert_rate(scores.train, TrainSettings().budget)
    tracker = IncidentTracker(DriftSettings())
    rows = ScoredRows(
        version="1",
        threshold=threshold.value,
        names=(),
        rows=np.empty((len(scores.test), 0)),
        scores=scores.test,
        times=telemetry.times,
        arrived=float(telemetry.times[-1]),
    )
    changes = tracker.observe(rows, _without_deviations)
    return np.array([change.at for change in changes if change.kind == "opened"])


def _without_deviations(rows: Floats) -> list[Deviations]:
    """Nothing is said of the features of rows [m, d]: each alert counts."""
    return [()] * len(rows)
