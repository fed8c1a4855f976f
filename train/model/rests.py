"""Where a feature rests, and how long: what a stuck sensor is told from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vigil.arrays import Floats

KEPT_RESTS = 3  # values that are kept of each feature


@dataclass(frozen=True)
class Rests:
    """The values at which each of d features rests longest, the longest first.

    values [d, 3]; runs [d, 3]: most rows in sequence at each, 0 where there are not so many
    """

    values: Floats
    runs: Floats

    @classmethod
    def of(cls, X: Floats) -> Rests:
        """Return those of the rows `X` [n, d], in time order."""
        found = [_longest(*_runs(column)) for column in X.T]
        return cls(*np.array(found).transpose(1, 0, 2))

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
        is_value = (self.values[j] == value) & (self.runs[j] > 0)
        if is_value.any():
            return float(self.runs[j][is_value].max())
        return float(self.runs[j, -1 if is_known else 0])

    def joined(self, other: Rests) -> Rests:
        """Return those of both, on the same features."""
        values = np.concatenate([self.values, other.values], axis=1)
        runs = np.concatenate([self.runs, other.runs], axis=1)
        found = [_longest(*of_one) for of_one in zip(values, runs, strict=True)]
        return Rests(*np.array(found).transpose(1, 0, 2))


def _runs(column: Floats) -> tuple[Floats, Floats]:
    """Values of a column and how many rows each stood, in sequence."""
    changes = np.concatenate([[True], np.diff(column) != 0, [True]])
    starts = np.flatnonzero(changes)
    return column[starts[:-1]], np.diff(starts).astype(np.float64)


def _longest(values: Floats, runs: Floats) -> Floats:
    """The values [3] with the longest runs, and those [3]."""
    distinct, which = np.unique(values, return_inverse=True)
    longest = np.zeros(len(distinct))
    np.maximum.at(longest, which, runs)
    order = np.argsort(-longest, kind="stable")[:KEPT_RESTS]
    found = np.zeros((2, KEPT_RESTS))
    found[:, : len(order)] = distinct[order], longest[order]
    return found
