"""Columns that a simple operation makes like the reference again: another unit, sign or place.

Such a column is broken; of a changed world there is no such operation. Pure functions on arrays.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from train.model.distances import (
    correlation_shifts,
    ks_distance,
    positive_median,
    quantile_shift,
)
from train.model.floors import MIN_FLOOR
from train.model.reference import Reference
from vigil.arrays import Flags, Floats

MIN_FACTOR = 5.0  # a unit changes by more; a world that grew, by less
UNDONE = 0.25  # a distance that falls to this share of itself was made by what has been undone
FAR_FACTOR = 100.0  # no world grows so much: what is left may be its ordinary restlessness
UNDONE_OF_FAR = 0.5
UNDONE_AT_ZERO = 0.6  # a column that rests at zero still does when its sign is turned
DISJOINT = 0.95  # a distance at which hardly a value is in common
MIN_GAIN = 0.7  # all distances together must fall to this share: nothing else explains anything
FAR_BEYOND = 10  # times the largest value of the reference
MAX_SUSPECTS = 6  # the furthest features are tried for a swap


@dataclass(frozen=True)
class BrokenColumns:
    """Tries operations on the columns of a window.

    columns: [d] arrays, the sorted values of each; correlation: [d, d] of their ranks
    ks, correlation_shift: [d], distances to the reference
    """

    reference: Reference
    columns: Sequence[Floats]
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
        units = [self._unit(j) for j in range(self.count)]
        return np.array(units)

    def _unit(self, j: int) -> float:
        """The factor, or the power of ten next to it, if that explains the column."""
        factor = self._factor(j)
        if not self._is_scaled(j, factor):
            return 1.0
        candidates = {factor, _next_power_of_ten(factor)}
        distance = partial(self._distance_without, j)
        best = min(candidates, key=distance)
        return best if self._is_unit(j, best) else 1.0

    def _factor(self, j: int) -> float:
        """How many times larger the values are than usual; 1 where that means nothing."""
        size = positive_median(np.abs(self.columns[j]))
        usual = float(self.reference.size[j])
        has_sizes = size > 0 and usual > 0
        return size / usual if has_sizes else 1.0

    def _is_scaled(self, j: int, factor: float) -> bool:
        """Whether the column is so much larger or smaller that its unit may be another."""
        is_disjoint = _is_far(factor) and self.ks[j] >= DISJOINT
        is_apart = is_disjoint or self.ks_ratio[j] >= 1
        return _is_wide(factor) and (is_apart or self._is_far_beyond(j))

    def _is_far_beyond(self, j: int) -> bool:
        largest = self.reference.samples[-1, j]
        return largest > 0 and self.columns[j][-1] > FAR_BEYOND * largest

    def _is_unit(self, j: int, unit: float) -> bool:
        """Whether the column is like the reference again without this unit."""
        if not _is_wide(unit):
            return False
        return self._distance_without(j, unit) <= self._left_of(j, unit)

    def _left_of(self, j: int, unit: float) -> float:
        """The distance that may be left without the unit."""
        if not _is_far(unit):
            return max(MIN_FLOOR, UNDONE * self.ks[j])
        ordinary = min(self.reference.floors[j], UNDONE_OF_FAR)
        return max(ordinary, UNDONE_OF_FAR * self.ks[j])

    def _distance_without(self, j: int, unit: float) -> float:
        usual = self.reference.columns[j]
        return ks_distance(usual, self.columns[j] / unit)

    def flipped(self) -> Flags:
        """Return the columns [d] whose sign was turned."""
        flipped = np.zeros(self.count, bool)
        for j in self._suspects(self.count):
            flipped[j] = self._without_sign(j).is_explanation()
        return flipped

    def on_other_side(self) -> Flags:
        """Return the columns [d] with values of the other sign alone, that fit when it is turned.

        Of those there is none in the reference.
        """
        return np.array([self._is_on_other_side(j) for j in range(self.count)])

    def _is_on_other_side(self, j: int) -> bool:
        turned = -self.reference.sides[j] * self.columns[j]
        is_beyond_zero = turned.min() >= 0 and turned.max() > 0
        if not is_beyond_zero:
            return False
        if self.reference.touches_zero[j]:
            return self._turned_ks(j) <= UNDONE_AT_ZERO * self.ks[j]
        return self._is_turned_back(j)

    def _turned_ks(self, j: int) -> float:
        return ks_distance(self.reference.columns[j], -self.columns[j][::-1])

    def _is_turned_back(self, j: int) -> bool:
        """Whether the column is so much nearer with its sign turned."""
        usual = self.reference.columns[j]
        former = quantile_shift(usual, self.columns[j])
        left = quantile_shift(usual, -self.columns[j][::-1])
        return left <= UNDONE * former

    def _without_sign(self, j: int) -> _Undone:
        columns = {j: -self.columns[j][::-1]}
        sign = np.ones(self.count)
        sign[j] = -1
        correlation = self.correlation * np.outer(sign, sign)
        return _Undone(self, columns, correlation)

    def swapped(self) -> NDArray[np.int64]:
        """Return for each column [d] the one that it was exchanged with, or -1."""
        swapped = np.full(self.count, -1)
        for i, j in self._suspected_pairs():
            if self._exchanged(i, j).is_explanation():
                swapped[[i, j]] = j, i
        return swapped

    def _suspected_pairs(self) -> Iterator[tuple[int, int]]:
        # A restless column may hide what was put into it, two may not.
        return combinations(self._suspects(MAX_SUSPECTS, least=0.5), 2)

    def _exchanged(self, i: int, j: int) -> _Undone:
        columns = {i: self.columns[j], j: self.columns[i]}
        order = np.arange(self.count)
        order[[i, j]] = j, i
        correlation = self.correlation[np.ix_(order, order)]
        return _Undone(self, columns, correlation)

    def _suspects(self, count: int, least: float = 1.0) -> list[int]:
        """Features that have moved by at least so much, the furthest first."""
        furthest = np.argsort(-self.moved)[:count]
        return [int(j) for j in furthest if self.moved[j] >= least]


@dataclass(frozen=True)
class _Undone:
    """A window after an operation.

    columns: sorted values of those that it changes, by number; correlation: [d, d] of all then
    """

    window: BrokenColumns
    columns: Mapping[int, Floats]
    correlation: Floats

    @property
    def reference(self) -> Reference:
        return self.window.reference

    @property
    def features(self) -> list[int]:
        return list(self.columns)

    @cached_property
    def ks(self) -> Floats:
        return np.array([self._distance(j) for j in self.features])

    def _distance(self, j: int) -> float:
        usual = self.reference.columns[j]
        return ks_distance(usual, self.columns[j])

    @cached_property
    def shift(self) -> Floats:
        usual = self.reference.correlation[self.features]
        return correlation_shifts(usual, self.correlation[self.features])

    @property
    def former_ks(self) -> Floats:
        return self.window.ks[self.features]

    @property
    def former_shift(self) -> Floats:
        return self.window.correlation_shift[self.features]

    def is_explanation(self) -> bool:
        """Whether the operation explains the window."""
        if not self._had_moved():
            return False
        return self._is_near() and self._is_correlated() and self._is_better()

    def _had_moved(self) -> bool:
        moved = self.window.moved[self.features]
        return moved.max() >= 1 and moved.min() >= 0.5

    def _is_near(self) -> bool:
        floors = self.reference.floors[self.features]
        bounds = np.maximum(floors, UNDONE * self.former_ks)
        return bool((self.ks <= bounds).all())

    def _is_correlated(self) -> bool:
        floors = self.reference.correlation_floors[self.features]
        bounds = np.maximum(floors, self._shift_allowed())
        return bool((self.shift <= bounds).all())

    def _shift_allowed(self) -> Floats:
        had_moved = self.window.correlation_ratio[self.features] >= 1
        return np.where(had_moved, 2 * UNDONE, 1.0) * self.former_shift

    def _is_better(self) -> bool:
        former = self.former_ks.sum() + self.former_shift.sum()
        left = self.ks.sum() + self.shift.sum()
        return bool(left <= MIN_GAIN * former)


def _is_wide(factor: float) -> bool:
    return max(factor, 1 / factor) >= MIN_FACTOR


def _is_far(factor: float) -> bool:
    return max(factor, 1 / factor) >= FAR_FACTOR


def _next_power_of_ten(factor: float) -> float:
    return 10.0 ** round(math.log10(factor))
