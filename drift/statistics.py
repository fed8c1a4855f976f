"""What a window shows against the reference, feature by feature: pure functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

from train.reference import Reference, ks_distances

Floats = NDArray[np.float64]
PSI_BINS = 10


@dataclass(frozen=True)
class Statistics:
    """Arrays [d], one value per feature.

    ks: Kolmogorov-Smirnov distance; p: its asymptotic p-value; psi: population stability index, a severity only
    missing: share of NaN; stuck: one value in the whole window where the reference never stood still
    unit: factor by which centre and spread both changed, 1.0 where they did not change together
    """

    ks: Floats
    p: Floats
    psi: Floats
    missing: Floats
    stuck: NDArray[np.bool_]
    unit: Floats


def compare(reference: Reference, rows: Floats) -> Statistics:
    """Compare a window `rows` [m, d], which may hold NaN, with the reference."""
    missing = np.isnan(rows).mean(axis=0)
    filled = np.where(np.isnan(rows), reference.median, rows) if missing.any() else rows
    ks = ks_distances(reference.samples, filled)
    n, m = len(reference.samples), len(rows)
    p = kolmogorov(np.sqrt(n * m / (n + m)) * ks)
    stuck = reference.can_stick & (np.ptp(filled, axis=0) == 0) & (missing < 1)
    return Statistics(ks, p, _psi(reference.samples, filled), missing, stuck, _unit_change(reference, filled))


def _psi(samples: Floats, rows: Floats) -> Floats:
    """Population stability index over the reference's deciles."""
    out = np.empty(samples.shape[1])
    for j in range(samples.shape[1]):
        edges = np.unique(np.quantile(samples[:, j], np.linspace(0, 1, PSI_BINS + 1)[1:-1]))
        expected = np.bincount(np.searchsorted(edges, samples[:, j]), minlength=len(edges) + 1) / len(samples)
        actual = np.bincount(np.searchsorted(edges, rows[:, j]), minlength=len(edges) + 1) / len(rows)
        e, a = np.maximum(expected, 1e-4), np.maximum(actual, 1e-4)
        out[j] = float(((a - e) * np.log(a / e)).sum())
    return out


def _unit_change(reference: Reference, rows: Floats) -> Floats:
    """A changed unit multiplies centre and spread alike; a shift moves only one, a wider spread only the other."""
    low, median, high = np.percentile(rows, [25, 50, 75], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre = np.abs(median / reference.median)
        spread = (high - low) / 1.349 / reference.scale
        together = (centre > 0) & (spread > 0) & np.isfinite(centre) & (np.abs(np.log(centre / spread)) < np.log(2))
    return np.where(together, centre, 1.0)
