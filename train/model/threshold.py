"""Calibrate the score above which a row is an anomaly."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from vigil.arrays import Array, Flags, Floats
from vigil.json_types import JsonObject

_BLOCKS = 50
_RESAMPLES = 2000
_RULE_OF_THREE = 3  # no event in n trials: a rate up to 3 / n is possible, with 95 % confidence


def alerting(
    scores: Floats,
    threshold: float,
    limits: Array | None,
) -> Flags:
    """Return which rows [n] alert: over their entity's limit, or the model's without any."""
    return scores > (threshold if limits is None else limits)


@dataclass(frozen=True)
class Threshold:
    """Score above which a row is anomalous.

    value: in (0, 1]
    policy: alert_rate, labels, verdicts, precision_at_k, incident_budget or
        score_margin
    expected_rate: share of rows above it when it was calibrated
    low, high: between which that lies with 95 % confidence (None for a threshold that was made
        before there were intervals)
    entity_width: how far that of an entity may be from it, see entity_threshold.py; 0: one for all
    """

    value: float
    policy: str
    budget: float
    expected_rate: float
    low: float | None = None
    high: float | None = None
    entity_width: float = 0.0

    @property
    def flaw(self) -> str:
        """What makes it none; "" where nothing does."""
        if not 0 < self.value <= 1:
            return f"the threshold is {self.value}; scores lie in (0, 1]"
        if not 0 <= self.entity_width < 1:
            return f"thresholds of entities are {self.entity_width} from the model's: not below 1"
        return ""

    def to_json(self) -> JsonObject:
        """Return the fields; an older Vigil knows of no thresholds of entities."""
        fields = asdict(self)
        if not self.entity_width:
            del fields["entity_width"]
        return fields


def to_alert_rate(scores: Floats, budget: float) -> Threshold:
    """Return the lowest observed score that at most `budget` of the rows exceed."""
    value = np.quantile(scores, 1 - budget, method="inverted_cdf")
    return at_score(scores, float(value), "alert_rate", budget)


def to_labels(
    scores: Floats,
    labels: Array,
    budget: float,
    beta: float = 1.0,
) -> Threshold:
    """Return the threshold of the best F-beta against `labels` (1 = anomaly); both classes must
    occur."""
    # Not at the top: a replica reads thresholds and fits none.
    from sklearn.metrics import precision_recall_curve

    precision, recall, cuts = precision_recall_curve(labels, scores)
    best = int(np.argmax(_f_beta(precision, recall, beta)[:-1]))
    # scikit-learn counts score >= cut; Vigil alerts on score > threshold.
    value = float(np.nextafter(cuts[best], 0))
    return at_score(scores, value, "labels", budget)


def to_verdicts(
    scores: Floats,
    confirmed: Floats,
    dismissed: Floats,
    budget: float,
) -> Threshold:
    """Return the threshold of the best F1 of incidents that people have judged.

    scores [n]: of rows, for the alert rate; confirmed, dismissed: the highest score of each such
    incident, at least one of each. Of thresholds that are equally good it is the one nearest to
    that of the alert budget.
    """
    wanted = to_alert_rate(scores, budget).value
    highs = np.unique(np.concatenate([confirmed, dismissed]))
    lows = np.concatenate([[0.0], highs[:-1]])
    # Between two neighbouring scores all thresholds alert on the same incidents.
    nearest = np.clip(wanted, lows, np.nextafter(highs, 0))
    f1 = _f1_of_incidents(nearest, confirmed, dismissed)
    best = np.lexsort((-np.abs(nearest - wanted), f1))[-1]
    return at_score(scores, float(nearest[best]), "verdicts", budget)


def _f1_of_incidents(
    thresholds: Floats,
    confirmed: Floats,
    dismissed: Floats,
) -> Floats:
    column = thresholds[:, None]
    found = (confirmed > column).sum(axis=1)
    disturbing = (dismissed > column).sum(axis=1)
    judged = found + disturbing + len(confirmed)
    return 2 * found / judged


def to_count(
    scores: Floats,
    k: int,
    budget: float,
) -> Threshold:
    """Return the threshold that the `k` highest scores exceed, fewer where scores are equal: what
    precision at k is measured on."""
    ordered = np.sort(scores)
    position = max(0, len(scores) - k - 1)
    value = float(ordered[position])
    return at_score(scores, value, "precision_at_k", budget)


def alert_rate_interval(alerts: Flags) -> tuple[float, float]:
    """Return the 95 % interval of the mean of `alerts` [n], by the block bootstrap (Kuensch,
    Annals of Statistics 17, 1989).

    Whole blocks of neighbours are drawn: alerts come in bursts, and single rows would make the
    interval too narrow. No alert in n rows still leaves a rate of 3 / n possible.
    """
    rates = _resampled_rates(alerts)
    low, high = np.percentile(rates, [2.5, 97.5])
    highest = max(high, _RULE_OF_THREE / len(alerts))
    return float(low), float(min(1.0, highest))


def _resampled_rates(alerts: Flags) -> Floats:
    """Mean of each resample of the blocks."""
    count = min(_BLOCKS, len(alerts))
    parts = np.array_split(alerts, count)
    blocks = np.array([part.mean() for part in parts])
    rng = np.random.default_rng(0)
    draws = rng.choice(blocks, (_RESAMPLES, len(blocks)))
    return draws.mean(axis=1)


def _f_beta(
    precision: Floats,
    recall: Floats,
    beta: float,
) -> Floats:
    weight = beta**2
    weighted = weight * precision + recall
    return (1 + weight) * precision * recall / np.maximum(weighted, 1e-12)


def at_score(
    scores: Floats,
    value: float,
    policy: str,
    budget: float,
) -> Threshold:
    """Return the threshold `value`, chosen by `policy`, with its alert rate on these scores."""
    alerts = scores > value
    low, high = alert_rate_interval(alerts)
    return Threshold(
        value=value,
        policy=policy,
        budget=budget,
        expected_rate=float(np.mean(alerts)),
        low=low,
        high=high,
    )
