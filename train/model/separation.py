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
    QuantileGrid,
    correlation_costs,
    distances_between,
    gains_of_exchange,
    own_correlation_costs,
    sorted_columns,
    sorted_steps,
    sum_costs,
    turned_columns,
)
from train.model.rests import Rests
from train.model.traits import ColumnTraits
from vigil.arrays import Floats

MAX_SEPARATED = 256  # columns: the work grows with the square
_MIN_BLOCKS = 3  # fewer do not show how alike two columns can be
_MAX_STEPS = 1024  # quantiles that are kept
_MIN_STEP_FLOOR = 0.08
_STEP_MARGIN = 1.2


def measure_traits(X: Floats, blocks: Sequence[Block]) -> ColumnTraits:
    """Return the traits of the columns of `X` [n, d], in time order, by blocks of it."""
    rests = Rests.of(X)
    is_separable = X.shape[1] <= MAX_SEPARATED and len(blocks) >= _MIN_BLOCKS
    separation = _measure(X, blocks) if is_separable else _no_separation()
    return ColumnTraits(
        steps=separation.steps,
        step_floors=separation.step_floors,
        separation=separation.exchanged,
        sign_separation=separation.turned,
        rest_values=rests.values,
        rest_runs=rests.runs,
    )


@dataclass(frozen=True)
class _Separation:
    """Parts of the traits that blocks tell."""

    steps: Floats
    step_floors: Floats
    exchanged: Floats
    turned: Floats


def _no_separation() -> _Separation:
    """Nothing is told apart."""
    return _Separation(
        steps=np.zeros((1, 0)),
        step_floors=np.zeros(0),
        exchanged=np.zeros((2, 0, 0)),
        turned=np.zeros((2, 0)),
    )


def _measure(X: Floats, blocks: Sequence[Block]) -> _Separation:
    whole = _Whole.of(X)
    costs = [whole.costs(X, block) for block in blocks]
    return _Separation(
        steps=_thin(whole.steps.columns),
        step_floors=_step_floors(np.array([cost.steps for cost in costs])),
        exchanged=np.min([-gains_of_exchange(cost.all) for cost in costs], axis=0),
        turned=np.min([cost.turned - cost.own for cost in costs], axis=0),
    )


@dataclass(frozen=True)
class _BlockCosts:
    """Costs of the columns of a block.

    all [2, d, d] at each place; turned [2, d] at its own with its sign turned; steps [d]: distances
    of its steps at its own
    """

    all: Floats
    turned: Floats
    steps: Floats

    @property
    def own(self) -> Floats:
        return np.diagonal(self.all, axis1=1, axis2=2)


@dataclass(frozen=True)
class _Whole:
    """Values and steps of all rows, and how many columns vary."""

    values: _Distributions
    steps: _Distributions
    varying: int

    @classmethod
    def of(cls, X: Floats) -> _Whole:
        varying = int((np.ptp(X, axis=0) > 0).sum())
        values = _Distributions.of(sorted_columns(X))
        return cls(values, _Distributions.of(sorted_steps(X)), varying)

    def costs(self, X: Floats, block: Block) -> _BlockCosts:
        """Return the costs of a block against the rows outside it."""
        rows = X[block.rows]
        values = self.values.of_block(sorted_columns(rows))
        steps = self.steps.of_block(sorted_steps(rows))
        rest = block.rest_correlation
        correlations = correlation_costs(block.correlation, rest, self.varying)
        turned = own_correlation_costs(-block.correlation, rest, self.varying)
        return _BlockCosts(
            all=sum_costs(values.all, steps.all, correlations),
            turned=sum_costs(values.turned, steps.turned, turned),
            steps=np.diag(steps.all),
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
        return cls(columns, QuantileGrid.of(columns))

    def of_block(self, block: list[Floats]) -> _Distances:
        """Distances of some of the values to all others."""
        outside = self._shares_outside(block)
        turned = self.grid.own_shares_of(turned_columns(block))
        return _Distances(
            all=distances_between(self.grid.shares_of(block), outside),
            turned=distances_between(turned, outside),
        )

    def _shares_outside(self, block: list[Floats]) -> Floats:
        """Shares [2, d, g] of the values that are not in the block."""
        inside = len(block[0])
        whole = len(self.columns[0])
        counts = self.grid.shares * whole - self.grid.own_shares_of(block) * inside
        return counts / (whole - inside)


def _thin(columns: list[Floats]) -> Floats:
    """At most so many quantiles [k, d] of the sorted columns."""
    n = len(columns[0])
    ranks = np.linspace(0, n - 1, min(n, _MAX_STEPS)).round().astype(int)
    return np.array(columns).T[ranks]


def _step_floors(distances: Floats) -> Floats:
    """Floors [d] by the distances [blocks, d]."""
    return np.maximum(_MIN_STEP_FLOOR, _STEP_MARGIN * distances.max(axis=0))
