"""Quality of a model on rows that it was not fitted on: with labels, and without."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from train.model.forest import CompiledForest
from train.table.table import Labels, Table
from vigil.arrays import Flags, Floats, Positions

PLANTED_SHIFT = 6.0  # robust standard deviations
PLANTED_SHARE = 0.25  # of the features
_TIMED_ROWS = 200
Alerts = Flags


def evaluate(
    forest: CompiledForest,
    threshold: float,
    held_out: Table,
    scale: Floats,
    *,
    sides: Floats | None = None,
) -> dict[str, float]:
    """Return metrics on `held_out`.

    Always the alert rate, how well planted anomalies are told from the rows they were planted in
    (`planted_auroc`) and the share of them that alert; with labels of both classes also the
    labelled ones. `scale` [d] is the robust spread of each feature: the unit in which anomalies
    are planted; 0 where none is. `sides` [d]: see `plant_anomalies`.
    """
    scores = forest.score(held_out.X)
    alerts = scores > threshold
    planted = forest.score(plant_anomalies(held_out.X, scale, sides=sides))
    metrics = {
        "rows": float(len(held_out)),
        "alert_rate": _share(alerts),
        "planted_auroc": _auroc(scores, planted),
        "planted_recall": _share(planted > threshold),
    }
    labels = held_out.mixed_labels
    if labels is not None:
        metrics |= _labelled_metrics(scores, alerts, labels)
        if held_out.ordered:
            metrics |= _segment_metrics(alerts, labels)
    return metrics


def _share(chosen: Alerts) -> float:
    return float(chosen.mean())


def plant_anomalies(
    X: Floats,
    scale: Floats,
    *,
    sides: Floats | None = None,
    most: int = 1000,
    seed: int = 0,
) -> Floats:
    """Return copies of up to `most` rows of `X` [n, d] with a quarter of the features moved by
    six robust standard deviations.

    Features whose `scale` [d] is 0 are no part of that: a forest cannot see what moves in them.
    Where `sides` [d] is 1 or -1 they move to that side, else to either.
    """
    sides = np.zeros(X.shape[1]) if sides is None else sides
    rng = np.random.default_rng(seed)
    size = min(most, len(X))
    chosen = rng.choice(len(X), size, replace=False)
    rows = X[chosen].copy()
    features = np.flatnonzero(scale > 0)
    count = _planted_count(len(features))
    for row in rows:
        moved = rng.choice(features, count, replace=False)
        either = rng.choice((-1, 1), count)
        signs = np.where(sides[moved] == 0, either, sides[moved])
        row[moved] += signs * PLANTED_SHIFT * scale[moved]
    return rows


def _planted_count(features: int) -> int:
    """How many of the features are moved: a quarter, but one at least where there is one."""
    quarter = round(PLANTED_SHARE * features)
    return min(features, max(1, quarter))


def score_agreement(scores: Floats, others: Floats) -> float:
    """Return Spearman's rank correlation of two scores [n] of the same rows; 0 where one of them
    is constant."""
    if np.ptp(scores) == 0 or np.ptp(others) == 0:
        return 0.0
    from scipy.stats import spearmanr  # 45 MB, which a replica does not need

    result: Any = spearmanr(scores, others)
    return float(result.statistic)


def golden_rates(
    forest: CompiledForest,
    threshold: float,
    rows: Floats,
    expected: Alerts,
) -> dict[str, float]:
    """Return how `forest` judges another model's golden rows [k, d], of which that one alerts on
    `expected` [k].

    golden_recall: the share of those that alert here too
    golden_alerts: the share of the others that alert
    """
    alerts = forest.score(rows) > threshold
    rates = {}
    if expected.any():
        rates["golden_recall"] = _share(alerts[expected])
    if not expected.all():
        rates["golden_alerts"] = _share(alerts[~expected])
    return rates


def measure_row_microseconds(forest: CompiledForest, rows: Floats) -> float:
    """Return the median time to score one row alone."""
    forest.score(rows[:1])  # compiles on the first call
    seconds = [_score_seconds(forest, rows[i % len(rows)]) for i in range(_TIMED_ROWS)]
    return float(np.median(seconds) * 1e6)


def _score_seconds(forest: CompiledForest, row: Floats) -> float:
    rows = row[None, :]
    began = time.perf_counter()
    forest.score(rows)
    return time.perf_counter() - began


def _auroc(normal: Floats, anomalous: Floats) -> float:
    counts = [len(normal), len(anomalous)]
    labels = np.repeat([0, 1], counts)
    scores = np.concatenate([normal, anomalous])
    return float(roc_auc_score(labels, scores))


def _labelled_metrics(
    scores: Floats,
    alerts: Alerts,
    labels: Labels,
) -> dict[str, float]:
    is_hit = alerts & (labels == 1)
    hits = float(is_hit.sum())
    alerting = float(alerts.sum())
    return {
        "auroc": float(roc_auc_score(labels, scores)),
        "average_precision": float(average_precision_score(labels, scores)),
        "precision": hits / max(alerting, 1.0),
        "recall": hits / float(labels.sum()),
    }


def _segment_metrics(alerts: Alerts, labels: Labels) -> dict[str, float]:
    """Metrics of the anomalous segments of time-ordered rows.

    segment_recall: the share in which a row alerts
    alert_delay_rows: how many rows into a segment the first alert is, in the median
    """
    segments = [alerts[start:end] for start, end in _segments(labels)]
    alerting = [segment for segment in segments if segment.any()]
    metrics = {"segment_recall": len(alerting) / len(segments)}
    if alerting:
        delays = list(map(np.argmax, alerting))
        metrics["alert_delay_rows"] = float(np.median(delays))
    return metrics


def _segments(labels: Labels) -> Positions:
    """Start and end [segments, 2] of each run of anomalous rows."""
    between_normal = np.concatenate([[0], labels, [0]])
    changes = np.flatnonzero(np.diff(between_normal))
    return changes.reshape(-1, 2)
