"""Which slot of the context belongs to which entity, and who makes room for a new one. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

EntityKey = str | None  # None: rows that name no entity are one stream
Slots = NDArray[np.intp]

_QUEUE_SHARE = 50  # of the slots this part is sorted at once, to find who is silent longest


class EntitySlots:
    """Slots 0 to `capacity` - 1, each of one entity; the one that is silent longest is evicted."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.evicted = 0
        self._slot_of: dict[EntityKey, int] = {}
        self._entity_of: list[EntityKey] = []
        self._heard = np.zeros(capacity, np.int64)  # when last, counted in rows
        self._rows = 0
        self._silent: deque[tuple[int, int]] = deque()  # (slot, when it was heard), longest first

    def __len__(self) -> int:
        return len(self._slot_of)

    def take(self, entities: Sequence[EntityKey]) -> tuple[Slots, list[int]]:
        """Return the slots [n] of at most `capacity` rows, and those slots that are new.

        Nobody who is heard in these rows makes room for another one of them.
        """
        slots = np.empty(len(entities), np.intp)
        fresh: list[int] = []
        for row, entity in enumerate(entities):
            slot = self._slot_of.get(entity)
            if slot is None:
                slot = self._place(entity)
                fresh.append(slot)
            self._rows += 1
            self._heard[slot] = self._rows
            slots[row] = slot
        return slots, fresh

    def _place(self, entity: EntityKey) -> int:
        if len(self._entity_of) < self.capacity:
            slot = len(self._entity_of)
            self._entity_of.append(entity)
        else:
            slot = self._evict()
            self._entity_of[slot] = entity
        self._slot_of[entity] = slot
        return slot

    def _evict(self) -> int:
        """Free the slot of the entity that is silent longest."""
        slot = self._longest_silent()
        del self._slot_of[self._entity_of[slot]]
        self.evicted += 1
        return slot

    def _longest_silent(self) -> int:
        while True:
            if not self._silent:
                self._queue_silent()
            slot, heard = self._silent.popleft()
            if self._heard[slot] == heard:  # else it was heard since, as all are who are not here
                return slot

    def _queue_silent(self) -> None:
        """Sort those who are silent longest: to do it for one at a time would look at all slots."""
        count = max(1, self.capacity // _QUEUE_SHARE)
        oldest = np.argpartition(self._heard, count - 1)[:count]
        in_order = oldest[np.argsort(self._heard[oldest])]
        heard = self._heard[in_order]
        self._silent.extend(
            zip(
                in_order.tolist(),
                heard.tolist(),
                strict=True,
            )
        )

    def by_silence(self) -> Iterator[tuple[EntityKey, int]]:
        """Yield entities and their slots, the one that is silent longest first."""
        used = len(self._entity_of)
        for slot in np.argsort(self._heard[:used]).tolist():
            yield self._entity_of[slot], slot
