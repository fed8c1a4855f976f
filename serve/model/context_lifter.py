"""Rows of a batch, made one round after the other in the light of what is kept. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from serve.model.context_batch import ContextCounts, LiftingBatch
from serve.model.context_heads import TransformHead
from serve.model.context_limits import ContextLimits
from serve.model.context_rings import BEFORE_ALL, KeptRows, RowRings
from serve.model.context_slots import Slots
from vigil.arrays import Floats


class RowLifter:
    """Makes rows in the light of those in the rings, and keeps them there.

    seen: rows of each slot that were kept; heads: all that are known
    """

    def __init__(
        self,
        rings: RowRings,
        heads: Mapping[str, TransformHead],
        limits: ContextLimits,
        *,
        counts: ContextCounts,
        slots: int,
    ) -> None:
        self.seen = np.zeros(slots, np.int64)
        self._rings = rings
        self._heads = heads
        self._limits = limits
        self._counts = counts
        self._late_run = np.zeros(slots, np.int32)  # rows too late, one after the other

    def forget(self, slots: list[int]) -> None:
        """Begin these slots with nothing."""
        self._rings.clear(slots)
        self.seen[slots] = 0
        self._late_run[slots] = 0
        for head in self._heads.values():
            head.forget(slots)

    def lift(
        self,
        batch: LiftingBatch,
        rows: Slots,
    ) -> None:
        """Make rows that are each of another slot, or a run of rows of one slot."""
        is_run = len(rows) > 1 and batch.slots[rows[0]] == batch.slots[rows[-1]]
        if not is_run:
            self._lift_each(batch, rows)
        elif self._is_in_order(batch, rows):
            self._lift_run(batch, rows)
        else:
            for row in rows:
                self._lift_each(batch, np.array([row]))

    def _lift_each(
        self,
        batch: LiftingBatch,
        rows: Slots,
    ) -> None:
        times = batch.times[rows]
        last = self._rings.last_times(batch.slots[rows])
        is_next = np.isnan(times) | (times > last)
        if is_next.any():
            self._append(
                batch,
                rows[is_next],
                last[is_next],
            )
        for row in rows[~is_next].tolist():
            self._sort_in(batch, row)

    def _append(
        self,
        batch: LiftingBatch,
        rows: Slots,
        last: Floats,
    ) -> None:
        """Keep rows behind the last ones of their slots, and make them."""
        slots = batch.slots[rows]
        times = batch.times[rows]
        carried = [head.carried(slots) for head in batch.heads]
        before = self._rings.counts[slots].astype(np.intp)
        self._rings.append(
            slots,
            batch.X[rows],
            np.where(
                np.isnan(times),
                last,
                times,
            ),
        )
        length = max(head.transform.length for head in batch.heads)
        windows = self._rings.windows(slots, length + 1)
        seen = self.seen[slots]
        for head, made, known in zip(
            batch.heads,
            batch.made,
            carried,
            strict=True,
        ):
            made.rows[rows], after = head.latest(
                windows,
                before + 1,
                times,
                carried=known,
            )
            head.keep(slots, after)
            made.warming[rows] = head.is_warming(before, seen)
        self._note_kept(batch, slots)

    def _note_kept(self, batch: LiftingBatch, slots: Slots) -> None:
        """Note a row in each slot, of which those transforms know nothing that are not asked."""
        self.seen[slots] += 1
        self._late_run[slots] = 0
        for head in self._heads.values():
            if head not in batch.heads:
                head.forget(slots)

    def _sort_in(
        self,
        batch: LiftingBatch,
        row: int,
    ) -> None:
        """Make a row that is not of later than the last one of its slot."""
        slot = batch.slots[row]
        kept = self._rings.kept(int(slot))
        at = batch.times[row]
        is_same = (kept.times == at) & (kept.rows == batch.X[row]).all(axis=1)
        if is_same.any():
            self._counts.repeated += 1
            self._make(
                batch,
                row,
                kept.rows[: int(np.argmax(is_same))],
            )
            return
        place = int(
            np.searchsorted(
                kept.times,
                at,
                side="right",
            )
        )
        if self._is_too_late(
            kept,
            at,
            place,
        ):
            self._refuse_late(batch, row)
            return
        self._counts.late += int(place < len(kept.times))
        self._insert(
            batch,
            row,
            kept,
            place,
        )

    def _is_too_late(
        self,
        kept: KeptRows,
        at: float,
        place: int,
    ) -> bool:
        is_before_all = place == 0 and len(kept.times) == self._rings.depth
        return is_before_all or at < kept.times[-1] - self._limits.late_s

    def _insert(
        self,
        batch: LiftingBatch,
        row: int,
        kept: KeptRows,
        place: int,
    ) -> None:
        """Keep a row among the others of its slot; what those were made into stays."""
        slots = batch.slots[row : row + 1]
        X = batch.X[row : row + 1]
        self._make(
            batch,
            row,
            kept.rows[:place],
        )
        for head in batch.heads:
            after = head.transform.advance(X, head.carried(slots)[0])
            head.keep(slots, after)
        rows = np.insert(
            kept.rows,
            place,
            X[0],
            axis=0,
        )
        times = np.insert(
            kept.times,
            place,
            batch.times[row],
        )
        self._rings.replace(int(slots[0]), KeptRows(rows, times))
        self._note_kept(batch, slots)

    def _refuse_late(
        self,
        batch: LiftingBatch,
        row: int,
    ) -> None:
        """Make a row without its past; of many in a row the last begins the entity anew."""
        slot = int(batch.slots[row])
        self._late_run[slot] += 1
        self._counts.too_late += 1
        if self._late_run[slot] <= self._limits.restart_rows:
            self._make(
                batch,
                row,
                np.empty((0, self._rings.width)),
            )
            return
        self._counts.restarted += 1
        self.forget([slot])
        self._append(
            batch,
            np.array([row]),
            np.array([BEFORE_ALL]),
        )

    def _make(
        self,
        batch: LiftingBatch,
        row: int,
        past: Floats,
    ) -> None:
        """Make one row in the light of these, which are all that is kept of before it."""
        one = slice(row, row + 1)
        slots = batch.slots[one]
        before = np.array([len(past)])
        for head, made in zip(
            batch.heads,
            batch.made,
            strict=True,
        ):
            made.rows[one] = head.transform.apply(
                batch.X[one],
                past,
                batch.times[one],
                past_carried=head.carried(slots)[0],
            )
            made.warming[one] = head.is_warming(before, self.seen[slots])

    def _is_in_order(
        self,
        batch: LiftingBatch,
        rows: Slots,
    ) -> bool:
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

    def _are_different(
        self,
        batch: LiftingBatch,
        rows: Slots,
    ) -> bool:
        """Whether no two rows, of these and of those that are kept, have one time and one value."""
        kept = self._rings.kept(int(batch.slots[rows[0]]))
        times = np.concatenate([kept.times, batch.times[rows]])
        X = np.concatenate([kept.rows, batch.X[rows]])
        is_timed = times >= batch.times[rows[0]]
        timed = np.column_stack([times, X])[is_timed]
        return len(np.unique(timed, axis=0)) == len(timed)

    def _lift_run(
        self,
        batch: LiftingBatch,
        rows: Slots,
    ) -> None:
        """Make rows of one slot that follow each other."""
        slots = batch.slots[rows[:1]]
        kept = self._rings.kept(int(slots[0]))
        X = batch.X[rows]
        order = np.arange(len(rows))
        for head, made in zip(
            batch.heads,
            batch.made,
            strict=True,
        ):
            made.rows[rows], after = head.transform.follow(
                X,
                kept.rows,
                batch.times[rows],
                past_carried=head.carried(slots)[0],
            )
            head.keep(slots, after)
            before = len(kept.rows) + order
            made.warming[rows] = head.is_warming(before, self.seen[slots[0]] + order)
        self._rings.replace(int(slots[0]), kept.followed_by(X, batch.times[rows]))
        self._note_kept(batch, slots)
        self.seen[slots] += len(rows) - 1
