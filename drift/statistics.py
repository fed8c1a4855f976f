"""What a window shows against the reference, feature by feature: pure functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

from drift.broken_columns import BrokenColumns
from train.model.distances import (
    bin_shares,
    correlation_shifts,
    ks_distance,
    ks_sorted,
    rank_correlation,
)
from train.model.reference import Reference
from vigil.arrays import Floats

MIN_STUCK_ROWS = 20  # fewer equal values prove nothing
MIN_CORRELATED_ROWS = 3  # there is no correlation of fewer
MIN_BIN_SHARE = 1e-4  # of the population stability index
MIN_ALERT_RATE = 1e-3  # that is expected, for its standard error


@dataclass(frozen=True)
class Scores:
    """The anomaly scores of the window.

    ks: distance to the reference's; floor: what is ordinary; alert_rate: share above the threshold,
    `usual` of the reference; z: their difference in standard errors of independent rows
    """

    ks: float
    floor: float
    alert_rate: float
    usual: float
    z: float


@dataclass(frozen=True)
class Statistics:
    """Arrays [d], one value per feature.

    ks: Kolmogorov-Smirnov distance, compared with `reference.floors` and
    `.single_feature_floors`; p: its asymptotic p-value
    wasserstein: mean shift of the quantiles, in standard deviations of the reference: the effect
    psi: population stability index, a severity only
    outside: share of values beyond the reference's range
    correlation_shift: how far the rank correlations with all other features have moved, compared
    with `reference.correlation_floors`
    missing: share of NaN; stuck: one value in the whole window where the reference never stood
    still
    unit: factor of the change of unit that explains the window; flipped: it is the reference with
    the sign turned; swapped: the feature whose column this one is, by number. 1, False and -1 where
    it is not so
    """

    ks: Floats
    p: Floats
    wasserstein: Floats
    psi: Floats
    outside: Floats
    correlation_shift: Floats
    missing: Floats
    stuck: NDArray[np.bool_]
    unit: Floats
    flipped: NDArray[np.bool_]
    swapped: NDArray[np.int64]
    scores: Scores | None = None


def compare(
    reference: Reference,
    rows: Floats,
    scores: Floats | None = None,
    threshold: float | None = None,
) -> Statistics:
    """Compare a window with the reference.

    rows: [m, d], which may hold NaN; scores: [m], of anomaly
    """
    missing = np.isnan(rows).mean(axis=0)
    filled = _fill(reference, rows) if missing.any() else rows
    ordered = np.sort(filled, axis=0)
    ks = ks_sorted(reference.columns, np.ascontiguousarray(ordered.T))
    correlation = _correlation(reference, filled)
    shift = _correlation_shift(reference, correlation, len(rows))
    broken = BrokenColumns(reference, ordered, correlation, ks=ks, correlation_shift=shift)
    return Statistics(
        ks=ks,
        p=_p_value(ks, len(reference.samples), len(rows)),
        wasserstein=_wasserstein(reference, ordered),
        psi=_psi(reference, ordered),
        outside=_outside(reference, ordered),
        correlation_shift=shift,
        missing=missing,
        stuck=_stuck(reference, ordered) & (missing < 1),
        unit=broken.unit(),
        flipped=broken.flipped(),
        swapped=broken.swapped(),
        scores=_scores(reference, scores, threshold) if scores is not None else None,
    )


def _fill(reference: Reference, rows: Floats) -> Floats:
    return np.where(np.isnan(rows), reference.median, rows)


def _p_value(ks: Floats, n: int, m: int) -> Floats:
    return kolmogorov(np.sqrt(n * m / (n + m)) * ks)


def _correlation(reference: Reference, rows: Floats) -> Floats:
    if len(rows) < MIN_CORRELATED_ROWS:
        return reference.correlation
    return rank_correlation(rows)


def _correlation_shift(reference: Reference, correlation: Floats, rows: int) -> Floats:
    """Shifts [d], smaller for a short window, whose correlation strays by chance."""
    if rows < MIN_CORRELATED_ROWS:
        return np.zeros(len(reference.names))
    shifts = correlation_shifts(reference.correlation, correlation)
    return shifts * np.sqrt(min(1.0, rows / reference.window_rows))


def _wasserstein(reference: Reference, ordered: Floats) -> Floats:
    n = len(reference.samples)
    m = len(ordered)
    ranks = ((np.arange(m) + 0.5) / m * n).astype(int)
    return np.abs(ordered - reference.samples[ranks]).mean(axis=0) / reference.sd


def _outside(reference: Reference, ordered: Floats) -> Floats:
    is_below = ordered < reference.samples[0]
    is_above = ordered > reference.samples[-1]
    return (is_below | is_above).mean(axis=0)


def _stuck(reference: Reference, ordered: Floats) -> NDArray[np.bool_]:
    if len(ordered) < MIN_STUCK_ROWS:
        return np.zeros(ordered.shape[1], bool)
    return reference.can_stick & (ordered[0] == ordered[-1])


def _scores(reference: Reference, scores: Floats, threshold: float | None) -> Scores:
    ks = ks_distance(reference.scores, np.sort(scores))
    floor = reference.score_floor
    if threshold is None:
        return Scores(ks, floor, alert_rate=0.0, usual=0.0, z=0.0)
    usual = _usual_alert_rate(reference, threshold)
    rate = float(np.mean(scores > threshold))
    z = (rate - usual) / _standard_error(usual, len(scores))
    return Scores(ks, floor, alert_rate=rate, usual=usual, z=z)


def _usual_alert_rate(reference: Reference, threshold: float) -> float:
    """Share of the reference's scores above the threshold; those are quantiles."""
    shares_above = np.linspace(1, 0, len(reference.scores))
    return float(np.interp(threshold, reference.scores, shares_above))


def _standard_error(rate: float, rows: int) -> float:
    expected = min(max(rate, MIN_ALERT_RATE), 1 - MIN_ALERT_RATE)
    return float(np.sqrt(expected * (1 - expected) / rows))


def _psi(reference: Reference, ordered: Floats) -> Floats:
    """Population stability index over the reference's deciles."""
    indices = np.empty(ordered.shape[1])
    for j, (edges, shares) in enumerate(reference.bins):
        expected = np.maximum(shares, MIN_BIN_SHARE)
        actual = np.maximum(bin_shares(edges, ordered[:, j]), MIN_BIN_SHARE)
        indices[j] = float(((actual - expected) * np.log(actual / expected)).sum())
    return indices
