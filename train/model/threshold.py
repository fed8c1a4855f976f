"""Calibrate the score above which a row is an anomaly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Floats


@dataclass(frozen=True)
class Threshold:
    """A row is anomalous where its score is above `value`; `expected_rate` is the share of such rows when calibrated, which
    lies between `low` and `high` with 95 % confidence (None for a threshold that was made before there were intervals)."""

    value: float
    policy: str  # "alert_rate" | "labels" | "precision_at_k"
    budget: float
    expected_rate: float
    low: float | None = None
    high: float | None = None


BLOCKS, RESAMPLES = 50, 2000


def to_alert_rate(scores: Floats, budget: float) -> Threshold:
    """The lowest observed score that at most `budget` of the rows exceed."""
    return _made(
        scores, float(np.quantile(scores, 1 - budget, method="inverted_cdf")), "alert_rate", budget
    )


def to_labels(scores: Floats, labels: NDArray[Any], budget: float, beta: float = 1.0) -> Threshold:
    """The threshold of the best F-beta against `labels` (1 = anomaly); both classes must occur."""
    from sklearn.metrics import (
        precision_recall_curve,
    )  # not at the top: a replica reads thresholds and fits none

    precision, recall, cuts = precision_recall_curve(labels, scores)
    f = (1 + beta**2) * precision * recall / np.maximum(beta**2 * precision + recall, 1e-12)
    # scikit-learn counts score >= cut; Vigil alerts on score > threshold.
    return _made(scores, float(np.nextafter(cuts[int(np.argmax(f[:-1]))], 0)), "labels", budget)


def to_count(scores: Floats, k: int, budget: float) -> Threshold:
    """The threshold that the `k` highest scores exceed, fewer where scores are equal: what precision at k is measured on."""
    return _made(
        scores, float(np.sort(scores)[max(0, len(scores) - k - 1)]), "precision_at_k", budget
    )


def _made(scores: Floats, value: float, policy: str, budget: float) -> Threshold:
    alerts = scores > value
    return Threshold(value, policy, budget, float(np.mean(alerts)), *interval(alerts))


def interval(alerts: NDArray[np.bool_]) -> tuple[float, float]:
    """The 95 % interval of the mean of `alerts` [n]. Whole blocks of neighbours are drawn: alerts come in bursts, and single
    rows would make the interval too narrow. No alert in n rows still leaves a rate of 3 / n possible."""
    blocks = np.array([part.mean() for part in np.array_split(alerts, min(BLOCKS, len(alerts)))])
    drawn = np.random.default_rng(0).choice(blocks, (RESAMPLES, len(blocks))).mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(min(1.0, max(high, 3 / len(alerts))))
