"""What a window shows against the reference, feature by feature: pure functions on arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

from train.model.distances import (
    bin_shares,
    correlation_shifts,
    ks_distance,
    ks_sorted,
    rank_correlation,
    typical_magnitude,
)
from train.model.reference import Reference
from vigil.arrays import Floats

MIN_FACTOR = 5.0  # a unit changes by more; a world that grew, by less
UNDONE = 0.25  # a distance that falls to this share of itself was made by what has been undone
SUSPECTS = 6  # so many features, the furthest ones, are tried for a swap
MIN_STUCK_ROWS = 20  # fewer equal values prove nothing


@dataclass(frozen=True)
class Scores:
    """The anomaly scores of the window. ks: distance to the reference's; floor: what is ordinary; alert_rate: share above
    the threshold, `usual` of the reference; z: their difference in standard errors of independent rows."""

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
    wasserstein: mean shift of the quantiles, in standard deviations of the reference: the effect size
    psi: population stability index, a severity only;   outside: share of values beyond the reference's range
    correlation_shift: how far the rank correlations with all other features have moved, compared with `reference.correlation_floors`
    missing: share of NaN; stuck: one value in the whole window where the reference never stood still
    unit: factor of the change of unit that explains the window, flipped: it is the reference with the sign turned,
    swapped: the feature whose column this one is, by number; 1, False and -1 where it is not so
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
    reference: Reference, rows: Floats, scores: Floats | None = None, threshold: float | None = None
) -> Statistics:
    """Compare a window `rows` [m, d], which may hold NaN, and its anomaly `scores` [m] with the reference."""
    missing = np.isnan(rows).mean(axis=0)
    filled = np.where(np.isnan(rows), reference.median, rows) if missing.any() else rows
    n, m = len(reference.samples), len(rows)
    ordered = np.sort(filled, axis=0)
    ks = ks_sorted(reference.columns, np.ascontiguousarray(ordered.T))
    if m > 2:
        correlation = rank_correlation(filled)
        shift = correlation_shifts(reference.correlation, correlation) * np.sqrt(
            min(1.0, m / reference.window_rows)
        )
    else:  # there is no correlation of so few rows
        correlation, shift = reference.correlation, np.zeros(len(ks))
    evidence = _Evidence(reference, ordered, correlation, ks, shift)
    quantiles = reference.samples[((np.arange(m) + 0.5) / m * n).astype(int)]
    return Statistics(
        ks,
        kolmogorov(np.sqrt(n * m / (n + m)) * ks),
        np.abs(ordered - quantiles).mean(axis=0) / reference.sd,
        _psi(reference, ordered),
        ((ordered < reference.samples[0]) | (ordered > reference.samples[-1])).mean(axis=0),
        shift,
        missing,
        reference.can_stick & (ordered[0] == ordered[-1]) & (missing < 1) & (m >= MIN_STUCK_ROWS),
        evidence.unit(),
        evidence.flipped(),
        evidence.swapped(),
        _scores(reference, scores, threshold) if scores is not None else None,
    )


def _scores(reference: Reference, scores: Floats, threshold: float | None) -> Scores:
    ks = ks_distance(reference.scores, np.sort(scores))
    if threshold is None:
        return Scores(ks, reference.score_floor, 0.0, 0.0, 0.0)
    usual = float(np.interp(threshold, reference.scores, np.linspace(1, 0, 101)))
    rate, expected = float(np.mean(scores > threshold)), min(max(usual, 1e-3), 1 - 1e-3)
    z = (rate - usual) / float(np.sqrt(expected * (1 - expected) / len(scores)))
    return Scores(ks, reference.score_floor, rate, usual, z)


def _psi(reference: Reference, ordered: Floats) -> Floats:
    """Population stability index over the reference's deciles."""
    out = np.empty(ordered.shape[1])
    for j, (edges, expected) in enumerate(reference.bins):
        e, a = np.maximum(expected, 1e-4), np.maximum(bin_shares(edges, ordered[:, j]), 1e-4)
        out[j] = float(((a - e) * np.log(a / e)).sum())
    return out


@dataclass(frozen=True)
class _Evidence:
    """A broken column is one that a simple operation on it makes like the reference again; a changed world is not."""

    reference: Reference
    ordered: Floats
    correlation: Floats
    ks: Floats
    correlation_shift: Floats

    def unit(self) -> Floats:
        """The factor that a column was multiplied with, 1.0 where there is none."""
        ref, size, out = self.reference, typical_magnitude(self.ordered), np.ones(len(self.ks))
        with np.errstate(divide="ignore", invalid="ignore"):
            factors = np.where((size > 0) & (ref.size > 0), size / ref.size, 1.0)
        wide = (np.maximum(factors, 1 / factors) >= MIN_FACTOR) & (
            (self.ks >= ref.single_feature_floors)
            | ((self.ordered[-1] > 10 * ref.samples[-1]) & (ref.samples[-1] > 0))
        )
        for j in np.flatnonzero(wide):
            tried = {float(factors[j]), float(10.0 ** np.round(np.log10(factors[j])))}
            left = {f: ks_distance(ref.columns[j], self.ordered[:, j] / f) for f in tried}
            best = min(left, key=lambda f: left[f])
            if max(best, 1 / best) >= MIN_FACTOR and left[best] <= max(
                ref.floors[j], UNDONE * self.ks[j]
            ):
                out[j] = best
        return out

    def flipped(self) -> NDArray[np.bool_]:
        """Columns whose sign was turned."""
        out = np.zeros(len(self.ks), bool)
        for j in self._suspects(len(self.ks)):
            turned = self.correlation.copy()
            turned[j] *= -1
            turned[:, j] *= -1
            out[j] = self._undone((j,), {j: -self.ordered[::-1, j]}, turned)
        return out

    def swapped(self) -> NDArray[np.int64]:
        """For each column the one that it was exchanged with, or -1."""
        out = np.full(len(self.ks), -1)
        suspects = self._suspects(
            SUSPECTS, 0.5
        )  # a restless column may hide what was put into it, two may not
        for a, i in enumerate(suspects):
            for j in suspects[a + 1 :]:
                order = np.arange(len(self.ks))
                order[[i, j]] = j, i
                columns = {i: self.ordered[:, j], j: self.ordered[:, i]}
                if self._undone((i, j), columns, self.correlation[np.ix_(order, order)]):
                    out[i], out[j] = j, i
        return out

    def _suspects(self, most: int, least: float = 1.0) -> list[int]:
        """Features that moved, by themselves or against the others, the furthest first."""
        moved = np.maximum(
            self.ks / self.reference.single_feature_floors,
            self.correlation_shift / self.reference.correlation_floors,
        )
        return [int(j) for j in np.argsort(-moved)[:most] if moved[j] >= least]

    def _undone(
        self, features: tuple[int, ...], columns: dict[int, Floats], correlation: Floats
    ) -> bool:
        """Whether one of the features had moved, and with these sorted columns [m] and this correlation all are back."""
        ref, chosen = self.reference, list(features)
        apart, untied = (
            self.ks[chosen] / ref.single_feature_floors[chosen],
            self.correlation_shift[chosen] / ref.correlation_floors[chosen],
        )
        if not (max(apart.max(), untied.max()) >= 1 and (np.maximum(apart, untied) >= 0.5).all()):
            return False
        shift = correlation_shifts(ref.correlation[chosen], correlation[chosen])
        ks = np.array([ks_distance(ref.columns[j], columns[j]) for j in features])
        near = ks <= np.maximum(ref.floors[chosen], UNDONE * self.ks[chosen])
        tied = shift <= np.where(
            untied >= 1,
            np.maximum(ref.correlation_floors[chosen], 2 * UNDONE * self.correlation_shift[chosen]),
            np.maximum(ref.correlation_floors[chosen], self.correlation_shift[chosen]),
        )
        # What is back must be nearer than before: something that nothing changes explains nothing.
        better = ks.sum() + shift.sum() <= 0.7 * (
            self.ks[chosen].sum() + self.correlation_shift[chosen].sum()
        )
        return bool(near.all() and tied.all() and better)
