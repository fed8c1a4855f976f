"""Columns that are in another's place, or have their sign turned: one judgement over all of them.

The columns of a window are matched with the places of the reference by their values, their steps
in time and their correlations (train/model/column_costs.py). Only what blocks of the reference
tell apart is told (train/model/separation.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from train.model.column_costs import (
    ORDERED,
    UNORDERED,
    correlation_costs,
    own_correlation_costs,
    sorted_steps,
    sum_costs,
    turned_columns,
)
from train.model.reference import Reference
from train.model.traits import MIN_SEPARATION, ColumnTraits
from vigil.arrays import Flags, Floats

MIN_GAIN_SHARE = 0.5  # of the separation that blocks showed: what an exchange must gain
MAX_LEFT = 0.7  # the share of their costs that exchanged columns keep: a world that changed, more
_FORBIDDEN = 1e3  # more than any exchange gains

Numbers = NDArray[np.intp]


@dataclass(frozen=True)
class ColumnMatch:
    """Matches the columns of a window with the places of the reference.

    rows: [m, d], in time order, which may hold NaN
    columns: [d] arrays, the sorted values of each; correlation: [d, d] of their ranks
    """

    reference: Reference
    traits: ColumnTraits
    rows: Floats
    columns: Sequence[Floats]
    correlation: Floats

    def swapped(self) -> NDArray[np.int64]:
        """Return for each place [d] the column that is there, or -1 where it is its own."""
        swapped = np.full(len(self.columns), -1)
        suspects = self._suspects()
        if len(suspects) > 1:
            costs = self._costs(suspects)
            swapped[suspects] = _assigned(suspects, costs, self._penalties(suspects))
        return swapped

    def turned(self) -> Flags:
        """Return the columns [d] whose sign was turned."""
        needed = MIN_GAIN_SHARE * self._sign_separation
        is_told = self._sign_separation >= self._least_separation
        turned = is_told & (self._own_costs >= needed)
        suspects = np.flatnonzero(turned)
        if not len(suspects):
            return turned
        gain = self._own_costs[suspects] - self._turned_costs(suspects)
        turned[suspects] = gain >= needed[suspects]
        return turned

    @cached_property
    def _own_costs(self) -> Floats:
        """Costs [d] of each column at its own place."""
        values = self.reference.grid.own_distances(self.columns)
        correlations = own_correlation_costs(self.correlation, *self._usual_correlation)
        return sum_costs(values, self._own_steps, correlations)[self._order]

    def _costs(self, suspects: Numbers) -> Floats:
        """Costs [s, s] of some columns at each other's places."""
        values = self.reference.grid.take(suspects).distances(_some(self.columns, suspects))
        steps = self.traits.step_grid.take(suspects).distances(_some(self._steps, suspects))
        correlations = correlation_costs(self.correlation, *self._usual_correlation)
        among = correlations[np.ix_(suspects, suspects)]
        return sum_costs(values, steps, among)[self._order]

    def _turned_costs(self, suspects: Numbers) -> Floats:
        """Costs [s] of some columns at their own places, with their signs turned."""
        columns = turned_columns(_some(self.columns, suspects))
        steps = turned_columns(_some(self._steps, suspects))
        correlations = own_correlation_costs(-self.correlation, *self._usual_correlation)
        return sum_costs(
            self.reference.grid.take(suspects).own_distances(columns),
            self.traits.step_grid.take(suspects).own_distances(steps),
            correlations[suspects],
        )[self._order]

    @cached_property
    def _steps(self) -> list[Floats]:
        return sorted_steps(self.rows)

    @cached_property
    def _own_steps(self) -> Floats:
        return self.traits.step_grid.own_distances(self._steps)

    @cached_property
    def _usual_correlation(self) -> tuple[Floats, int]:
        """The reference's, and how many columns vary."""
        return self.reference.correlation, int(self.reference.varies.sum())

    @cached_property
    def _order(self) -> int:
        """Whether the rows come in the order of the reference's: else their steps say nothing.

        Rows of several replicas, or of other entities, come in another; then most columns have
        other steps at once.
        """
        is_strange = self._own_steps > self.traits.step_floors
        varies = self.reference.varies
        return UNORDERED if 2 * (is_strange & varies).sum() > varies.sum() else ORDERED

    @property
    def _separation(self) -> Floats:
        return self.traits.separation[self._order]

    @property
    def _sign_separation(self) -> Floats:
        return self.traits.sign_separation[self._order]

    @property
    def _least_separation(self) -> float:
        """More for a short window, which strays by chance."""
        share = min(1.0, len(self.rows) / self.reference.window_rows)
        return MIN_SEPARATION / float(np.sqrt(share))

    def _suspects(self) -> Numbers:
        """Columns that fit so badly that an exchange with some other one could gain enough."""
        highest_gain = self._own_costs[:, None] + self._own_costs
        is_told = self._separation >= self._least_separation
        is_possible = is_told & (highest_gain >= MIN_GAIN_SHARE * self._separation)
        np.fill_diagonal(is_possible, False)
        return np.flatnonzero(is_possible.any(axis=1))

    def _penalties(self, suspects: Numbers) -> Floats:
        """What columns must gain at other places [s, s]; nothing makes up for a likeness."""
        separation = self._separation[np.ix_(suspects, suspects)]
        needed = MIN_GAIN_SHARE / 2 * separation  # each of the two brings a half
        penalties = np.where(separation >= self._least_separation, needed, _FORBIDDEN)
        np.fill_diagonal(penalties, 0)
        return penalties


def _some(columns: Sequence[Floats], numbers: Numbers) -> list[Floats]:
    return [columns[j] for j in numbers]


def _assigned(
    suspects: Numbers,
    costs: Floats,
    penalties: Floats,
) -> NDArray[np.int64]:
    """For each of some places the column that is there, or -1, by their costs [s, s]."""
    _, found = linear_sum_assignment(costs + penalties)
    assigned = np.full(len(suspects), -1)
    for cycle in _cycles(found):
        if _is_explanation(costs, cycle, found[cycle]):
            assigned[cycle] = suspects[found[cycle]]
    return assigned


def _is_explanation(costs: Floats, places: list[int], found: Numbers) -> bool:
    """Whether these columns are like the reference again at the places that were found."""
    former = costs[places, places].sum()
    left = costs[places, found].sum()
    return bool(left <= MAX_LEFT * former)


def _cycles(found: Numbers) -> list[list[int]]:
    """Numbers of the columns that took each other's places, of a permutation."""
    cycles: list[list[int]] = []
    seen: set[int] = set()
    for first in np.flatnonzero(found != np.arange(len(found))):
        cycle = _cycle(found, int(first))
        if seen.isdisjoint(cycle):
            cycles.append(cycle)
        seen.update(cycle)
    return cycles


def _cycle(found: Numbers, first: int) -> list[int]:
    cycle = [first]
    while found[cycle[-1]] != first:
        cycle.append(int(found[cycle[-1]]))
    return cycle
