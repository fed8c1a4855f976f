"""The words of declared categories, learnt in a pass over a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.table.categories import MAX_WORDS, Category, CategoryCodec
from train.table.reader import read_split
from train.table.schema import Columns
from train.table.source import FileSplit
from train.table.table import Table
from train.table.words import DeclaredCategory
from vigil.errors import DataError


def learn_categories(
    splits: Sequence[FileSplit],
    columns: Columns,
    declared: Sequence[DeclaredCategory],
) -> CategoryCodec:
    """Return the codec of the words of all rows.

    Raises DataError for a value that is no word, and where a category has too many.
    """
    counts = WordCounts(declared)
    for split in splits:
        for rows in read_split(split, columns, allow_missing=True):
            counts.add(rows)
    return counts.codec()


class WordCounts:
    """Counts the words of declared categories over the chunks of a table."""

    def __init__(self, declared: Sequence[DeclaredCategory]) -> None:
        self._declared = declared
        self._sent: tuple[str, ...] = ()
        self._counts: dict[str, dict[str, int]] = {each.name: {} for each in declared}

    def add(self, rows: Table) -> None:
        """Take in a chunk; raises DataError where a category has too many words."""
        assert rows.words is not None
        self._sent = self._sent or rows.sent
        for each in self._declared:
            column = rows.words[:, rows.word_names.index(each.name)]
            self._count(each, column)

    def _count(self, declared: DeclaredCategory, column: NDArray[Any]) -> None:
        counts = self._counts[declared.name]
        words, found = np.unique(column.astype(str), return_counts=True)
        for word, count in zip(words.tolist(), found.tolist(), strict=True):
            counts[word] = counts.get(word, 0) + count
        most = MAX_WORDS[declared.encoding]
        if len(counts) > most:
            raise DataError(_too_many(declared, most), field=declared.name)

    def codec(self) -> CategoryCodec:
        """Return the codec of the rows so far; raises DataError for two columns of one name."""
        codec = CategoryCodec(self._sent, tuple(map(self._category, self._declared)))
        try:
            codec.check()
        except ValueError as error:
            raise DataError(str(error)) from error
        return codec

    def _category(self, declared: DeclaredCategory) -> Category:
        counts = self._counts[declared.name]
        rows = max(sum(counts.values()), 1)
        words = sorted(counts)
        return Category(
            declared.name,
            declared.encoding,
            tuple(words),
            tuple(counts[word] / rows for word in words),
        )


def _too_many(declared: DeclaredCategory, most: int) -> str:
    name = declared.name
    advice = f"leave it out (--ignore '{name}'), or replace rare words by one such as other"
    if declared.encoding == "one-hot":
        advice = f"declare it as '{name}:frequency', or leave it out (--ignore '{name}')"
    return f"column {name!r} has more than {most} words, too many for {declared.encoding}: {advice}"
