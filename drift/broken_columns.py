"""Columns that a simple operation makes like the reference again: another unit, sign or place.

Such a column is broken; of a changed world there is no such operation. Pure functions on arrays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from train.model.distances import correlation_shifts, ks_distance, typical_magnitude
from train.model.reference import Reference
from vigil.arrays import Floats

MIN_FACTOR = 5.0  # a unit changes by more; a world that grew, by less
UNDONE = 0.25  # a distance that falls to this share of itself was made by what has been undone
MIN_GAIN = 0.7  # all distances together must fall to this share: nothing else explains anything
FAR_BEYOND = 10  # times the largest value of the reference
MAX_SUSPECTS = 6  # the furthest features are tried for a swap


@dataclass(frozen=True)
class BrokenColumns:
    """Tries operations on the columns of a window.

    ordered: the window [m, d], each column sorted; correlation: [d, d] of its ranks
    ks, correlation_shift: [d], distances to the reference
    """

    reference: Reference
    ordered: Floats
    correlation: Floats
    ks: Floats
    correlation_shift: Floats

    @property
    def count(self) -> int:
        """How many columns there are."""
        return len(self.ks)

    @cached_property
    def ks_ratio(self) -> Floats:
        """Distances over the floors of single features."""
        return self.ks / self.reference.single_feature_floors

    @cached_property
    def correlation_ratio(self) -> Floats:
        """Shifts of the correlation over their floors."""
        return self.correlation_shift / self.reference.correlation_floors

    @cached_property
    def moved(self) -> Floats:
        """How far each feature has moved, by itself or against the others."""
        return np.maximum(self.ks_ratio, self.correlation_ratio)

    def unit(self) -> Floats:
        """Return the factors [d] that columns were multiplied with, 1.0 where there is none."""
        units = np.ones(self.count)
        factors = self._factors()
        for j in np.flatnonzero(self._is_scaled(factors)):
            units[j] = self._unit(int(j), float(factors[j]))
        return units

    def _factors(self) -> Floats:
        size = typical_magnitude(self.ordered)
        usual = self.reference.size
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where((size > 0) & (usual > 0), size / usual, 1.0)

    def _is_scaled(self, factors: Floats) -> NDArray[np.bool_]:
        """Columns [d] that are so much larger or smaller that their unit may be another."""
        is_wide = np.maximum(factors, 1 / factors) >= MIN_FACTOR
        is_apart = self.ks >= self.reference.single_feature_floors
        largest = self.reference.samples[-1]
        is_far_beyond = (self.ordered[-1] > FAR_BEYOND * largest) & (largest > 0)
        return is_wide & (is_apart | is_far_beyond)

    def _unit(self, j: int, factor: float) -> float:
        """The factor, or the power of ten next to it, if that explains the column."""
        power = float(10.0 ** np.round(np.log10(factor)))
        left = {candidate: self._distance_without(j, candidate) for candidate in {factor, power}}
        best = min(left, key=lambda candidate: left[candidate])
        is_unit = max(best, 1 / best) >= MIN_FACTOR
        is_back = left[best] <= max(self.reference.floors[j], UNDONE * self.ks[j])
        return best if is_unit and is_back else 1.0

    def _distance_without(self, j: int, factor: float) -> float:
        return ks_distance(self.reference.columns[j], self.ordered[:, j] / factor)

    def flipped(self) -> NDArray[np.bool_]:
        """Return the columns [d] whose sign was turned."""
        flipped = np.zeros(self.count, bool)
        for j in self._suspects(self.count):
            columns = {j: -self.ordered[::-1, j]}
            flipped[j] = self._is_undone(columns, self._correlation_turned(j))
        return flipped

    def _correlation_turned(self, j: int) -> Floats:
        turned = self.correlation.copy()
        turned[j] *= -1
        turned[:, j] *= -1
        return turned

    def swapped(self) -> NDArray[np.int64]:
        """Return for each column [d] the one that it was exchanged with, or -1."""
        swapped = np.full(self.count, -1)
        for i, j in self._suspected_pairs():
            columns = {i: self.ordered[:, j], j: self.ordered[:, i]}
            if self._is_undone(columns, self._correlation_swapped(i, j)):
                swapped[i] = j
                swapped[j] = i
        return swapped

    def _suspected_pairs(self) -> Iterator[tuple[int, int]]:
        # A restless column may hide what was put into it, two may not.
        return combinations(self._suspects(MAX_SUSPECTS, least=0.5), 2)

    def _correlation_swapped(self, i: int, j: int) -> Floats:
        order = np.arange(self.count)
        order[i] = j
        order[j] = i
        return self.correlation[np.ix_(order, order)]

    def _suspects(self, count: int, least: float = 1.0) -> list[int]:
        """Features that have moved by at least so much, the furthest first."""
        furthest = np.argsort(-self.moved)[:count]
        return [int(j) for j in furthest if self.moved[j] >= least]

    def _is_undone(self, columns: Mapping[int, Floats], correlation: Floats) -> bool:
        """Whether an operation explains the window.

        columns: what it makes of the columns that it changes, sorted [m]; correlation: of all then
        """
        features = list(columns)
        moved = self.moved[features]
        if moved.max() < 1 or moved.min() < 0.5:
            return False
        ks = np.array([ks_distance(self.reference.columns[j], columns[j]) for j in features])
        usual = self.reference.correlation[features]
        shift = correlation_shifts(usual, correlation[features])
        return (
            self._is_near(ks, features)
            and self._is_correlated(shift, features)
            and self._is_better(ks, shift, features)
        )

    def _is_near(self, ks: Floats, features: list[int]) -> bool:
        bounds = np.maximum(self.reference.floors[features], UNDONE * self.ks[features])
        return bool((ks <= bounds).all())

    def _is_correlated(self, shift: Floats, features: list[int]) -> bool:
        former = self.correlation_shift[features]
        had_moved = self.correlation_ratio[features] >= 1
        allowed = np.where(had_moved, 2 * UNDONE * former, former)
        bounds = np.maximum(self.reference.correlation_floors[features], allowed)
        return bool((shift <= bounds).all())

    def _is_better(self, ks: Floats, shift: Floats, features: list[int]) -> bool:
        former = self.ks[features].sum() + self.correlation_shift[features].sum()
        return bool(ks.sum() + shift.sum() <= MIN_GAIN * former)
