"""Where a feature rests, and how long: what a stuck sensor is told from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vigil.arrays import Floats

KEPT_RESTS = 3  # values that are kept of each feature


@dataclass(frozen=True)
class Rests:
    """The values at which each of d features rests longest, the longest first.

    values [d, 3]
    runs   [d, 3]: most rows in sequence at each, 0 where there are not so many
    """

    values: Floats
    runs: Floats

    @classmethod
    def of(cls, X: Floats) -> Rests:
        """Return those of the rows `X` [n, d], in time order."""
        runs = [_Runs.of(column) for column in X.T]
        return _longest_of(runs)

    def longest(
        self,
        j: int,
        value: float,
        *,
        is_known: bool,
    ) -> float:
        """Return how many rows feature `j` may keep a value, as far as the reference tells.

        One that the reference has (`is_known`) it has not kept for longer than the last that is
        here. Of another nothing is told but how long the feature has rested elsewhere.
        """
        runs = self.runs[j]
        is_here = self.values[j] == value
        at_value = runs[is_here].max(initial=0)
        if at_value > 0:
            return float(at_value)
        return float(runs[-1] if is_known else runs[0])

    def joined(self, other: Rests) -> Rests:
        """Return those of both, on the same features."""
        features = range(len(self.values))
        return _longest_of([self._runs_with(other, j) for j in features])

    def _runs_with(self, other: Rests, j: int) -> _Runs:
        values = np.concatenate([self.values[j], other.values[j]])
        rows = np.concatenate([self.runs[j], other.runs[j]])
        return _Runs(values, rows)


@dataclass(frozen=True)
class _Runs:
    """Values of one feature, and for how many rows in sequence it kept them."""

    values: Floats
    rows: Floats

    @classmethod
    def of(cls, column: Floats) -> _Runs:
        changes = np.flatnonzero(np.diff(column)) + 1
        ends = np.append(changes, len(column))
        starts = np.insert(changes, 0, 0)
        rows = np.asarray(ends - starts, np.float64)
        return cls(column[starts], rows)

    def distinct(self) -> _Runs:
        """Each value once, with its longest run."""
        values, which = np.unique(self.values, return_inverse=True)
        longest = np.zeros(len(values))
        np.maximum.at(longest, which, self.rows)
        return _Runs(values, longest)

    def longest(self) -> _Runs:
        """The values with the longest runs; 0 where there are not so many."""
        distinct = self.distinct()
        order = np.argsort(-distinct.rows, kind="stable")
        kept = order[:KEPT_RESTS]
        values = _padded(distinct.values[kept])
        rows = _padded(distinct.rows[kept])
        return _Runs(values, rows)


def _longest_of(runs: list[_Runs]) -> Rests:
    kept = [of_feature.longest() for of_feature in runs]
    values = [of_feature.values for of_feature in kept]
    rows = [of_feature.rows for of_feature in kept]
    return Rests(np.array(values), np.array(rows))


def _padded(values: Floats) -> Floats:
    padded = np.zeros(KEPT_RESTS)
    padded[: len(values)] = values
    return padded
