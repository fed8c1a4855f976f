"""A shard: the rows that a worker fits its trees on, of which it reads few."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vigil.arrays import Array, Positions, Singles


@dataclass(frozen=True)
class Shard:
    """Rows of a table, float32 where they are read, as scikit-learn has them.

    X [m, d]: the table; places [n]: of the shard's rows in it, None: all, in order
    """

    X: Array
    places: Positions | None = None

    def __len__(self) -> int:
        return len(self.X) if self.places is None else len(self.places)

    @property
    def width(self) -> int:
        """How many columns the table has: d."""
        return self.X.shape[1]

    def rows(self, numbers: Positions) -> Singles:
        """Return the rows [k, d] of these numbers in the shard."""
        places = numbers if self.places is None else self.places[numbers]
        return self.X[places].astype(np.float32, copy=False)

    def columns(self, numbers: Positions) -> Singles:
        """Return the columns [n, k] of these numbers, of all rows."""
        places = slice(None) if self.places is None else self.places
        columns = self.X[:, numbers]
        return columns[places].astype(np.float32, copy=False)
