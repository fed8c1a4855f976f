"""Columns as scikit-learn should see them for the fit, and trees as the table has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from train.model.distances import spaced_places
from train.model.shard import Shard
from vigil.arrays import Integers, Positions, Singles

_MIN_RANGE = 1e-3  # of a column's values; narrower ones are fitted in another unit
_FIRST_ROWS = 1000  # that are read of all columns


def _ranges(shard: Shard) -> Singles:
    """Ranges of the columns [d]: of a wide one, as far as some of the rows tell."""
    some = shard.rows(spaced_places(len(shard), _FIRST_ROWS))
    ranges = np.ptp(some, axis=0)
    is_wide = ranges >= _MIN_RANGE
    others = np.flatnonzero(~is_wide)
    if others.size:
        ranges[others] = np.ptp(shard.columns(others), axis=0)
    return ranges


def _exponents(ranges: Singles) -> Integers:
    """Powers of two of the narrow ranges [d]; 0 for the others."""
    is_narrow = (ranges > 0) & (ranges < _MIN_RANGE)
    _, powers = np.frexp(ranges)
    return np.where(is_narrow, powers, 0).astype(np.int32)


def _in_order_of_names(numbers: Positions, names: Sequence[str]) -> Positions:
    """The numbers of columns in the order of their names: as they are where there are no names."""
    if not names:
        return numbers
    return np.array(sorted(numbers.tolist(), key=names.__getitem__), np.intp)


@dataclass(frozen=True)
class FitColumns:
    """The columns of a table that a forest is fitted on, and the unit of each.

    numbers [k]: of the columns that vary, or of all, in the order in which they are fitted;
    exponents [d]: powers of two by which columns are divided, 0 for most; count: d

    scikit-learn takes a column for constant whose values lie within 1e-7. Powers of two change no
    digit, so that the trees are those of the same column in another unit. A constant column changes
    its random draws, and with them every tree: it is left out. So does the order of the columns:
    they are fitted in that of their names. It must not come of their values: two forests of one
    seed would then differ by chance as those of two seeds do, and a gate that compares a new
    version with its champion would refuse equal ones more often.
    """

    numbers: Positions
    exponents: Integers
    count: int

    @classmethod
    def of(
        cls,
        shard: Shard,
        names: Sequence[str] = (),
        *,
        may_leave_out: bool,
    ) -> FitColumns:
        """Return those of the shard [n, d]; without names they are in the order of the table."""
        count = shard.width
        ranges = _ranges(shard)
        is_chosen = may_leave_out and ranges.any()
        chosen = np.flatnonzero(ranges) if is_chosen else np.arange(count)
        return cls(_in_order_of_names(chosen, names), _exponents(ranges), count)

    def take(self, X: Singles) -> Singles:
        """Return the rows to fit on [n, k]: `X` itself where it has them so already."""
        scaled = np.ldexp(X, -self.exponents) if self.exponents.any() else X
        if self._are_as_in_table():
            return scaled
        return scaled[:, self.numbers]

    def _are_as_in_table(self) -> bool:
        return np.array_equal(self.numbers, np.arange(self.count))

    def restore(self, forest: Any) -> None:
        """Make a forest of these columns one of the table."""
        every = np.arange(self.count)
        sees_all = forest._max_features == len(self.numbers)
        for index, member in enumerate(forest.estimators_):
            seen = self.numbers[forest.estimators_features_[index]]
            member.tree_ = self._restored(member.tree_, seen, numbers_of_table=sees_all)
            member.n_features_in_ = self.count if sees_all else len(seen)
            forest.estimators_features_[index] = every if sees_all else seen
        forest.n_features_in_ = self.count
        if sees_all:
            forest._max_features = self.count

    def _restored(
        self,
        tree: Any,
        seen: Positions,
        *,
        numbers_of_table: bool,
    ) -> Any:
        """The tree with thresholds in the table's units.

        `seen` are the columns that it was fitted on. It names them by the numbers of the table, or
        by those of `seen`.
        """
        kind, (features, *shape), state = tree.__reduce__()
        nodes = state["nodes"].copy()
        is_split = nodes["feature"] >= 0
        numbers = seen[nodes["feature"][is_split]]
        thresholds = nodes["threshold"][is_split]
        exponents = self.exponents[numbers]
        nodes["threshold"][is_split] = np.ldexp(thresholds, exponents)
        if numbers_of_table:
            nodes["feature"][is_split] = numbers
            features = self.count
        restored = kind(features, *shape)
        restored.__setstate__({**state, "nodes": nodes})
        return restored
