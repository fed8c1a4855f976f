"""A batch of rows on its way through the context of entities, and what is counted of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from serve.model.context_heads import TransformHead
from serve.model.context_slots import Slots
from vigil.arrays import Flags, Floats


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
class LiftingBatch:
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
    ) -> LiftingBatch:
        batch = cls(
            X,
            times,
            slots,
            heads,
        )
        for head in heads:
            rows = np.empty((len(X), len(head.transform.outputs)))
            batch.made.append(LiftedRows(rows, np.zeros(len(X), bool)))
        return batch


def slices_of(rows: int, size: int) -> list[slice]:
    return [
        slice(begin, begin + size)
        for begin in range(
            0,
            max(rows, 1),
            size,
        )
    ]


def joined_rows(parts: list[LiftedRows]) -> LiftedRows:
    if len(parts) == 1:
        return parts[0]
    rows = np.concatenate([part.rows for part in parts])
    warming = np.concatenate([part.warming for part in parts])
    return LiftedRows(rows, warming)


def rounds_of(slots: Slots, run_rows: int) -> list[Slots]:
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
