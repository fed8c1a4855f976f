"""The transform of rows in the order of time, where nobody has named one.

How it was chosen is in docs/quality.md.
"""

from __future__ import annotations

import numpy as np

from train.table.source import File
from train.table.table import Table
from train.table.time_order import TimeOrder
from vigil.arrays import Floats

DEFAULT_CONTEXT = "sd:5,sd:20,residual,top:8"
# No other feature explains the only one.
_CONTEXT_OF_ONE = "diff:1,sd:10"
_REMARK = (
    "rows are in the order of time: they get the features {over_time} of the rows before them; "
    "--over-time none leaves these out"
)
_SAME_TIME = (
    "rows have no features of the rows before them, for some have the same time: say whose rows "
    "they are with --entity"
)


def default_context(first: Table, file: File) -> str:
    """Return the transform of a table whose first rows are these; "" where they are in no order.

    They are in the order of time where they have times, and those of `train` in an .npz file are.
    """
    if not _has_order(first, file):
        return ""
    return DEFAULT_CONTEXT if _varying_columns(first.X) > 1 else _CONTEXT_OF_ONE


def _has_order(first: Table, file: File) -> bool:
    is_npz = file.path.endswith(".npz")
    return first.times is not None or (is_npz and first.ordered)


def _varying_columns(X: Floats) -> int:
    """How many columns [n, d] vary: one that does not explains no other."""
    ranges = np.nanmax(X, axis=0) - np.nanmin(X, axis=0)
    return int(np.count_nonzero(ranges > 0))


def describe_default(over_time: str) -> str:
    """Return what people should know of the transform that they did not name."""
    return _REMARK.format(over_time=over_time)


def why_not(order: TimeOrder) -> str | None:
    """Return why rows in this order are not those of one entity after another; None: they are.

    Empty where there is a remark on that order already.
    """
    if order.disorder is not None:
        return ""
    return _SAME_TIME if order.stands_still else None
