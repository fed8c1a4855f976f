"""Bounds of the context that is kept of entities. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from serve.settings import ServeSettings

_VALUE_BYTES = 8


@dataclass(frozen=True)
class ContextLimits:
    """Bounds of a store.

    entities: of which rows are kept; max_bytes: that the rows take; margin_rows: kept beyond those
    that the transform needs, where memory allows, for late rows and for the next transform;
    late_s: how much older than the last row of its entity one may be to be sorted in; ahead_s: how
    far in the future a time may be; restart_rows: so many rows in a row that are too late are the
    entity's present: its clock went back
    """

    entities: int = 100_000
    max_bytes: int = 512 * 2**20
    margin_rows: int = 64
    late_s: float = 60.0
    ahead_s: float = 300.0
    restart_rows: int = 16

    @classmethod
    def of(
        cls,
        settings: ServeSettings,
        shards: int = 1,
    ) -> ContextLimits:
        """Return the bounds of one of so many stores that share the entities."""
        return cls(
            entities=-(-settings.context_entities // shards),
            max_bytes=settings.context_mb * 2**20 // shards,
            late_s=settings.context_late_s,
        )

    def depth(
        self,
        width: int,
        length: int,
    ) -> int:
        """Return how many rows of `width` values an entity keeps, where `length` are needed."""
        bytes_of_row = (width + 1) * _VALUE_BYTES
        affordable = self.max_bytes // (bytes_of_row * self.entities)
        return max(length + 1, min(affordable, length + 1 + self.margin_rows))

    def slots(
        self,
        width: int,
        depth: int,
    ) -> int:
        """Return how many entities fit."""
        bytes_of_entity = (width + 1) * _VALUE_BYTES * depth
        return max(1, min(self.entities, self.max_bytes // bytes_of_entity))
