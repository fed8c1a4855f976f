"""Rows, each with those before it: what a step of a transform sees.

Sums run row by row in one order, so the same rows give the same bits, however many are transformed
at once, and whether they follow each other or are each of another entity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from vigil.arrays import Floats

RowCounts = NDArray[np.int64]


@dataclass(frozen=True)
class RowWindows:
    """The present row of each window, and the rows before it.

    values [n, w, d]: oldest first, the present row last; counts [n]: how many of them are real, the
    present one included; those before them are zeros
    """

    values: Floats
    counts: RowCounts

    @classmethod
    def of_stream(
        cls,
        X: Floats,
        past: Floats,
        length: int,
    ) -> RowWindows:
        """Return the window of each of the rows `X` [n, d], which follow each other and `past`.

        They are views of one array: nothing is copied for each row.
        """
        kept = past[max(0, len(past) - length) :]
        padding = np.zeros((length - len(kept), X.shape[1]))
        # The last row is there so that also no row at all has its windows: none.
        whole = np.concatenate([padding, kept, X, np.zeros((1, X.shape[1]))])
        views = sliding_window_view(whole, length + 1, axis=0)[: len(X)]
        counts = np.minimum(np.arange(1, len(X) + 1) + len(kept), length + 1)
        return cls(views.transpose(0, 2, 1), counts)

    @classmethod
    def of_entities(
        cls,
        windows: Floats,
        counts: RowCounts,
        length: int,
    ) -> RowWindows:
        """Return `windows` [m, >= length + 1, d] of m entities, cut to `length` earlier rows.

        What lies before the `counts` [m] real rows may be anything.
        """
        width = length + 1
        cut = windows[:, windows.shape[1] - width :]
        counts = np.minimum(counts, width)
        is_real = np.arange(width, 0, -1) <= counts[:, None]
        if not is_real.all():
            cut = np.where(is_real[:, :, None], cut, 0.0)
        return cls(cut, counts)

    @property
    def present(self) -> Floats:
        """The present rows [n, d]."""
        return self.before(0)

    def before(self, rows: int) -> Floats:
        """The rows [n, d] so many before the present ones; zeros where there are none."""
        return self.values[:, -1 - rows]

    def has(self, rows: int) -> NDArray[np.bool_]:
        """Whether there is a row so many before the present one [n, 1]."""
        return self.counts[:, None] > rows

    def count(self, rows: int) -> RowCounts:
        """How many of the last `rows` are real [n, 1], the present one included."""
        return np.minimum(self.counts, rows)[:, None]

    def earliest(self, rows: int) -> Floats:
        """The rows [n, d] so many before the present ones, or the earliest that there are."""
        back = np.minimum(self.counts - 1, rows)
        return self.values[np.arange(len(back)), self.values.shape[1] - 1 - back]
