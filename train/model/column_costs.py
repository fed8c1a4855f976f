"""How badly a column fits another one's place: by its values, its steps in time, its correlations.

Each of the three is between 0 and about 1, and their sum is the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Floats

GRID_POINTS = 17  # quantiles of each column at which distributions are compared
ORDERED = 0  # costs with the steps
UNORDERED = 1  # and without


@dataclass(frozen=True)
class QuantileGrid:
    """Distributions of d columns, each at quantiles of its own.

    points [d, g]; shares [2, d, g]: of the values below each point, and not above it
    """

    points: Floats
    shares: Floats

    @classmethod
    def of(cls, columns: Sequence[Floats]) -> QuantileGrid:
        """Return that of sorted columns [d], none of which is empty."""
        points = np.array([_evenly_ranked(column) for column in columns])
        shares = [_shares_at(points[j], column) for j, column in enumerate(columns)]
        return cls(points, np.stack(shares, axis=1))

    def shares_of(self, columns: Sequence[Floats]) -> Floats:
        """Return the shares [m, 2, d, g] of other sorted columns at the points of all."""
        return np.array([_shares_at(self.points, column) for column in columns])

    def own_shares_of(self, columns: Sequence[Floats]) -> Floats:
        """Return the shares [2, d, g] of other sorted columns, each at the points of its place."""
        shares = [_shares_at(self.points[j], column) for j, column in enumerate(columns)]
        return np.stack(shares, axis=1)

    def take(self, numbers: NDArray[np.intp]) -> QuantileGrid:
        """Return the grid of some of the columns."""
        return QuantileGrid(self.points[numbers], self.shares[:, numbers])

    def distances(self, columns: Sequence[Floats]) -> Floats:
        """Return the distances [m, d] of other sorted columns to each of these."""
        return distances_between(self.shares_of(columns), self.shares)

    def own_distances(self, columns: Sequence[Floats]) -> Floats:
        """Return the distances [d] of other sorted columns, each in its place."""
        return distances_between(self.own_shares_of(columns), self.shares)


def distances_between(shares: Floats, others: Floats) -> Floats:
    """Return the Kolmogorov-Smirnov distances [.., d] of shares [.., 2, d, g]."""
    differences = np.abs(shares - others)
    return differences.max(axis=(-3, -1))


def correlation_costs(window: Floats, reference: Floats, varying: int) -> Floats:
    """Return how badly the correlations of each column fit each place [d, d].

    It is the root mean square difference of its correlations [d, d] with the columns that vary,
    but for those with itself and with the column of that place.
    """
    squares = _squared_distances(window, reference)
    with_itself = (np.diag(window)[:, None] - reference.T) ** 2
    with_place = (window - np.diag(reference)) ** 2
    np.fill_diagonal(with_place, 0)
    left = np.maximum(squares - with_itself - with_place, 0)
    return np.sqrt(left / max(varying - 1, 1))


def own_correlation_costs(window: Floats, reference: Floats, varying: int) -> Floats:
    """Return how badly each column [d] fits its own place."""
    squares = (window - reference) ** 2
    np.fill_diagonal(squares, 0)
    return np.sqrt(squares.sum(axis=1) / max(varying - 1, 1))


def sum_costs(values: Floats, steps: Floats, correlations: Floats) -> Floats:
    """Return the costs [2, ..] with the steps and without."""
    unordered = values + correlations
    return np.stack([unordered + steps, unordered])


def gains_of_exchange(costs: Floats) -> Floats:
    """Return how much better two columns fit in each other's places, by costs [.., d, d]."""
    own = np.diagonal(costs, axis1=-2, axis2=-1)
    in_place = own[..., :, None] + own[..., None, :]
    return in_place - costs - np.swapaxes(costs, -2, -1)


def sorted_columns(X: Floats) -> list[Floats]:
    """Return the values of each column of `X` [n, d], sorted; without missing ones.

    A column without any has one of 0.
    """
    if np.isnan(X).any():
        return [_sorted_or_zero(column) for column in X.T]
    return list(np.ascontiguousarray(np.sort(X, axis=0).T))


def sorted_steps(X: Floats) -> list[Floats]:
    """Return the differences from row to row of each column of `X` [n, d], sorted.

    To and from a missing value there is none.
    """
    if len(X) < 2:
        return sorted_columns(np.zeros((1, X.shape[1])))
    return sorted_columns(np.diff(X, axis=0))


def turned_columns(columns: Sequence[Floats]) -> list[Floats]:
    """Return sorted columns with their signs turned, sorted again."""
    return [-column[::-1] for column in columns]


def _sorted_or_zero(column: Floats) -> Floats:
    present = column[~np.isnan(column)]
    return np.sort(present) if len(present) else np.zeros(1)


def _squared_distances(a: Floats, b: Floats) -> Floats:
    """Between all rows of two matrices [d, d]."""
    norms = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)[None]
    return norms - 2 * a @ b.T


def _evenly_ranked(column: Floats) -> Floats:
    ranks = np.linspace(0, len(column) - 1, GRID_POINTS).round().astype(int)
    return column[ranks]


def _shares_at(points: Floats, column: Floats) -> Floats:
    """Shares [2, *points] of the values of a sorted column below and not above the points."""
    below = np.searchsorted(column, points)
    not_above = np.searchsorted(column, points, side="right")
    return np.stack([below, not_above]) / len(column)
