"""Context kept of each entity: its last rows, and what follows from them for the next. Pure.

From raw rows, and whose they are and of when, to the rows of the model: a row is transformed in the
light of the earlier ones of its entity, as in training. Bounded: of more entities than there is
room for, the one that is silent longest is evicted, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from serve.model.context_batch import (
    ContextCounts,
    LiftedRows,
    LiftingBatch,
    joined_rows,
    rounds_of,
    slices_of,
)
from serve.model.context_heads import TransformHead
from serve.model.context_lifter import RowLifter
from serve.model.context_limits import ContextLimits
from serve.model.context_rings import RowRings
from serve.model.context_slots import EntityKey, EntitySlots, Slots
from serve.model.context_state import KeptContext
from train.table.transform.feature_transform import FeatureTransform
from vigil.arrays import Floats

_MAX_HEADS = 4


class ContextStore:
    """The last rows of entities, each `width` values, for transforms that look back on `length`."""

    def __init__(
        self,
        width: int,
        length: int,
        limits: ContextLimits,
        counts: ContextCounts | None = None,
        *,
        run_rows: int = 32,
    ) -> None:
        """`run_rows`: so many rows of one entity in a batch are transformed in one go."""
        self.width = width
        self.length = length
        self.limits = limits
        self.counts = counts or ContextCounts()
        self.depth = limits.depth(width, length)
        self._capacity = limits.slots(width, self.depth)
        self._slots = EntitySlots(self._capacity)
        self._rings = RowRings(
            self._capacity,
            self.depth,
            width,
        )
        self._heads: dict[str, TransformHead] = {}
        self._lifter = RowLifter(
            self._rings,
            self._heads,
            limits,
            counts=self.counts,
            slots=self._capacity,
        )
        self._run_rows = run_rows

    def __len__(self) -> int:
        return len(self._slots)

    def knows(self, key: str) -> bool:
        """Return whether rows can be made for the transform of this key."""
        return key in self._heads

    def learn(
        self,
        key: str,
        transform: FeatureTransform,
    ) -> None:
        """Make rows for this transform too, which looks back on at most `depth` - 1 rows."""
        self._heads[key] = TransformHead(
            transform,
            self._rings,
            self._capacity,
        )
        while len(self._heads) > _MAX_HEADS:
            del self._heads[next(iter(self._heads))]

    def lift(
        self,
        keys: Sequence[str],
        rows: Floats,
        entities: Sequence[EntityKey],
        times: Floats,
        now: float,
    ) -> list[LiftedRows]:
        """Return the rows of each of the transforms, which `learn` was given under these keys.

        rows [n, d]: raw, in the order in which they came; entities [n]: None for no entity;
        times [n]: Unix seconds, NaN for none: behind the last row of its entity; now: Unix seconds
        """
        heads = [self._heads[key] for key in keys]
        latest = now + self.limits.ahead_s
        at = np.where(
            times > latest,
            now,
            times,
        )
        parts = [
            self._lift_part(
                heads,
                rows[part],
                entities[part],
                at[part],
            )
            for part in slices_of(len(rows), self._capacity)
        ]
        lifted = [joined_rows(list(of_head)) for of_head in zip(*parts, strict=True)]
        self.counts.warming += int(lifted[0].warming.sum()) if lifted else 0
        return lifted

    def _lift_part(
        self,
        heads: list[TransformHead],
        X: Floats,
        entities: Sequence[EntityKey],
        times: Floats,
    ) -> list[LiftedRows]:
        slots = self._slots_of(entities)
        batch = LiftingBatch.of(
            X,
            times,
            slots,
            heads,
        )
        for rows in rounds_of(slots, self._run_rows):
            self._lifter.lift(batch, rows)
        return batch.made

    def _slots_of(self, entities: Sequence[EntityKey]) -> Slots:
        """The slots [n] of the entities; those that are new begin with nothing."""
        evicted = self._slots.evicted
        slots, fresh = self._slots.take(entities)
        self.counts.evicted += self._slots.evicted - evicted
        self._lifter.forget(fresh)
        return slots

    def kept(
        self,
        key: str,
        margin_rows: int | None = None,
    ) -> KeptContext:
        """Return what is kept, with what is carried under one transform, for `restore`.

        margin_rows: of each entity at most so many beyond those that the transform needs; None: all
        """
        head = self._heads[key]
        most = self.depth
        if margin_rows is not None:
            most = min(most, max(1, head.transform.length + margin_rows))
        pairs = list(self._slots.by_silence())
        slots = np.array([slot for _, slot in pairs], np.intp)
        return KeptContext.collect(
            [entity for entity, _ in pairs],
            [self._rings.kept(slot).last(most) for slot in slots.tolist()],
            self._lifter.seen[slots],
            key=key,
            carried=head.carried(slots),
            width=self.width,
        )

    def hand_over(self, other: ContextStore) -> None:
        """Have another store go on from what is kept here."""
        for key, head in self._heads.items():
            other.learn(key, head.transform)
        last = next(reversed(self._heads))
        other.restore(self.kept(last))

    def restore(self, kept: KeptContext) -> None:
        """Take up what another store had kept; of too many entities the last heard stay."""
        head = self._heads.get(kept.key)
        has_carried = head is not None and head.carries(kept.carried.shape[1])
        for i, (entity, rows) in enumerate(kept.by_entity()):
            slots = self._slots_of([entity])
            self._rings.replace(int(slots[0]), rows)
            self._lifter.seen[slots] = kept.seen[i]
            if head is not None and has_carried:
                head.keep(slots, kept.carried[i])
