"""Whether a feature is the label under another name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from train.table.table import Table
from vigil.arrays import Flags, Floats


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
            is_labelled = rows.labels == label
            self._widen(label, rows.X[is_labelled])

    def _widen(self, label: int, X: Floats) -> None:
        if not len(X):
            return
        smallest, largest = self.values[label]
        self.values[label] = (
            np.fmin(smallest, X.min(axis=0)),
            np.fmax(largest, X.max(axis=0)),
        )

    def merged(self, other: ClassExtremes) -> ClassExtremes:
        """Return the extremes over both."""
        return ClassExtremes(_wider(self.values, other.values))

    def leaking_column(self) -> int | None:
        """Return a column with one value for all anomalies and another for all other rows."""
        is_leak = self._have_one_value() & self._differ()
        leaks = np.flatnonzero(is_leak).tolist()
        return leaks[0] if leaks else None

    def _have_one_value(self) -> Flags:
        """Columns with one value in each class."""
        smallest, largest = np.moveaxis(self.values, 1, 0)
        return (smallest == largest).all(axis=0)

    def _differ(self) -> Flags:
        """Columns with another smallest value in each class."""
        normal, anomalous = self.values[:, 0]
        return normal != anomalous


def _wider(extremes: Floats, others: Floats) -> Floats:
    """Extremes [.., 2, d] over both."""
    smallest, largest = np.moveaxis(np.stack([extremes, others]), -2, 0)
    return np.stack([np.fmin.reduce(smallest), np.fmax.reduce(largest)], axis=-2)
