"""Rows of one request as one model has scored them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from train.model.threshold import alerting
from vigil.arrays import Flags, Floats


@dataclass(slots=True)
class ScoredBatch:
    """Rows of the model [n, D] with their scores [n], of which those over `threshold` alert.

    limits [n]: thresholds of their entities, over which they alert instead; None: they have none
    warming [n]: which of them lack earlier rows that they need; None: none of them does. A row
    that is warming alerts nobody; alerts [n]: which rows do
    """

    rows: Floats
    scores: Floats
    threshold: float
    warming: Flags | None = None
    limits: Floats | None = None
    alerts: Flags = field(init=False)

    def __post_init__(self) -> None:
        self.alerts = alerting(self.scores, self.threshold, self.limits)
        if self.warming is not None:
            self.alerts = self.alerts & ~self.warming

    def with_limits(self, limits: Floats) -> ScoredBatch:
        """Return the same rows with a threshold [n] for each."""
        return ScoredBatch(
            self.rows,
            self.scores,
            self.threshold,
            self.warming,
            limits=limits,
        )

    @property
    def teaches(self) -> Flags:
        """Which rows [n] say something of their entity."""
        if self.warming is None:
            return np.ones(len(self.scores), bool)
        return ~self.warming

    @property
    def labels(self) -> NDArray[np.int64]:
        """scikit-learn's label [n]: -1 of an alert, else 1."""
        return np.where(self.alerts, -1, 1)

    @property
    def thresholds(self) -> Floats:
        """The threshold [n] of each row."""
        if self.limits is None:
            return np.full(len(self.scores), self.threshold)
        return self.limits

    @property
    def warming_rows(self) -> list[bool]:
        """Which rows [n] are warming; empty where none is."""
        if self.warming is None or not self.warming.any():
            return []
        return self.warming.tolist()
