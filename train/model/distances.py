"""Distances between samples, their spread and their memory: what a reference is made of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Flags, Floats

MAX_AUTOCORRELATION_ROWS = 100_000  # enough to estimate the time by
_INNER_DECILES = np.linspace(
    0,
    1,
    11,
)[1:-1]
_QUARTILES = (0.25, 0.5, 0.75)
_NORMAL_IQR = 1.349  # interquartile range of the standard normal distribution
_WINDOW_TIMES = 5  # the sum of autocorrelations ends at so many times itself


def ks_distances(reference: Floats, window: Floats) -> Floats:
    """Return the two-sample Kolmogorov-Smirnov distance [d] of each column of `window` [m, d] to
    the presorted `reference` [n, d]."""
    columns = np.ascontiguousarray(reference.T)
    windows = np.sort(window.T, axis=1)
    return np.array([ks_distance(a, b) for a, b in zip(columns, windows, strict=True)])


def ks_distance(a: Floats, b: Floats) -> float:
    """Return the KS distance of two sorted samples."""
    below, not_above = _counts(a, b)
    return _largest_distance(below, not_above, len(a))


def ks_distance_to_rest(whole: Floats, part: Floats) -> float:
    """Return the KS distance of the sorted `part` to all values of the sorted `whole` but these.

    The values of `part` are among those of `whole`; the rest is counted, and never sorted.
    """
    below, not_above = _counts(whole, part)
    below_in_part = np.searchsorted(part, part)
    not_above_in_part = np.searchsorted(part, part, side="right")
    return _largest_distance(
        below - below_in_part,
        not_above - not_above_in_part,
        len(whole) - len(part),
    )


def _largest_distance(
    below: NDArray[np.intp],
    not_above: NDArray[np.intp],
    n: int,
) -> float:
    """Return the KS distance of a sorted sample [m] to one of `n` values, by how many of these
    are below each value [m], and how many are not above it.

    Between two steps of the first the other distribution only grows, so that the distance is
    greatest at or just before a step.
    """
    steps = np.arange(len(below) + 1) / len(below)
    after = steps[1:] - not_above / n
    before = below / n - steps[:-1]
    return float(max(after.max(), before.max()))


def _counts(a: Floats, b: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """How many values of `a` are below each value of `b`, and how many are not above it."""
    below = np.searchsorted(a, b)
    is_equal = a[np.minimum(below, len(a) - 1)] == b
    if not is_equal.any():  # of continuous samples half the search is saved
        return below, below
    not_above = below.copy()
    not_above[is_equal] = np.searchsorted(a, b[is_equal], side="right")
    return below, not_above


def quantile_shift(a: Floats, b: Floats) -> float:
    """Return the mean distance of the values of a sorted sample `b` to those of `a` at the same
    quantiles."""
    n = len(a)
    m = len(b)
    shares = (np.arange(m) + 0.5) / m
    ranks = (shares * n).astype(int)
    return float(np.abs(b - a[ranks]).mean())


def rank_correlation(X: Floats) -> Floats:
    """Return Spearman's rank correlation [d, d] of the columns of `X` [n, d], which may hold NaN;
    0 where a column is constant.

    Ranks do not see what happens to a column by itself, so this changes only with the dependence
    between columns. Of two columns only the rows are compared that both have values in.
    """
    is_present = ~np.isnan(X)
    ranks = _column_ranks(X)
    ranks -= (is_present.sum(axis=0) + 1) / 2  # their mean
    if not is_present.all():
        return _correlation_of_pairs(np.where(is_present, ranks, 0.0), is_present)
    norm = np.sqrt((ranks * ranks).sum(axis=0))
    ranks /= _divisor(norm)
    return ranks.T @ ranks


def _column_ranks(X: Floats) -> Floats:
    columns = np.ascontiguousarray(X.T)
    from scipy.stats import rankdata  # 45 MB, which a replica does not need

    ranks = rankdata(columns, axis=1, nan_policy="omit")
    return np.ascontiguousarray(np.asarray(ranks, np.float64).T)


def _correlation_of_pairs(ranks: Floats, is_present: Flags) -> Floats:
    """Correlation of centred ranks [n, d], which are 0 where a value is missing."""
    squares = (ranks * ranks).T @ is_present  # of each column, over the rows of each other one
    norms = np.sqrt(squares * squares.T)
    return ranks.T @ ranks / _divisor(norms)


def _divisor(norm: Floats) -> Floats:
    """The norm, or what makes a quotient 0 where that is 0."""
    return np.where(norm > 0, norm, np.inf)


def correlation_shifts(reference: Floats, window: Floats) -> Floats:
    """Return how far each feature's correlations [d, d] with all others have moved: the norm [d]
    of the difference of its row."""
    return np.sqrt(((window - reference) ** 2).sum(axis=1))


def bin_shares(edges: Floats, values: Floats) -> Floats:
    """Return the share of the sorted `values` in each bin: (-inf, e0), [e0, e1), ..,
    [last, inf)."""
    inner = np.searchsorted(values, edges, side="left")
    counts = np.diff(np.concatenate([[0], inner, [len(values)]]))
    return counts / len(values)


def decile_bins(column: Floats) -> tuple[Floats, Floats]:
    """Return the inner edges of a sorted column's decile bins, and the share of it in each."""
    edges = np.unique(np.quantile(column, _INNER_DECILES))
    return edges, bin_shares(edges, column)


def spaced_places(count: int, most: int) -> NDArray[np.intp]:
    """Return at most so many of the numbers below `count`, evenly spaced, the first and the last
    among them."""
    return np.linspace(0, count - 1, min(count, most)).astype(np.intp)


def spaced_rows(X: Floats, most: int) -> Floats:
    """Return at most so many rows of `X` [n, d], evenly spaced."""
    if len(X) <= most:
        return X
    return X[spaced_places(len(X), most)]


def typical_magnitude(X: Floats) -> Floats:
    """Return the median [d] of the absolute values that are not zero; 0 where all are."""
    return np.array([positive_median(column) for column in np.abs(X.T)])


def positive_median(values: Floats) -> float:
    """Return the median of the values that are above zero; 0 without any."""
    positive = values[values > 0]
    return float(np.median(positive)) if len(positive) else 0.0


def robust_spread(X: Floats) -> Floats:
    """Return the robust spread [d] of each feature: of its middle half where that varies, else
    its standard deviation, else 1."""
    low, high = np.percentile(X, [25, 75], axis=0)
    spread = (high - low) / _NORMAL_IQR
    return np.where(high > low, spread, _positive_or_one(X.std(axis=0)))


def visible_spread(X: Floats, spread: Floats) -> Floats:
    """Return the spread [d] of the features of `X` [n, d], 0 where a forest cannot see it.

    A forest works in float32: it sees nothing in a feature that is constant there, or whose
    spread is below the step from one such number to the next.
    """
    lowest = X.min(axis=0).astype(np.float32)
    highest = X.max(axis=0).astype(np.float32)
    step = np.spacing(np.maximum(np.abs(lowest), np.abs(highest)))
    is_visible = (lowest < highest) & (spread > step)
    return np.where(is_visible, spread, 0.0)


def free_sides(X: Floats) -> Floats:
    """Return to which side [d] a value of each feature of `X` [n, d] can stand out: 1 above, -1
    below, 0 on either.

    Where a quarter of the rows have the smallest value, it is a bound: counts and rates do not fall
    below 0. A forest cannot tell what lies beyond it from what is on it.
    """
    low, high = np.percentile(X, [25, 75], axis=0)
    is_lowest = low == X.min(axis=0)
    is_highest = high == X.max(axis=0)
    return is_lowest.astype(np.float64) - is_highest


def _positive_or_one(values: Floats) -> Floats:
    return np.where(values > 0, values, 1.0)


def autocorrelation_time(values: Floats) -> float:
    """Return the integrated autocorrelation time of a series [n], in rows: so many rows tell as
    much as one independent one.

    It is that of the indicators of the quartiles, which is what a KS distance is made of. The sum
    ends where it is five times longer than itself (Sokal, Monte Carlo Methods in Statistical
    Mechanics, 1997, section 3).
    """
    values = values[-MAX_AUTOCORRELATION_ROWS:]
    levels = np.quantile(values, _QUARTILES)
    # No row is below the level of a series that is constant there.
    indicators = [values < level for level in levels if (values < level).any()]
    times = [_indicator_time(indicator) for indicator in indicators]
    return float(np.mean(times)) if times else 1.0


def _indicator_time(indicator: Flags) -> float:
    """Integrated autocorrelation time of an indicator [n] that varies."""
    n = len(indicator)
    deviations = indicator.astype(np.float64) - float(np.mean(indicator))
    covariance = _autocovariance(deviations)
    sums = 1 + 2 * np.cumsum(covariance[1:] / covariance[0])
    ends = np.flatnonzero(np.arange(1, n) >= _WINDOW_TIMES * sums)
    time = sums[ends[0]] if len(ends) else n
    return max(1.0, float(time))


def _autocovariance(deviations: Floats) -> Floats:
    """Autocovariance [n] of deviations [n] by lag, times n (Wiener-Khinchin)."""
    n = len(deviations)
    spectrum = np.fft.rfft(deviations, 2 * n)
    return np.fft.irfft(spectrum * np.conj(spectrum))[:n]
