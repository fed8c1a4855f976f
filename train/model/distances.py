"""How far samples are apart, how widely they spread, and for how many rows a stream remembers: what a reference is made of."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from vigil.arrays import Floats

MAX_AUTOCORRELATION_ROWS = 100_000  # enough to know the memory by


def ks_distances(reference: Floats, window: Floats) -> Floats:
    """Two-sample Kolmogorov-Smirnov distance [d] of each column of `window` [m, d] to the presorted `reference` [n, d]."""
    return ks_sorted(np.ascontiguousarray(reference.T), np.sort(window.T, axis=1))


def ks_sorted(reference: Floats, window: Floats) -> Floats:
    """KS distances [d] of the sorted rows of `window` [d, m] to those of `reference` [d, n]."""
    return np.array([ks_distance(a, b) for a, b in zip(reference, window, strict=True)])


def ks_distance(a: Floats, b: Floats) -> float:
    """KS distance of two sorted samples. Between two steps of `b` the other distribution only grows, so that the distance
    is greatest at or just before a step of `b`."""
    steps = np.arange(len(b) + 1) / len(b)
    left = np.searchsorted(a, b)
    right, tied = left.copy(), a[np.minimum(left, len(a) - 1)] == b
    if tied.any():  # else both sides are one: of continuous samples half the search is saved
        right[tied] = np.searchsorted(a, b[tied], side="right")
    above, below = steps[1:] - right / len(a), left / len(a) - steps[:-1]
    return float(max(above.max(), below.max()))


def rank_correlation(X: Floats) -> Floats:
    """Spearman's rank correlation [d, d] of the columns of `X` [n, d]; 0 where a column is constant.

    Ranks do not see what happens to a column by itself, so this changes only with the dependence between columns.
    """
    ranks = np.ascontiguousarray(
        np.asarray(rankdata(np.ascontiguousarray(X.T), axis=1), dtype=np.float64).T
    )
    ranks -= ranks.mean(axis=0)
    norm = np.sqrt((ranks * ranks).sum(axis=0))
    ranks /= np.where(norm > 0, norm, np.inf)
    return ranks.T @ ranks


def correlation_shifts(reference: Floats, window: Floats) -> Floats:
    """How far each feature's correlations [d, d] with all others have moved: the norm of the difference of its row, [d]."""
    return np.sqrt(((window - reference) ** 2).sum(axis=1))


def bin_shares(edges: Floats, values: Floats) -> Floats:
    """Share of the sorted `values` in each bin: (-inf, e0), [e0, e1), ..., [last, inf)."""
    inner = np.searchsorted(values, edges, side="left")
    return np.diff(np.concatenate([[0], inner, [len(values)]])) / len(values)


def typical_magnitude(X: Floats) -> Floats:
    """Median [d] of the absolute values that are not zero; 0 where all are."""
    size = np.abs(X)
    if (size > 0).all():
        return np.median(size, axis=0)
    return np.array(
        [np.median(column[column > 0]) if (column > 0).any() else 0.0 for column in size.T]
    )


def robust_spread(X: Floats) -> Floats:
    """The robust spread [d] of each feature: of its middle half where that varies, else its standard deviation, else 1."""
    low, high = np.percentile(X, [25, 75], axis=0)
    sd = X.std(axis=0)
    return np.where(high > low, (high - low) / 1.349, np.where(sd > 0, sd, 1.0))


def autocorrelation_time(values: Floats) -> float:
    """Integrated autocorrelation time of a series [n], in rows: so many rows tell as much as one independent one.

    Of the indicators of the quartiles, which is what a KS distance is made of; the sum ends where it is five times longer
    than itself (Sokal, Monte Carlo Methods in Statistical Mechanics, 1997, section 3).
    """
    values = values[-MAX_AUTOCORRELATION_ROWS:]
    n, times = len(values), []
    for level in np.quantile(values, (0.25, 0.5, 0.75)):
        below = (values < level) - float(np.mean(values < level))
        spectrum = np.fft.rfft(below, 2 * n)
        covariance = np.fft.irfft(spectrum * np.conj(spectrum))[:n]
        if covariance[0] <= 0:  # nothing is below it
            continue
        sums = 1 + 2 * np.cumsum(covariance[1:] / covariance[0])
        ends = np.flatnonzero(np.arange(1, n) >= 5 * sums)
        times.append(max(1.0, float(sums[ends[0]] if len(ends) else n)))
    return float(np.mean(times)) if times else 1.0
