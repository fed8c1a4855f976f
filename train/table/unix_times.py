"""Times of a table as Unix seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.table.table import Table
from vigil.arrays import Floats

LEAST_DATE_S = 1e8  # times below it, of 1973, are counts of something
# What counts as nanoseconds, microseconds or milliseconds since 1970, and how many are a second:
# read as seconds, the least of them is the year 5138.
_UNITS = (
    (1e17, 1e9),
    (1e14, 1e6),
    (1e11, 1e3),
)


def unix_seconds(times: NDArray[Any]) -> Floats:
    """Return times [n] as Unix seconds; in what they count is told by their size."""
    values = times.astype(np.float64)
    return values / _units_a_second(values)


def _units_a_second(times: Floats) -> float:
    """In what numbers of this size count, which their size says."""
    largest = np.abs(times).max(initial=0.0)
    units = (unit for least, unit in _UNITS if largest >= least)
    return next(units, 1.0)


def reference_times(rows: Table) -> Floats | None:
    """Return the times of rows in their order as Unix seconds; None where they are no dates."""
    if rows.times is None or not rows.ordered or not len(rows):
        return None
    seconds = unix_seconds(rows.times)
    return seconds if seconds.min() >= LEAST_DATE_S else None
