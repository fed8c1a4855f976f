"""Whether a feature is the label under another name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.table.table import Table
from vigil.arrays import Floats


@dataclass
class ClassExtremes:
    """Smallest and largest value of each column, of normal and of anomalous rows: [2, 2, d].

    They are infinite where a class has no row.
    """

    values: Floats

    @classmethod
    def of_columns(cls, columns: int) -> ClassExtremes:
        """Those of no rows."""
        none = [[np.inf], [-np.inf]]
        return cls(np.full((2, 2, columns), none))

    def add(self, rows: Table) -> None:
        """Take in labelled rows."""
        assert rows.labels is not None
        for label in (0, 1):
            X = rows.X[rows.labels == label]
            if len(X):
                extremes = np.stack([X.min(axis=0), X.max(axis=0)])
                self.values[label] = _wider(self.values[label], extremes)

    def merged(self, other: ClassExtremes) -> ClassExtremes:
        """Return the extremes over both."""
        return ClassExtremes(_wider(self.values, other.values))

    def leaking_column(self) -> int | None:
        """Return a column with one value for all anomalies and another for all other rows."""
        smallest = self.values[:, 0]
        largest = self.values[:, 1]
        has_one_value = (smallest == largest).all(axis=0)
        leaks = has_one_value & (smallest[0] != smallest[1])
        return int(np.argmax(leaks)) if leaks.any() else None


def _wider(extremes: Floats, others: Floats) -> Floats:
    """Extremes [.., 2, d] over both."""
    smallest = np.fmin(extremes[..., 0, :], others[..., 0, :])
    largest = np.fmax(extremes[..., 1, :], others[..., 1, :])
    return np.stack([smallest, largest], axis=-2)
