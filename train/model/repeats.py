"""Tables in which every row is there several times: they tell no more than one of each."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Positions

MIN_DISTINCT_ROWS = 30  # fewer are few values, and no repetition


def distinct_rows(X: NDArray[np.generic]) -> Positions:
    """Return the numbers of the rows to keep of `X` [n, d], so that none is there for the others.

    A join or an export that went wrong has each row k times, next to each other or far apart. Then
    one in k of the equal rows is kept. Of other tables all rows are.
    """
    keys = [row.tobytes() for row in np.ascontiguousarray(X)]
    counts = Counter(keys)
    times = math.gcd(*counts.values())
    if times <= 1 or len(counts) < MIN_DISTINCT_ROWS:
        return np.arange(len(X))
    first = keys[: len(keys) // times]
    if keys == first * times:  # the whole table, several times
        return np.arange(len(first))
    return _every_of_each(keys, times)


def _every_of_each(keys: list[bytes], step: int) -> Positions:
    """Numbers of the rows that are the first, and every so many after it, of those with their key.

    Where equal rows stand next to each other that leaves the order of time as it was.
    """
    seen: Counter[bytes] = Counter()
    numbers = []
    for number, key in enumerate(keys):
        if seen[key] % step == 0:
            numbers.append(number)
        seen[key] += 1
    return np.array(numbers, np.intp)
