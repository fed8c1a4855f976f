"""Scores that came last of entities with thresholds of their own, for a shard that is lost."""

from __future__ import annotations

import threading
from collections import deque
from itertools import chain
from typing import NamedTuple

import numpy as np

from serve.model.report import CapturedRows
from train.model.threshold import Threshold
from vigil.arrays import Floats

MAX_MARGINS = 200_000


class EntityMargins(NamedTuple):
    """How far the scores [n] of rows were over the threshold of the model, and whose they are [n].

    width, rate: of the rule by which thresholds of entities follow. It travels to another process
    as it is, as serve/model/threshold_store.py has it.
    """

    entities: list[str]
    margins: Floats
    width: float
    rate: float


class RecentMargins:
    """The last scores of the entities of one version, in the order in which they came."""

    def __init__(self, max_rows: int = MAX_MARGINS) -> None:
        self._max_rows = max_rows
        self._batches: deque[tuple[list[str], Floats]] = deque()
        self._rows = 0
        self._lock = threading.Lock()  # rows come and are asked for in different threads

    def take(self, batch: CapturedRows) -> None:
        """Remember the scores of a batch; only entities with thresholds of their own have any."""
        entities = None if batch.context is None else batch.context.entities
        if batch.limits is None or batch.threshold is None or entities is None:
            return
        with self._lock:
            self._batches.append((entities, batch.scores - batch.threshold))
            self._rows += len(entities)
            while self._rows > self._max_rows and len(self._batches) > 1:
                self._rows -= len(self._batches.popleft()[0])

    def of(self, threshold: Threshold | None) -> EntityMargins | None:
        """Return what is remembered, for thresholds that follow as those of this model do.

        None where it has none.
        """
        if threshold is None or not threshold.entity_width:
            return None
        with self._lock:
            batches = list(self._batches)
        entities = list(chain.from_iterable(names for names, _ in batches))
        margins = np.concatenate([np.empty(0), *(margins for _, margins in batches)])
        return EntityMargins(
            entities,
            margins,
            threshold.entity_width,
            threshold.expected_rate,
        )
