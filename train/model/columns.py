"""Columns as scikit-learn should see them for the fit, and trees as the table has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vigil.arrays import Integers, Positions, Singles

_MIN_RANGE = 1e-3  # of a column's values; narrower ones are fitted in another unit


def _exponents(ranges: Singles) -> Integers:
    """Powers of two of the narrow ranges [d]; 0 for the others."""
    is_narrow = (ranges > 0) & (ranges < _MIN_RANGE)
    _, powers = np.frexp(ranges)
    return np.where(is_narrow, powers, 0).astype(np.int32)


@dataclass(frozen=True)
class FitColumns:
    """The columns of a table that a forest is fitted on, and the unit of each.

    numbers [k]: of the columns that vary, or of all; exponents [d]: powers of two by which columns
    are divided, 0 for most; count: d

    scikit-learn takes a column for constant whose values lie within 1e-7. Powers of two change no
    digit, so that the trees are those of the same column in another unit. A constant column changes
    its random draws, and with them every tree: it is left out.
    """

    numbers: Positions
    exponents: Integers
    count: int

    @classmethod
    def of(cls, X: Singles, *, may_leave_out: bool) -> FitColumns:
        """Return those of the rows `X` [n, d]."""
        _, count = X.shape
        ranges = np.ptp(X, axis=0)
        varying = np.flatnonzero(ranges > 0)
        is_chosen = may_leave_out and len(varying) > 0
        numbers = varying if is_chosen else np.arange(count)
        return cls(numbers, _exponents(ranges), count)

    @property
    def are_plain(self) -> bool:
        """Whether they are all columns of the table, as it has them."""
        is_whole = len(self.numbers) == self.count
        return is_whole and not self.exponents.any()

    def take(self, X: Singles) -> Singles:
        """Return the rows to fit on [n, k]."""
        if self.are_plain:
            return X
        scaled = np.ldexp(X, -self.exponents)
        return scaled[:, self.numbers]

    def restore(self, forest: Any) -> None:
        """Make a forest of these columns one of the table."""
        if self.are_plain:
            return
        members = zip(forest.estimators_, forest.estimators_features_, strict=True)
        for member, columns in members:
            member.tree_ = self._restored(member.tree_, columns)
            member.n_features_in_ = self.count if self._has_left_out else len(columns)
        if self._has_left_out:
            self._widen(forest)

    def _widen(self, forest: Any) -> None:
        """Let a forest take all columns of the table."""
        every = np.arange(self.count)
        forest.n_features_in_ = self.count
        forest._max_features = self.count
        forest.estimators_features_ = [every] * len(forest.estimators_)

    @property
    def _has_left_out(self) -> bool:
        return len(self.numbers) < self.count

    def _restored(self, tree: Any, columns: Positions) -> Any:
        """The tree with thresholds in the table's units, and its numbers of columns."""
        kind, (features, *shape), state = tree.__reduce__()
        nodes = state["nodes"].copy()
        is_split = nodes["feature"] >= 0
        seen = columns[nodes["feature"][is_split]]
        numbers = self.numbers[seen]
        thresholds = nodes["threshold"][is_split]
        exponents = self.exponents[numbers]
        nodes["threshold"][is_split] = np.ldexp(thresholds, exponents)
        if self._has_left_out:
            nodes["feature"][is_split] = numbers
            features = self.count
        restored = kind(features, *shape)
        restored.__setstate__({**state, "nodes": nodes})
        return restored
