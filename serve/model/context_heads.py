"""What entities carry from row to row under one transform, by slot. Pure."""

from __future__ import annotations

import numpy as np

from serve.model.context_rings import RowRings
from serve.model.context_slots import Slots
from train.table.transform.feature_transform import FeatureTransform
from vigil.arrays import Flags, Floats


class TransformHead:
    """A transform over the rows that are kept, and what each slot carries under it.

    It is warm from the start. A transform that is new here finds what a slot carries from its kept
    rows when it has its next row.
    """

    def __init__(
        self,
        transform: FeatureTransform,
        rings: RowRings,
        slots: int,
    ) -> None:
        transform.warm()
        self.transform = transform
        self._rings = rings
        self._carried = np.zeros((slots, transform.carried_width))
        self._is_known = np.zeros(slots, bool)

    def carries(self, width: int) -> bool:
        """Return whether so many numbers can be what an entity carries here."""
        return self.transform.carried_width == width

    def forget(self, slots: list[int] | Slots) -> None:
        """Another entity has each of these slots now, or another row that was not asked for."""
        self._is_known[slots] = False

    def carried(self, slots: Slots) -> Floats:
        """Return what each slot [m] carries after its kept rows [m, s]."""
        if self.transform.carried_width:
            self._learn(slots[~self._is_known[slots]])
        return self._carried[slots]

    def _learn(self, slots: Slots) -> None:
        self.keep(slots, self.transform.new_carried(len(slots)))
        for slot in slots[self._rings.counts[slots] > 0].tolist():
            rows = self._rings.kept(slot).rows
            self._carried[slot] = self.transform.advance(rows)

    def keep(
        self,
        slots: Slots,
        carried: Floats,
    ) -> None:
        """Have each slot carry this on."""
        self._carried[slots] = carried
        self._is_known[slots] = True

    def latest(
        self,
        windows: Floats,
        counts: Slots,
        times: Floats,
        *,
        carried: Floats,
    ) -> tuple[Floats, Floats]:
        """Return the model's rows [m, D] of the present rows of m slots, and what they carry."""
        return self.transform.apply_latest(
            windows,
            counts,
            times,
            carried,
        )

    def is_warming(
        self,
        before: Slots,
        seen: Slots,
    ) -> Flags:
        """Return whether rows [m] lack earlier rows.

        before [m]: of those that are kept; seen [m]: of all that came
        """
        transform = self.transform
        return (before < transform.length) | (seen < transform.warming_rows)
