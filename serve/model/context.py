"""The recent rows of each entity, for models whose transform looks back in time."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

import numpy as np

from serve.stream.records import Id
from vigil.arrays import Floats
from vigil.json_types import JsonObject

Transform = Callable[
    [Floats, Floats], Floats
]  # (earlier rows [k, d] of the entity, its row [d]) -> the model's row


class EntityHistory:
    """The last `length` rows of at most `entities` entities.

    The one that was silent longest is forgotten first.
    """

    def __init__(
        self,
        transform: Transform,
        length: int,
        entities: int = 10_000,
    ) -> None:
        self._transform = transform
        self._length = length
        self._most = entities
        self._rows: OrderedDict[str, deque[list[float]]] = OrderedDict()

    def apply(self, entities: list[Id | None], X: Floats) -> Floats:
        """Each row with the earlier ones of its entity, through the transform.

        Records without an entity share one.
        """
        made = []
        for entity, row in zip(entities, X, strict=True):
            key = str(entity)
            past = self._rows.setdefault(key, deque(maxlen=self._length))
            self._rows.move_to_end(key)
            made.append(
                self._transform(np.array(past, np.float64).reshape(len(past), len(row)), row)
            )
            past.append(row.tolist())
            if len(self._rows) > self._most:
                self._rows.popitem(last=False)
        return np.array(made, np.float64)

    def state(self) -> JsonObject:
        """For the checkpoint: what comes after a restart sees the same past."""
        return {key: list(rows) for key, rows in self._rows.items()}

    def restore(self, state: JsonObject | None) -> None:
        for key, rows in (state or {}).items():
            self._rows[key] = deque(rows, self._length)
            self._rows.move_to_end(key)
