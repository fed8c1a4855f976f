"""How good a model is on rows it was not fitted on: with labels, and without."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from train.data import Table
from train.forest import CompiledForest

Floats = NDArray[np.float64]
PLANTED_SHIFT = 6.0  # robust standard deviations
PLANTED_SHARE = 0.25  # of the features


def evaluate(forest: CompiledForest, threshold: float, held_out: Table, scale: Floats) -> dict[str, float]:
    """Metrics on `held_out`: always the alert rate and how well planted anomalies are told from the rows they were
    planted in (`planted_auroc`); with labels of both classes also the labelled ones.

    `scale` [d] is the robust spread of each feature: the unit in which anomalies are planted.
    """
    scores = forest.score(held_out.X)
    alerts = scores > threshold
    metrics = {
        "rows": float(len(held_out)),
        "alert_rate": float(alerts.mean()),
        "planted_auroc": _auroc(scores, forest.score(plant(held_out.X, scale))),
    }
    labels = held_out.labels
    if labels is not None and 0 < labels.sum() < len(labels):
        metrics |= _labelled(scores, alerts, labels)
    return metrics


def plant(X: Floats, scale: Floats, *, most: int = 1000, seed: int = 0) -> Floats:
    """Copies of up to `most` rows of `X` with a quarter of the features moved by six robust standard deviations."""
    rng = np.random.default_rng(seed)
    rows = X[rng.choice(len(X), min(most, len(X)), replace=False)].copy()
    count = max(1, round(PLANTED_SHARE * X.shape[1]))
    for row in rows:
        moved = rng.choice(X.shape[1], count, replace=False)
        row[moved] += rng.choice((-1, 1), count) * PLANTED_SHIFT * scale[moved]
    return rows


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
