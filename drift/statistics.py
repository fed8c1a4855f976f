"""What a window shows against the reference, feature by feature: pure functions on arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

from drift.broken_columns import BrokenColumns
from drift.column_match import ColumnMatch
from train.model.distances import (
    bin_shares,
    correlation_shifts,
    ks_distance,
    quantile_shift,
    rank_correlation,
)
from train.model.reference import Reference
from vigil.arrays import Flags, Floats

MIN_STUCK_ROWS = 20  # fewer equal values prove nothing
REST_TIMES = 2.0  # a rest is no longer than so many times the longest
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
    stuck: Flags
    unit: Floats
    flipped: Flags
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

    A missing value says nothing: each feature is compared by the values that it has.
    """
    window = _SortedWindow.of(reference, rows)
    ks = window.ks()
    correlation = _correlation(reference, rows)
    shift = _correlation_shift(reference, correlation, len(rows))
    broken = BrokenColumns(
        reference,
        window.columns,
        correlation,
        ks=ks,
        correlation_shift=shift,
    )
    swapped, turned = _misplaced(broken, rows)
    return Statistics(
        ks=ks,
        p=window.p_values(ks),
        wasserstein=window.wasserstein(),
        psi=window.psi(),
        outside=window.outside(),
        correlation_shift=shift,
        missing=window.missing,
        stuck=window.stuck(),
        unit=broken.unit(),
        flipped=turned,
        swapped=swapped,
        scores=_scores(reference, scores, threshold) if scores is not None else None,
    )


def compared_by_hour(
    reference: Reference,
    statistics: Statistics,
    rows: Floats,
    times: Floats | None,
) -> tuple[Reference, Statistics] | None:
    """Return a window [m, d] beside the rows of its own hours: these, and the distances to them.

    statistics: beside the whole day; times: [m], Unix seconds. None where there are no hours.
    """
    own = None if times is None else reference.of_hours(times)
    if own is None:
        return None
    own = own.of_window(len(rows))
    window = _SortedWindow.of(own, rows)
    ks = window.ks()
    distances = replace(
        statistics,
        ks=ks,
        p=window.p_values(ks),
        wasserstein=window.wasserstein(),
        psi=window.psi(),
    )
    return own, distances


def _misplaced(broken: BrokenColumns, rows: Floats) -> tuple[NDArray[np.int64], Flags]:
    """The column in each place [d], or -1, and which have their sign turned [d]."""
    traits = broken.reference.traits
    if traits is None or not traits.separated or len(rows) < MIN_CORRELATED_ROWS:
        return broken.swapped(), broken.flipped()
    match = ColumnMatch(
        broken.reference,
        traits,
        rows=rows,
        columns=broken.columns,
        correlation=broken.correlation,
    )
    return match.swapped(), match.turned() | broken.on_other_side()


@dataclass(frozen=True)
class _SortedWindow:
    """The values of a window, feature by feature.

    columns: [d] arrays, each sorted and without NaN; that of a feature without a value is its
    median in the reference, which is like nothing that a value would say
    missing: [d], share of NaN
    """

    reference: Reference
    columns: list[Floats]
    missing: Floats

    @classmethod
    def of(cls, reference: Reference, rows: Floats) -> _SortedWindow:
        is_missing = np.isnan(rows)
        if not is_missing.any():
            ordered = np.ascontiguousarray(np.sort(rows, axis=0).T)
            return cls(reference, list(ordered), np.zeros(rows.shape[1]))
        medians = reference.median[:, None]
        columns = map(_sorted_values, rows.T, medians)
        return cls(reference, list(columns), is_missing.mean(axis=0))

    def _of_each(self, statistic: Callable[[int, Floats], float]) -> Floats:
        """A statistic [d] of the number and the values of each feature."""
        return np.array([statistic(j, column) for j, column in enumerate(self.columns)])

    def ks(self) -> Floats:
        return self._of_each(self._distance)

    def _distance(self, j: int, values: Floats) -> float:
        return ks_distance(self.reference.columns[j], values)

    def p_values(self, ks: Floats) -> Floats:
        n = len(self.reference.samples)
        m = np.array([len(values) for values in self.columns])
        root = np.sqrt(n * m / (n + m))
        return kolmogorov(root * ks)

    def wasserstein(self) -> Floats:
        return self._of_each(self._quantile_shift) / self.reference.sd

    def _quantile_shift(self, j: int, values: Floats) -> float:
        return quantile_shift(self.reference.columns[j], values)

    def outside(self) -> Floats:
        return self._of_each(self._share_outside)

    def _share_outside(self, j: int, values: Floats) -> float:
        column = self.reference.columns[j]
        is_below = values < column[0]
        is_above = values > column[-1]
        return (is_below | is_above).mean()

    def stuck(self) -> Flags:
        """Features [d] with one value in many rows, where the reference never stood still."""
        is_still = np.array([_is_still(values) for values in self.columns])
        is_there = self.missing < 1
        return self._can_stick() & is_still & is_there

    def _can_stick(self) -> Flags:
        """Features [d] that the reference did not see rest so long where they are."""
        if self.reference.traits is None:
            return self.reference.can_stick
        return np.array([self._is_beyond_rests(j) for j in range(len(self.columns))])

    def _is_beyond_rests(self, j: int) -> bool:
        values = self.columns[j]
        longest = self.reference.longest_rest(j, float(values[0]))
        return len(values) >= REST_TIMES * longest

    def psi(self) -> Floats:
        """Population stability index [d] over the reference's deciles."""
        return self._of_each(self._stability_index)

    def _stability_index(self, j: int, values: Floats) -> float:
        edges, shares = self.reference.bins[j]
        expected = np.maximum(shares, MIN_BIN_SHARE)
        actual = np.maximum(bin_shares(edges, values), MIN_BIN_SHARE)
        ratios = np.log(actual / expected)
        return ((actual - expected) * ratios).sum()


def _sorted_values(column: Floats, median: Floats) -> Floats:
    """The values that are there, sorted; the median [1] where there are none."""
    values = column[~np.isnan(column)]
    return np.sort(values) if len(values) else median


def _is_still(values: Floats) -> bool:
    return len(values) >= MIN_STUCK_ROWS and values[0] == values[-1]


def _correlation(reference: Reference, rows: Floats) -> Floats:
    if len(rows) < MIN_CORRELATED_ROWS:
        return reference.correlation
    return rank_correlation(rows)


def _correlation_shift(
    reference: Reference,
    correlation: Floats,
    rows: int,
) -> Floats:
    """Shifts [d], smaller for a short window, whose correlation strays by chance."""
    if rows < MIN_CORRELATED_ROWS:
        return np.zeros(len(reference.names))
    shifts = correlation_shifts(reference.correlation, correlation)
    share = min(1.0, rows / reference.window_rows)
    return shifts * np.sqrt(share)


def _scores(
    reference: Reference,
    scores: Floats,
    threshold: float | None,
) -> Scores:
    ks = ks_distance(reference.scores, np.sort(scores))
    floor = reference.score_floor
    if threshold is None:
        return Scores(
            ks,
            floor,
            alert_rate=0.0,
            usual=0.0,
            z=0.0,
        )
    usual = _usual_alert_rate(reference, threshold)
    rate = float(np.mean(scores > threshold))
    z = (rate - usual) / _standard_error(usual, len(scores))
    return Scores(
        ks,
        floor,
        alert_rate=rate,
        usual=usual,
        z=z,
    )


def _usual_alert_rate(reference: Reference, threshold: float) -> float:
    """Share of the reference's scores above the threshold; those are quantiles."""
    shares_above = np.linspace(1, 0, len(reference.scores))
    rate = np.interp(threshold, reference.scores, shares_above)
    return float(rate)


def _standard_error(rate: float, rows: int) -> float:
    expected = float(np.clip(rate, MIN_ALERT_RATE, 1 - MIN_ALERT_RATE))
    variance = expected * (1 - expected)
    return math.sqrt(variance / rows)
