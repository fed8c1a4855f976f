"""Which row of its request a captured row was, and how many rows that request had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

# [n, 2]: the number of each row in its request, from 0 on, and the rows that this request had.
Numbering = NDArray[np.int64]


def number_rows(requests: Sequence[str]) -> Numbering:
    """Return the numbering of rows [n] of these requests, each of which is there as a whole."""
    lengths = [len(list(run)) for _, run in groupby(requests)]
    none = np.empty((0, 2), np.int64)
    return np.concatenate([none, *map(_numbers_of_run, lengths)])


def _numbers_of_run(rows: int) -> Numbering:
    numbers = np.arange(rows)
    count = np.full(rows, rows)
    return np.column_stack((numbers, count))


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
