"""How good a model is on rows it was not fitted on: with labels, and without."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from train.model.forest import CompiledForest
from train.table.table import Table
from vigil.arrays import Floats

PLANTED_SHIFT = 6.0  # robust standard deviations
PLANTED_SHARE = 0.25  # of the features
TIMED_ROWS = 200


def evaluate(
    forest: CompiledForest, threshold: float, held_out: Table, scale: Floats
) -> dict[str, float]:
    """Metrics on `held_out`: always the alert rate, how well planted anomalies are told from the rows they were planted in
    (`planted_auroc`) and the share of them that alert; with labels of both classes also the labelled ones.

    `scale` [d] is the robust spread of each feature: the unit in which anomalies are planted.
    """
    scores, planted = forest.score(held_out.X), forest.score(plant_anomalies(held_out.X, scale))
    alerts = scores > threshold
    metrics = {
        "rows": float(len(held_out)),
        "alert_rate": float(alerts.mean()),
        "planted_auroc": _auroc(scores, planted),
        "planted_recall": float((planted > threshold).mean()),
    }
    if (labels := held_out.mixed_labels) is not None:
        metrics |= _labelled(scores, alerts, labels)
        metrics |= _delays(alerts, labels) if held_out.ordered else {}
    return metrics


def plant_anomalies(X: Floats, scale: Floats, *, most: int = 1000, seed: int = 0) -> Floats:
    """Copies of up to `most` rows of `X` with a quarter of the features moved by six robust standard deviations."""
    rng = np.random.default_rng(seed)
    rows = X[rng.choice(len(X), min(most, len(X)), replace=False)].copy()
    count = max(1, round(PLANTED_SHARE * X.shape[1]))
    for row in rows:
        moved = rng.choice(X.shape[1], count, replace=False)
        row[moved] += rng.choice((-1, 1), count) * PLANTED_SHIFT * scale[moved]
    return rows


def score_agreement(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation of two scores [n] of the same rows; 0 where one of them is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    found: Any = spearmanr(one, other)
    return float(found.statistic)


def golden_rates(
    forest: CompiledForest, threshold: float, rows: Floats, expected: NDArray[np.bool_]
) -> dict[str, float]:
    """What `forest` says of another model's golden rows [k, d], of which that one alerts on `expected` [k]: the share of
    those that alert here too (`golden_recall`), and the share of the others that alert (`golden_alerts`)."""
    alerts = forest.score(rows) > threshold
    told = {"golden_recall": alerts[expected]} if expected.any() else {}
    told |= {"golden_alerts": alerts[~expected]} if (~expected).any() else {}
    return {name: float(part.mean()) for name, part in told.items()}


def measure_row_microseconds(forest: CompiledForest, rows: Floats) -> float:
    """Median time to score one row alone."""
    forest.score(rows[:1])  # compiles on the first call
    spent = []
    for i in range(TIMED_ROWS):
        row = rows[i % len(rows)][None, :]
        began = time.perf_counter()
        forest.score(row)
        spent.append(time.perf_counter() - began)
    return float(np.median(spent) * 1e6)


def _auroc(normal: Floats, anomalous: Floats) -> float:
    labels = np.repeat([0, 1], [len(normal), len(anomalous)])
    return float(roc_auc_score(labels, np.concatenate([normal, anomalous])))


def _labelled(scores: Floats, alerts: NDArray[np.bool_], labels: NDArray[Any]) -> dict[str, float]:
    hits = float((alerts & (labels == 1)).sum())
    return {
        "auroc": float(roc_auc_score(labels, scores)),
        "average_precision": float(average_precision_score(labels, scores)),
        "precision": hits / max(float(alerts.sum()), 1.0),
        "recall": hits / float(labels.sum()),
    }


def _delays(alerts: NDArray[np.bool_], labels: NDArray[Any]) -> dict[str, float]:
    """Anomalous segments of time-ordered rows: the share in which a row alerts, and how many rows into it the first does."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], labels, [0]])))
    found = [int(np.argmax(alerts[a:b])) for a, b in edges.reshape(-1, 2) if alerts[a:b].any()]
    told = {"segment_recall": len(found) / (len(edges) / 2)}
    return told | ({"alert_delay_rows": float(np.median(found))} if found else {})
