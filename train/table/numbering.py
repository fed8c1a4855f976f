"""Which row of its request a captured row was, and how many rows that request had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

# [n, 2]: the number of each row in its request, from 0 on, and the rows that this request had.
Numbering = NDArray[np.int64]

_ALONE: Numbering = np.array([[0, 1]])  # most requests have one row: they share its numbering
_ALONE.flags.writeable = False


def number_rows(requests: Sequence[str]) -> Numbering:
    """Return the numbering of rows [n] of these requests, each of which is there as a whole."""
    if len(requests) == 1:
        return _ALONE
    runs = [len(list(run)) for _, run in groupby(requests)]
    lengths = np.array(runs, np.int64)
    counts = np.repeat(lengths, lengths)
    first_rows = np.repeat(np.cumsum(lengths) - lengths, lengths)
    numbers = np.arange(len(counts)) - first_rows
    return np.column_stack((numbers, counts))


def missing_rows(numbering: Numbering) -> Iterator[tuple[int, int]]:
    """Yield the first and the last number of each stretch of one request that is not there."""
    numbers, counts = numbering.T
    total = int(counts.max(initial=0))
    is_there = np.zeros(total + 2, np.int8)
    is_there[[0, -1]] = 1
    is_there[numbers + 1] = 1
    edges = np.diff(is_there)
    begins = np.flatnonzero(edges == -1)
    ends = np.flatnonzero(edges == 1) - 1
    yield from zip(begins.tolist(), ends.tolist(), strict=True)
