"""Calibrate the score above which a row is an anomaly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Threshold:
    """A row is anomalous where its score is above `value`; `expected_rate` is the share of such rows when calibrated."""

    value: float
    policy: str  # "alert_rate" | "labels"
    budget: float
    expected_rate: float


def to_alert_rate(scores: NDArray[np.float64], budget: float) -> Threshold:
    """The lowest observed score that at most `budget` of the rows exceed."""
    value = float(np.quantile(scores, 1 - budget, method="inverted_cdf"))
    return Threshold(value, "alert_rate", budget, float(np.mean(scores > value)))


def to_labels(scores: NDArray[np.float64], labels: NDArray[Any], budget: float) -> Threshold:
    """The threshold of the best F1 against `labels` (1 = anomaly); both classes must occur."""
    from sklearn.metrics import precision_recall_curve  # not at the top: a replica reads thresholds and fits none

    precision, recall, cuts = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    # scikit-learn counts score >= cut; Vigil alerts on score > threshold.
    value = float(np.nextafter(cuts[int(np.argmax(f1[:-1]))], 0))
    return Threshold(value, "labels", budget, float(np.mean(scores > value)))
