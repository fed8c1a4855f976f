"""How badly a column fits another one's place: by its values, its steps in time, its correlations.

Each of the three is between 0 and about 1, and their sum is the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Flags, Floats

GRID_POINTS = 17  # quantiles of each column at which distributions are compared
ORDERED = 0  # costs with the steps
UNORDERED = 1  # and without


@dataclass(frozen=True)
class QuantileGrid:
    """Distributions of d columns, each at quantiles of its own.

    points [d, g]
    shares [2, d, g]: of the values below each point, and not above it
    """

    points: Floats
    shares: Floats

    @classmethod
    def of(cls, columns: Sequence[Floats]) -> QuantileGrid:
        """Return that of sorted columns [d], none of which is empty."""
        points = np.array([_evenly_ranked(column) for column in columns])
        return cls(points, _shares_at_own(points, columns))

    def shares_of(self, columns: Sequence[Floats]) -> Floats:
        """Return the shares [m, 2, d, g] of other sorted columns at the points of all."""
        shares = [_shares_at(self.points, column) for column in columns]
        return np.array(shares)

    def own_shares_of(self, columns: Sequence[Floats]) -> Floats:
        """Return the shares [2, d, g] of other sorted columns, each at the points of its place."""
        return _shares_at_own(self.points, columns)

    def take(self, numbers: NDArray[np.intp]) -> QuantileGrid:
        """Return the grid of some of the columns."""
        points = self.points[numbers]
        shares = self.shares[:, numbers]
        return QuantileGrid(points, shares)

    def distances(self, columns: Sequence[Floats]) -> Floats:
        """Return the distances [m, d] of other sorted columns to each of these."""
        shares = self.shares_of(columns)
        return distances_between(shares, self.shares)

    def own_distances(self, columns: Sequence[Floats]) -> Floats:
        """Return the distances [d] of other sorted columns, each in its place."""
        shares = self.own_shares_of(columns)
        return distances_between(shares, self.shares)


def distances_between(shares: Floats, others: Floats) -> Floats:
    """Return the Kolmogorov-Smirnov distances [.., d] of shares [.., 2, d, g]."""
    differences = np.abs(shares - others)
    return differences.max(axis=(-3, -1))


@dataclass(frozen=True)
class CorrelationCosts:
    """Root mean square differences of the rank correlations [d, d] of a window and a reference.

    varies [d]: which columns do; with the others there are no correlations
    """

    window: Floats
    reference: Floats
    varies: Flags

    def at_all(self) -> Floats:
        """Return how badly each column fits each place [d, d].

        Its correlations with itself and with the column of that place are left out.
        """
        left = self._squares - self._with_itself - self._with_place
        return self._root_mean(left)

    def at_own(self) -> Floats:
        """Return how badly each column [d] fits its own place."""
        return self._root_mean(_squares_of_others(self.window - self.reference))

    def turned(self) -> Floats:
        """Return how badly each column [d] fits its own place with its sign turned."""
        return self._root_mean(_squares_of_others(self.window + self.reference))

    @property
    def _squares(self) -> Floats:
        """Squared distances [d, d] of the rows of one to those of the other."""
        window = (self.window**2).sum(axis=1)
        reference = (self.reference**2).sum(axis=1)
        products = self.window @ self.reference.T
        return window[:, None] + reference - 2 * products

    @property
    def _with_itself(self) -> Floats:
        own = np.diag(self.window)
        return (own[:, None] - self.reference.T) ** 2

    @property
    def _with_place(self) -> Floats:
        squares = (self.window - np.diag(self.reference)) ** 2
        np.fill_diagonal(squares, 0)
        return squares

    def _root_mean(self, squares: Floats) -> Floats:
        others = max(int(self.varies.sum()) - 1, 1)
        positive = np.maximum(squares, 0)  # rounding may make it less
        return np.sqrt(positive / others)


def sum_costs(
    values: Floats,
    steps: Floats,
    correlations: Floats,
) -> Floats:
    """Return the costs [2, ..] with the steps and without."""
    unordered = values + correlations
    ordered = unordered + steps
    return np.stack([ordered, unordered])


def gains_of_exchange(costs: Floats) -> Floats:
    """Return how much better two columns fit in each other's places, by costs [.., d, d]."""
    own = np.diagonal(costs, axis1=-2, axis2=-1)
    former = own[..., :, None] + own[..., None, :]
    left = costs + np.swapaxes(costs, -2, -1)
    return former - left


def sorted_columns(X: Floats) -> list[Floats]:
    """Return the values of each column of `X` [n, d], sorted; without missing ones.

    A column without any has one of 0.
    """
    if np.isnan(X).any():
        return [_sorted_or_zero(column) for column in X.T]
    ordered = np.sort(X, axis=0)
    return list(np.ascontiguousarray(ordered.T))


def sorted_steps(X: Floats) -> list[Floats]:
    """Return the differences from row to row of each column of `X` [n, d], sorted.

    To and from a missing value there is none.
    """
    steps = np.diff(X, axis=0) if len(X) > 1 else np.zeros((1, X.shape[1]))
    return sorted_columns(steps)


def turned_columns(columns: Sequence[Floats]) -> list[Floats]:
    """Return sorted columns with their signs turned, sorted again."""
    return [-column[::-1] for column in columns]


def _squares_of_others(differences: Floats) -> Floats:
    """Sums [d] of the squares of the rows, without the diagonal."""
    squares = differences**2
    np.fill_diagonal(squares, 0)
    return squares.sum(axis=1)


def _sorted_or_zero(column: Floats) -> Floats:
    present = column[~np.isnan(column)]
    return np.sort(present) if len(present) else np.zeros(1)


def _evenly_ranked(column: Floats) -> Floats:
    ranks = np.linspace(
        0,
        len(column) - 1,
        GRID_POINTS,
    )
    return column[ranks.round().astype(int)]


def _shares_at_own(points: Floats, columns: Sequence[Floats]) -> Floats:
    pairs = zip(points, columns, strict=True)
    shares = [_shares_at(own, column) for own, column in pairs]
    return np.stack(shares, axis=1)


def _shares_at(points: Floats, column: Floats) -> Floats:
    """Shares [2, *points] of the values of a sorted column below and not above the points."""
    below = np.searchsorted(column, points)
    not_above = np.searchsorted(
        column,
        points,
        side="right",
    )
    return np.stack([below, not_above]) / len(column)
