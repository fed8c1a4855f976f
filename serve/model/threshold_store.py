"""Thresholds of entities that are kept: bounded, the one that is silent longest goes. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from serve.model.context_slots import EntityKey, EntitySlots, Slots
from train.model.entity_threshold import STATE_WIDTH, EntityThresholdRule
from vigil.arrays import Floats

MAX_UNTOLD = 1000  # requests
MAX_KEPT_THRESHOLDS = 100_000  # of a shard; one that has made room begins anew


PlainMargins = tuple[list[str], Floats, float, float]


class ToldMargins(NamedTuple):
    """How far the scores [n] of rows were over the model's threshold, and whose rows they are [n].

    width, rate: of the rule of the model that gave them. It travels to another process as it is.
    """

    entities: list[str]
    margins: Floats
    width: float
    rate: float

    def where(self, rows: Sequence[int]) -> ToldMargins:
        """Return what is told of the rows of these numbers."""
        entities = [self.entities[row] for row in rows]
        return self._replace(entities=entities, margins=self.margins[list(rows)])


class UntoldMargins:
    """What a shard is to be told when it is asked next: bounded, the oldest go."""

    def __init__(self, most: int = MAX_UNTOLD) -> None:
        self._waiting: deque[ToldMargins] = deque(maxlen=most)

    def add(self, told: ToldMargins) -> None:
        self._waiting.append(told)

    def take(self) -> list[PlainMargins]:
        """Return all, oldest first, as plain values; they are told no second time."""
        taken = [(each.entities, each.margins, each.width, each.rate) for each in self._waiting]
        self._waiting.clear()
        return taken


class ThresholdStore:
    """What is known of the thresholds of the entities of one shard."""

    def __init__(self, capacity: int = MAX_KEPT_THRESHOLDS) -> None:
        self._slots = EntitySlots(capacity)
        self._state = np.zeros((capacity, STATE_WIDTH))

    def __len__(self) -> int:
        return len(self._slots)

    def learn(self, told: ToldMargins) -> None:
        """Take in scores, in the order in which they were given."""
        rule = EntityThresholdRule(told.width, told.rate)
        for part in self._parts(len(told.entities)):
            slots = self._slots_of(told.entities[part])
            rule.follow(told.margins[part], slots, self._state)

    def states(self, entities: Sequence[EntityKey]) -> Floats:
        """Return what is known of the entities [n, 2], zeros of one that is new."""
        found = [self._state[self._slots_of(entities[part])] for part in self._parts(len(entities))]
        return np.concatenate([np.empty((0, STATE_WIDTH)), *found])

    def _parts(self, rows: int) -> list[slice]:
        capacity = self._slots.capacity
        return [slice(begin, begin + capacity) for begin in range(0, rows, capacity)]

    def _slots_of(self, entities: Sequence[EntityKey]) -> Slots:
        slots, fresh = self._slots.take(entities)
        self._state[fresh] = 0.0
        return slots
