"""Columns that are in another's place, or have their sign turned: one judgement over all of them.

The columns of a window are matched with the places of the reference by their values, their steps
in time and their correlations (train/model/column_costs.py). Only what blocks of the reference
tell apart is told (train/model/separation.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from train.model.column_costs import (
    ORDERED,
    UNORDERED,
    CorrelationCosts,
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
            swapped[suspects] = self._exchanged(suspects)
        return swapped

    def _exchanged(self, suspects: NDArray[np.intp]) -> NDArray[np.int64]:
        """The same of some columns."""
        separation = self._separation[np.ix_(suspects, suspects)]
        exchanges = _Exchanges(
            self._costs(suspects),
            separation,
            self._least_separation,
        )
        found = exchanges.found()
        return np.where(found < 0, -1, suspects[found])

    def turned(self) -> Flags:
        """Return the columns [d] whose sign was turned."""
        is_suspect = self._is_sign_told & (self._own_costs >= self._sign_gain)
        turned = np.zeros(len(self.columns), bool)
        suspects = np.flatnonzero(is_suspect)
        if len(suspects):
            turned[suspects] = self._gain_of_turning(suspects) >= self._sign_gain[suspects]
        return turned

    def _gain_of_turning(self, suspects: NDArray[np.intp]) -> Floats:
        return self._own_costs[suspects] - self._turned_costs(suspects)

    @property
    def _is_sign_told(self) -> Flags:
        return self._sign_separation >= self._least_separation

    @property
    def _sign_gain(self) -> Floats:
        """What turning a sign [d] must gain."""
        return MIN_GAIN_SHARE * self._sign_separation

    @cached_property
    def _own_costs(self) -> Floats:
        """Costs [d] of each column at its own place."""
        values = self.reference.grid.own_distances(self.columns)
        correlations = self._correlations.at_own()
        return self._ordered(values, self._own_steps, correlations)

    def _costs(self, suspects: NDArray[np.intp]) -> Floats:
        """Costs [s, s] of some columns at each other's places."""
        places = np.ix_(suspects, suspects)
        grid = self.reference.grid.take(suspects)
        step_grid = self.traits.step_grid.take(suspects)
        return self._ordered(
            grid.distances(_some(self.columns, suspects)),
            step_grid.distances(_some(self._steps, suspects)),
            self._correlations.at_all()[places],
        )

    def _turned_costs(self, suspects: NDArray[np.intp]) -> Floats:
        """Costs [s] of some columns at their own places, with their signs turned."""
        columns = turned_columns(_some(self.columns, suspects))
        steps = turned_columns(_some(self._steps, suspects))
        grid = self.reference.grid.take(suspects)
        step_grid = self.traits.step_grid.take(suspects)
        return self._ordered(
            grid.own_distances(columns),
            step_grid.own_distances(steps),
            self._correlations.turned()[suspects],
        )

    def _ordered(
        self,
        values: Floats,
        steps: Floats,
        correlations: Floats,
    ) -> Floats:
        """Costs, without the steps where they say nothing."""
        both = sum_costs(values, steps, correlations)
        return both[self._order]

    @cached_property
    def _correlations(self) -> CorrelationCosts:
        return CorrelationCosts(
            self.correlation,
            self.reference.correlation,
            self.reference.varies,
        )

    @cached_property
    def _steps(self) -> list[Floats]:
        return sorted_steps(self.rows)

    @cached_property
    def _own_steps(self) -> Floats:
        return self.traits.step_grid.own_distances(self._steps)

    @cached_property
    def _order(self) -> int:
        """Whether the rows come in the order of the reference's: else their steps say nothing.

        Rows of several replicas, or of other entities, come in another; then most columns have
        other steps at once.
        """
        varies = self.reference.varies
        is_strange = self._own_steps > self.traits.step_floors
        are_most = is_strange[varies].sum() > varies.sum() / 2
        return UNORDERED if are_most else ORDERED

    @property
    def _separation(self) -> Floats:
        return self.traits.separation[self._order]

    @property
    def _sign_separation(self) -> Floats:
        return self.traits.sign_separation[self._order]

    @property
    def _least_separation(self) -> float:
        """More for a short window, which strays by chance."""
        share = len(self.rows) / self.reference.window_rows
        return MIN_SEPARATION / float(np.sqrt(min(1.0, share)))

    def _suspects(self) -> NDArray[np.intp]:
        """Columns that fit so badly that an exchange with some other one could gain enough."""
        highest_gain = self._own_costs[:, None] + self._own_costs
        is_told = self._separation >= self._least_separation
        is_enough = highest_gain >= MIN_GAIN_SHARE * self._separation
        is_suspect = (is_told & is_enough).any(axis=1)
        return np.flatnonzero(is_suspect)


def _some(columns: Sequence[Floats], numbers: NDArray[np.intp]) -> list[Floats]:
    return [columns[j] for j in numbers]


@dataclass(frozen=True)
class _Exchanges:
    """Columns in each other's places: one assignment over all (Kuhn, The Hungarian method, 1955).

    costs, separation: [s, s]; least: the separation of columns that are not alike
    """

    costs: Floats
    separation: Floats
    least: float

    def found(self) -> NDArray[np.int64]:
        """Return for each place [s] the column that is there, or -1 where it is its own."""
        from scipy.optimize import linear_sum_assignment  # 15 MB, for swapped columns

        _, assigned = linear_sum_assignment(self.costs + self._penalties)
        found = np.full(len(assigned), -1)
        for cycle in _cycles(assigned):
            if self._is_explanation(cycle, assigned[cycle]):
                found[cycle] = assigned[cycle]
        return found

    @property
    def _penalties(self) -> Floats:
        """What a column must gain at another place [s, s]; nothing makes up for a likeness."""
        needed = MIN_GAIN_SHARE * self.separation / 2  # each of the two brings a half
        penalties = np.where(self.separation >= self.least, needed, _FORBIDDEN)
        np.fill_diagonal(penalties, 0)
        return penalties

    def _is_explanation(self, places: list[int], assigned: NDArray[np.int64]) -> bool:
        """Whether these columns are like the reference again at the places that were found."""
        former = self.costs[places, places].sum()
        left = self.costs[places, assigned].sum()
        return bool(left <= MAX_LEFT * former)


def _cycles(assigned: NDArray[np.int64]) -> Iterator[list[int]]:
    """Numbers of the columns that took each other's places, of a permutation."""
    seen: set[int] = set()
    moved = assigned != np.arange(len(assigned))
    for first in np.flatnonzero(moved).tolist():
        if first not in seen:
            cycle = _cycle(assigned, first)
            seen.update(cycle)
            yield cycle


def _cycle(assigned: NDArray[np.int64], first: int) -> list[int]:
    cycle = [first]
    while assigned[cycle[-1]] != first:
        following = int(assigned[cycle[-1]])
        cycle.append(following)
    return cycle
