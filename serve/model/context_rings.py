"""The last rows of each slot, oldest first, in arrays. Pure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from serve.model.context_slots import Slots
from vigil.arrays import Floats

BEFORE_ALL = -np.inf  # the time of a row that has none, where none before it has one


class KeptRows(NamedTuple):
    """Rows [k, d] of a slot in their order, and their times [k] (Unix seconds)."""

    rows: Floats
    times: Floats

    def last(self, count: int) -> KeptRows:
        """Return at most so many of them, the last ones."""
        return KeptRows(self.rows[-count:], self.times[-count:])

    def followed_by(
        self,
        rows: Floats,
        times: Floats,
    ) -> KeptRows:
        """Return these rows and those behind them; one without a time (NaN) has the last one's."""
        last = self.times[-1] if len(self.times) else BEFORE_ALL
        known = np.where(
            np.isnan(times),
            last,
            times,
        )
        filled = np.maximum.accumulate(known)
        return KeptRows(np.concatenate([self.rows, rows]), np.concatenate([self.times, filled]))


class RowRings:
    """Rings of `depth` rows of `width` values for each of `slots` slots.

    Untouched memory costs nothing: the operating system gives it page by page.
    """

    def __init__(
        self,
        slots: int,
        depth: int,
        width: int,
    ) -> None:
        self.depth = depth
        self.width = width
        self._rows = np.zeros((slots, depth, width))
        self._times = np.zeros((slots, depth))
        self.counts = np.zeros(slots, np.int32)  # rows that are kept
        self._next = np.zeros(slots, np.int32)  # where the next row goes

    def clear(self, slots: list[int]) -> None:
        """Forget the rows of these slots."""
        self.counts[slots] = 0
        self._next[slots] = 0

    def last_times(self, slots: Slots) -> Floats:
        """Return the time [m] of the last row of each slot, BEFORE_ALL where there is none."""
        latest = (self._next[slots] - 1) % self.depth
        return np.where(
            self.counts[slots] > 0,
            self._times[slots, latest],
            BEFORE_ALL,
        )

    def append(
        self,
        slots: Slots,
        rows: Floats,
        times: Floats,
    ) -> None:
        """Keep a row [m, d] with its time [m] behind those of each slot, all slots different."""
        at = self._next[slots]
        self._rows[slots, at] = rows
        self._times[slots, at] = times
        self._next[slots] = (at + 1) % self.depth
        self.counts[slots] = np.minimum(self.counts[slots] + 1, self.depth)

    def windows(
        self,
        slots: Slots,
        length: int,
    ) -> Floats:
        """Return the last `length` rows [m, length, d] of each slot, oldest first.

        What lies before the first row of a slot is arbitrary.
        """
        back = np.arange(
            -length,
            0,
            dtype=np.int32,
        )
        at = (self._next[slots][:, None] + back) % self.depth
        return self._rows[slots[:, None], at]

    def kept(self, slot: int) -> KeptRows:
        """Return all rows of a slot."""
        count = int(self.counts[slot])
        at = (self._next[slot] + np.arange(-count, 0)) % self.depth
        return KeptRows(self._rows[slot, at], self._times[slot, at])

    def replace(
        self,
        slot: int,
        kept: KeptRows,
    ) -> None:
        """Have a slot hold these rows, or the last of them that fit."""
        rows = kept.rows[-self.depth :]
        count = len(rows)
        self._rows[slot, :count] = rows
        self._times[slot, :count] = kept.times[-self.depth :]
        self.counts[slot] = count
        self._next[slot] = count % self.depth
