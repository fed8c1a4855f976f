"""Rows of one request as one model has scored them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Flags, Floats


@dataclass(frozen=True)
class ScoredBatch:
    """Rows of the model [n, D] with their scores [n], of which those over `threshold` alert.

    warming [n]: which of them lack earlier rows that they need; None: none of them does. A row
    that is warming alerts nobody
    """

    rows: Floats
    scores: Floats
    threshold: float
    warming: Flags | None = None

    @cached_property
    def alerts(self) -> Flags:
        """Which rows [n] alert."""
        over = self.scores > self.threshold
        return over if self.warming is None else over & ~self.warming

    @property
    def labels(self) -> NDArray[np.int64]:
        """scikit-learn's label [n]: -1 of an alert, else 1."""
        return np.where(self.alerts, -1, 1)

    @property
    def warming_rows(self) -> list[bool]:
        """Which rows [n] are warming; empty where none is."""
        if self.warming is None or not self.warming.any():
            return []
        return self.warming.tolist()
