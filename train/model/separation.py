"""Which columns can be told apart: measured on contiguous blocks of the reference alone.

Two columns are alike if in one of the blocks they fit each other's places about as well as their
own. So it is said before any live row is seen which exchanges can be told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from train.model.blocks import Block
from train.model.column_costs import (
    CorrelationCosts,
    QuantileGrid,
    distances_between,
    gains_of_exchange,
    sorted_columns,
    sorted_steps,
    sum_costs,
    turned_columns,
)
from train.model.rests import Rests
from train.model.traits import ColumnTraits
from vigil.arrays import Flags, Floats

MAX_SEPARATED = 256  # columns: the work grows with the square
_MIN_BLOCKS = 3  # fewer do not show how alike two columns can be
_MAX_STEPS = 1024  # quantiles that are kept
_MIN_STEP_FLOOR = 0.08
_STEP_MARGIN = 1.2


def measure_traits(X: Floats, blocks: Sequence[Block]) -> ColumnTraits:
    """Return the traits of the columns of `X` [n, d], in time order, by blocks of it."""
    rests = Rests.of(X)
    is_narrow = X.shape[1] <= MAX_SEPARATED
    if not is_narrow or len(blocks) < _MIN_BLOCKS:
        return _unseparated(rests)
    return _separated(X, blocks, rests)


def _unseparated(rests: Rests) -> ColumnTraits:
    """Nothing is told apart."""
    return ColumnTraits(
        steps=np.zeros((1, 0)),
        step_floors=np.zeros(0),
        separation=np.zeros((2, 0, 0)),
        sign_separation=np.zeros((2, 0)),
        rest_values=rests.values,
        rest_runs=rests.runs,
    )


def _separated(
    X: Floats,
    blocks: Sequence[Block],
    rests: Rests,
) -> ColumnTraits:
    whole = _Whole.of(X)
    costs = [whole.costs(X, block) for block in blocks]
    return ColumnTraits(
        steps=_thin(whole.steps.columns),
        step_floors=_step_floors(costs),
        separation=np.min([cost.separation for cost in costs], axis=0),
        sign_separation=np.min([cost.sign_separation for cost in costs], axis=0),
        rest_values=rests.values,
        rest_runs=rests.runs,
    )


@dataclass(frozen=True)
class _BlockCosts:
    """Costs of the columns of a block.

    all     [2, d, d]  at each place
    turned  [2, d]     at its own, with its sign turned
    steps   [d]        distances of its steps at its own
    """

    all: Floats
    turned: Floats
    steps: Floats

    @property
    def separation(self) -> Floats:
        return -gains_of_exchange(self.all)

    @property
    def sign_separation(self) -> Floats:
        own = np.diagonal(self.all, axis1=1, axis2=2)
        return self.turned - own


@dataclass(frozen=True)
class _Whole:
    """Values and steps of all rows, and which columns [d] vary."""

    values: _Distributions
    steps: _Distributions
    varies: Flags

    @classmethod
    def of(cls, X: Floats) -> _Whole:
        values = _Distributions.of(sorted_columns(X))
        steps = _Distributions.of(sorted_steps(X))
        return cls(values, steps, np.ptp(X, axis=0) > 0)

    def costs(self, X: Floats, block: Block) -> _BlockCosts:
        """Return the costs of a block against the rows outside it."""
        rows = X[block.rows]
        values = self.values.of_block(sorted_columns(rows))
        steps = self.steps.of_block(sorted_steps(rows))
        correlations = self._correlations(block)
        return _BlockCosts(
            all=sum_costs(values.all, steps.all, correlations.at_all()),
            turned=sum_costs(values.turned, steps.turned, correlations.turned()),
            steps=np.diag(steps.all),
        )

    def _correlations(self, block: Block) -> CorrelationCosts:
        return CorrelationCosts(
            block.correlation,
            block.rest_correlation,
            self.varies,
        )


@dataclass(frozen=True)
class _Distances:
    """Of the columns of a block: all [d, d] at each place, turned [d] at their own."""

    all: Floats
    turned: Floats


@dataclass(frozen=True)
class _Distributions:
    """Sorted columns [d] and their grid."""

    columns: list[Floats]
    grid: QuantileGrid

    @classmethod
    def of(cls, columns: list[Floats]) -> _Distributions:
        grid = QuantileGrid.of(columns)
        return cls(columns, grid)

    def of_block(self, block: list[Floats]) -> _Distances:
        """Distances of some of the values to all others."""
        outside = self._shares_outside(block)
        shares = self.grid.shares_of(block)
        turned = self.grid.own_shares_of(turned_columns(block))
        return _Distances(
            all=distances_between(shares, outside),
            turned=distances_between(turned, outside),
        )

    def _shares_outside(self, block: list[Floats]) -> Floats:
        """Shares [2, d, g] of the values that are not in the block."""
        inside = len(block[0])
        whole = len(self.columns[0])
        counts = whole * self.grid.shares
        counts_inside = inside * self.grid.own_shares_of(block)
        return (counts - counts_inside) / (whole - inside)


def _thin(columns: list[Floats]) -> Floats:
    """At most so many quantiles [k, d] of the sorted columns."""
    n = len(columns[0])
    ranks = np.linspace(
        0,
        n - 1,
        min(n, _MAX_STEPS),
    )
    whole = np.array(columns).T
    return whole[ranks.round().astype(int)]


def _step_floors(costs: list[_BlockCosts]) -> Floats:
    """Floors [d] of the distances of steps."""
    distances = np.array([cost.steps for cost in costs])
    largest = distances.max(axis=0)
    return np.maximum(_MIN_STEP_FLOOR, _STEP_MARGIN * largest)
