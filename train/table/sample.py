"""Rows that are kept of a table too large for memory: a random sample, and the last ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from train.table.table import RowChoice, Table, concat, empty_like
from vigil.arrays import Floats


@dataclass(frozen=True)
class RandomSample:
    """Random rows with their keys [n]: of all rows those with the smallest random keys.

    It is Vitter's reservoir as a bottom-k sample: samples of parts of a table merge exactly.
    """

    rows: Table
    keys: Floats

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: RowChoice) -> RandomSample:
        return RandomSample(self.rows.take(rows), self.keys[rows])

    def smallest(self, n: int) -> RandomSample:
        """Return the `n` rows with the smallest keys, or all where there are fewer."""
        if len(self) <= n:
            return self
        order = np.argpartition(self.keys, n - 1)
        return self.take(order[:n])

    def in_order(self) -> RandomSample:
        """Return the rows in the order of the table."""
        assert self.rows.index is not None
        return self.take(np.argsort(self.rows.index))


def merge_samples(samples: Sequence[RandomSample], n: int) -> RandomSample:
    """Return the sample of at most `n` rows of the whole, given samples of its parts."""
    rows = concat([sample.rows for sample in samples])
    keys = np.concatenate([sample.keys for sample in samples])
    return RandomSample(rows, keys).smallest(n)


class Reservoir:
    """Samples at most `size` of the rows that are added; holds at most twice as many.

    columns: a table with their columns; key_limit: rows with no smaller key are not kept, for a
    part of a table need not hold what is surely no part of the whole sample
    """

    def __init__(
        self,
        columns: Table,
        size: int,
        rng: np.random.Generator,
        *,
        key_limit: float,
    ) -> None:
        self._size = size
        self._rng = rng
        self._key_limit = key_limit
        self._samples = [RandomSample(empty_like(columns), np.empty(0))]

    def add(self, rows: Table) -> None:
        """RandomSample the rows that follow."""
        keys = self._rng.random(len(rows))
        keyed = RandomSample(rows, keys)
        is_low = keys < self._key_limit
        self._samples.append(keyed.take(is_low))
        count = sum(map(len, self._samples))
        if count > 2 * self._size:
            self._shrink()

    def _shrink(self) -> None:
        """Forget the rows that are surely no part of the sample."""
        sample = self.sample()
        self._samples = [sample]
        self._key_limit = float(sample.keys.max())

    def sample(self) -> RandomSample:
        """Return the sample of all rows so far."""
        return merge_samples(self._samples, self._size)


class Tail:
    """Holds the last `size` of the rows that are added, and at most twice as many.

    columns: a table with their columns
    """

    def __init__(
        self,
        columns: Table,
        size: int,
    ) -> None:
        self._size = size
        self._parts = [empty_like(columns)]

    def add(self, rows: Table) -> None:
        """Take in the rows that follow."""
        latest = rows.tail(self._size)
        self._parts.append(latest)
        count = sum(map(len, self._parts))
        if count > 2 * self._size:
            self._parts = [self.rows()]

    def rows(self) -> Table:
        """Return the last rows, in order."""
        return concat(self._parts).tail(self._size)
