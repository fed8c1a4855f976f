"""Context kept of each entity: its last rows, and what follows from them for the next. Pure.

From raw rows, and whose they are and of when, to the rows of the model: a row is transformed in the
light of the earlier ones of its entity, as in training. Bounded: of more entities than there is
room for, the one that is silent longest is evicted, and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from serve.model.context_heads import TransformHead
from serve.model.context_limits import ContextLimits
from serve.model.context_rings import BEFORE_ALL, KeptRows, RowRings
from serve.model.context_slots import EntityKey, EntitySlots, Slots
from serve.model.context_state import KeptContext
from train.table.transform.feature_transform import FeatureTransform
from vigil.arrays import Flags, Floats

_MAX_HEADS = 4


@dataclass
class ContextCounts:
    """What happened to rows since the start.

    repeated: came before, with the same time and values; late: sorted in behind their time;
    too_late: older than the bound, and kept nowhere; restarted: entities whose clock went back
    """

    evicted: int = 0
    repeated: int = 0
    late: int = 0
    too_late: int = 0
    restarted: int = 0
    warming: int = 0

    def take(self) -> ContextCounts:
        """Return what was counted since the last call."""
        taken = replace(self)
        vars(self).update(vars(ContextCounts()))
        return taken


@dataclass(frozen=True)
class LiftedRows:
    """Rows of a model [n, D], and whether each lacks earlier rows that it needs [n]."""

    rows: Floats
    warming: Flags


@dataclass(frozen=True)
class _Batch:
    """Rows [n, d] in their slots [n], their times [n] (NaN: none), and what is made of them."""

    X: Floats
    times: Floats
    slots: Slots
    heads: list[TransformHead]
    made: list[LiftedRows] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        X: Floats,
        times: Floats,
        slots: Slots,
        heads: list[TransformHead],
    ) -> _Batch:
        batch = cls(X, times, slots, heads)
        for head in heads:
            rows = np.empty((len(X), len(head.transform.outputs)))
            batch.made.append(LiftedRows(rows, np.zeros(len(X), bool)))
        return batch


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
        self._rings = RowRings(self._capacity, self.depth, width)
        self._seen = np.zeros(self._capacity, np.int64)  # rows of the entity that were kept
        self._late_run = np.zeros(self._capacity, np.int32)  # rows too late, one after the other
        self._heads: dict[str, TransformHead] = {}
        self._run_rows = run_rows

    def __len__(self) -> int:
        return len(self._slots)

    def knows(self, key: str) -> bool:
        """Return whether rows can be made for the transform of this key."""
        return key in self._heads

    def learn(self, key: str, transform: FeatureTransform) -> None:
        """Make rows for this transform too, which looks back on at most `depth` - 1 rows."""
        self._heads[key] = TransformHead(transform, self._rings, self._capacity)
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
        at = np.where(times > latest, now, times)
        parts = [
            self._lift_part(heads, rows[part], entities[part], at[part])
            for part in _slices(len(rows), self._capacity)
        ]
        lifted = [_joined(list(of_head)) for of_head in zip(*parts, strict=True)]
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
        batch = _Batch.of(X, times, slots, heads)
        for rows in _rounds(slots, self._run_rows):
            self._lift_round(batch, rows)
        return batch.made

    def _slots_of(self, entities: Sequence[EntityKey]) -> Slots:
        """The slots [n] of the entities; those that are new begin with nothing."""
        evicted = self._slots.evicted
        slots, fresh = self._slots.take(entities)
        self.counts.evicted += self._slots.evicted - evicted
        self._forget(fresh)
        return slots

    def _forget(self, slots: list[int]) -> None:
        self._rings.clear(slots)
        self._seen[slots] = 0
        self._late_run[slots] = 0
        for head in self._heads.values():
            head.forget(slots)

    def _lift_round(self, batch: _Batch, rows: Slots) -> None:
        """Make rows that are each of another slot, or a run of rows of one slot."""
        is_run = len(rows) > 1 and batch.slots[rows[0]] == batch.slots[rows[-1]]
        if not is_run:
            self._lift_each(batch, rows)
        elif self._is_in_order(batch, rows):
            self._lift_run(batch, rows)
        else:
            for row in rows:
                self._lift_each(batch, np.array([row]))

    def _lift_each(self, batch: _Batch, rows: Slots) -> None:
        times = batch.times[rows]
        last = self._rings.last_times(batch.slots[rows])
        is_next = np.isnan(times) | (times > last)
        if is_next.any():
            self._append(batch, rows[is_next], last[is_next])
        for row in rows[~is_next].tolist():
            self._sort_in(batch, row)

    def _append(
        self,
        batch: _Batch,
        rows: Slots,
        last: Floats,
    ) -> None:
        """Keep rows behind the last ones of their slots, and make them."""
        slots = batch.slots[rows]
        times = batch.times[rows]
        carried = [head.carried(slots) for head in batch.heads]
        before = self._rings.counts[slots].astype(np.intp)
        self._rings.append(slots, batch.X[rows], np.where(np.isnan(times), last, times))
        length = max(head.transform.length for head in batch.heads)
        windows = self._rings.windows(slots, length + 1)
        seen = self._seen[slots]
        for head, made, known in zip(batch.heads, batch.made, carried, strict=True):
            made.rows[rows], after = head.latest(windows, before + 1, times, carried=known)
            head.keep(slots, after)
            made.warming[rows] = head.is_warming(before, seen)
        self._note_kept(slots)

    def _note_kept(self, slots: Slots) -> None:
        self._seen[slots] += 1
        self._late_run[slots] = 0

    def _sort_in(self, batch: _Batch, row: int) -> None:
        """Make a row that is not of later than the last one of its slot."""
        slot = batch.slots[row]
        kept = self._rings.kept(int(slot))
        at = batch.times[row]
        is_same = (kept.times == at) & (kept.rows == batch.X[row]).all(axis=1)
        if is_same.any():
            self.counts.repeated += 1
            self._make(batch, row, kept.rows[: int(np.argmax(is_same))])
            return
        place = int(np.searchsorted(kept.times, at, side="right"))
        if self._is_too_late(kept, at, place):
            self._refuse_late(batch, row)
            return
        self.counts.late += int(place < len(kept.times))
        self._insert(batch, row, kept, place)

    def _is_too_late(
        self,
        kept: KeptRows,
        at: float,
        place: int,
    ) -> bool:
        is_before_all = place == 0 and len(kept.times) == self.depth
        return is_before_all or at < kept.times[-1] - self.limits.late_s

    def _insert(
        self,
        batch: _Batch,
        row: int,
        kept: KeptRows,
        place: int,
    ) -> None:
        """Keep a row among the others of its slot; what those were made into stays."""
        slots = batch.slots[row : row + 1]
        X = batch.X[row : row + 1]
        self._make(batch, row, kept.rows[:place])
        for head in batch.heads:
            after = head.transform.advance(X, head.carried(slots)[0])
            head.keep(slots, after)
        rows = np.insert(kept.rows, place, X[0], axis=0)
        times = np.insert(kept.times, place, batch.times[row])
        self._rings.replace(int(slots[0]), KeptRows(rows, times))
        self._note_kept(slots)

    def _refuse_late(self, batch: _Batch, row: int) -> None:
        """Make a row without its past; of many in a row the last begins the entity anew."""
        slot = int(batch.slots[row])
        self._late_run[slot] += 1
        self.counts.too_late += 1
        if self._late_run[slot] <= self.limits.restart_rows:
            self._make(batch, row, np.empty((0, self.width)))
            return
        self.counts.restarted += 1
        self._forget([slot])
        self._append(batch, np.array([row]), np.array([BEFORE_ALL]))

    def _make(
        self,
        batch: _Batch,
        row: int,
        past: Floats,
    ) -> None:
        """Make one row in the light of these, which are all that is kept of before it."""
        one = slice(row, row + 1)
        slots = batch.slots[one]
        before = np.array([len(past)])
        for head, made in zip(batch.heads, batch.made, strict=True):
            made.rows[one] = head.transform.apply(
                batch.X[one],
                past,
                batch.times[one],
                past_carried=head.carried(slots)[0],
            )
            made.warming[one] = head.is_warming(before, self._seen[slots])

    def _is_in_order(self, batch: _Batch, rows: Slots) -> bool:
        """Whether rows of one slot follow its last one, and each other, and none came before."""
        times = batch.times[rows]
        if np.isnan(times).all():
            return True
        slot = batch.slots[rows[:1]]
        steps = np.diff(times, prepend=self._rings.last_times(slot))
        if (steps > 0).all():
            return True
        if not (steps >= 0).all():
            return False
        return self._are_different(batch, rows)

    def _are_different(self, batch: _Batch, rows: Slots) -> bool:
        """Whether no two rows, of these and of those that are kept, have one time and one value."""
        kept = self._rings.kept(int(batch.slots[rows[0]]))
        times = np.concatenate([kept.times, batch.times[rows]])
        X = np.concatenate([kept.rows, batch.X[rows]])
        is_timed = times >= batch.times[rows[0]]
        timed = np.column_stack([times, X])[is_timed]
        return len(np.unique(timed, axis=0)) == len(timed)

    def _lift_run(self, batch: _Batch, rows: Slots) -> None:
        """Make rows of one slot that follow each other."""
        slots = batch.slots[rows[:1]]
        kept = self._rings.kept(int(slots[0]))
        X = batch.X[rows]
        order = np.arange(len(rows))
        for head, made in zip(batch.heads, batch.made, strict=True):
            carried = head.carried(slots)[0]
            transform = head.transform
            made.rows[rows] = transform.apply(X, kept.rows, batch.times[rows], past_carried=carried)
            head.keep(slots, transform.advance(X, carried))
            before = len(kept.rows) + order
            made.warming[rows] = head.is_warming(before, self._seen[slots[0]] + order)
        self._rings.replace(int(slots[0]), kept.followed_by(X, batch.times[rows]))
        self._note_kept(slots)
        self._seen[slots] += len(rows) - 1

    def kept(self, key: str, margin_rows: int | None = None) -> KeptContext:
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
            self._seen[slots],
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
        has_carried = head is not None and head.transform.carried_width == kept.carried.shape[1]
        for i, (entity, rows) in enumerate(kept.by_entity()):
            slots = self._slots_of([entity])
            self._rings.replace(int(slots[0]), rows)
            self._seen[slots] = kept.seen[i]
            if head is not None and has_carried:
                head.keep(slots, kept.carried[i])


def _slices(rows: int, size: int) -> list[slice]:
    return [slice(begin, begin + size) for begin in range(0, max(rows, 1), size)]


def _joined(parts: list[LiftedRows]) -> LiftedRows:
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([part.rows for part in parts])
    warming = np.concatenate([part.warming for part in parts])
    return LiftedRows(rows, warming)


def _rounds(slots: Slots, run_rows: int) -> list[Slots]:
    """Rows in rounds: in each either every slot at most once, or a long run of one slot.

    The rows of a slot keep their order.
    """
    order = np.argsort(slots, kind="stable")
    begins = np.flatnonzero(np.diff(slots[order], prepend=-1))
    sizes = np.diff(begins, append=len(slots))
    is_run = sizes >= run_rows
    runs = [order[begins[i] : begins[i] + sizes[i]] for i in np.flatnonzero(is_run)]
    place = np.arange(len(slots)) - np.repeat(begins, sizes)
    is_single = np.repeat(~is_run, sizes)
    rounds = int(sizes[~is_run].max(initial=0))
    return runs + [order[is_single & (place == k)] for k in range(rounds)]
