"""Ids that an output has lately got."""

from __future__ import annotations

from collections.abc import Iterable

from serve.stream.records import Id


class RecentIds:
    """The ids of the last `max_ids` to 2 x `max_ids` results: bounded memory, two generations."""

    def __init__(self, max_ids: int) -> None:
        self._max_ids = max_ids
        self._new = set[Id]()
        self._old = set[Id]()

    def __contains__(self, key: Id) -> bool:
        return key in self._new or key in self._old

    def add(self, keys: Iterable[Id]) -> None:
        self._new.update(keys)
        if len(self._new) > self._max_ids:
            self._turn()

    def _turn(self) -> None:
        """Forget the older generation."""
        self._old = self._new
        self._new = set()
