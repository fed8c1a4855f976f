"""Declared categories: words of a row as columns of numbers, by one codec at every door.

A category is a feature whose values are words. Training learns which words there are, and each
becomes a column of its own (`one-hot`) or the share of the rows that have it (`frequency`). A word
that training has not seen is unknown: it is 0 in all columns of its category, and counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from train.table.cells import clean_name
from train.table.table import Table, Words
from train.table.words import CategoryEncoding, DeclaredCategory, why_no_word
from vigil.arrays import Flags, Floats
from vigil.errors import DataError
from vigil.json_types import JsonObject

MAX_WORDS: Mapping[CategoryEncoding, int] = {"one-hot": 64, "frequency": 1000}
_SHARE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Category:
    """A feature of words, and what training has learnt of them.

    words [k], shares [k]: of the rows that have each
    """

    name: str
    encoding: CategoryEncoding
    words: tuple[str, ...]
    shares: tuple[float, ...]

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Columns that it becomes."""
        if self.encoding == "frequency":
            return (f"{self.name}:frequency",)
        return tuple(f"{self.name}={word}" for word in self.words)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words)}

    @cached_property
    def _codes(self) -> Floats:
        """What each word becomes, and at last what an unknown one does [k + 1, columns]."""
        known = np.eye(len(self.words))
        if self.encoding == "frequency":
            known = np.array(self.shares)[:, None]
        return np.concatenate([known, np.zeros((1, len(self.outputs)))])

    def encode(self, words: Iterable[str]) -> Floats:
        """Return the columns [n, k] of words [n]."""
        unknown = len(self.words)
        places = [self._places.get(clean_name(word), unknown) for word in words]
        return self._codes[np.array(places, np.int64)]

    def check(self) -> None:
        """Raise ValueError unless it can be that of a model."""
        if len(set(self.words)) != len(self.shares) or len(self.words) > MAX_WORDS[self.encoding]:
            raise ValueError(f"the words of the category {self.name!r} are not those of a model")
        if any(map(why_no_word, self.words)):
            raise ValueError(f"the category {self.name!r} has a word that is none")
        shares = np.array(self.shares, np.float64)
        if not (shares > 0).all() or not shares.sum() <= 1 + _SHARE_TOLERANCE:
            raise ValueError(f"the category {self.name!r} has shares that are none")


@dataclass(frozen=True)
class CategoryCodec:
    """From rows as they are sent to the numeric rows of all that follows.

    names: features as they are sent, in their order; categories: those of them that are words
    """

    names: tuple[str, ...]
    categories: tuple[Category, ...]

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Names of the categories."""
        return tuple(category.name for category in self.categories)

    @property
    def declared(self) -> tuple[DeclaredCategory, ...]:
        """How the categories are declared for a table."""
        return tuple(DeclaredCategory(each.name, each.encoding) for each in self.categories)

    @cached_property
    def numbers(self) -> tuple[str, ...]:
        """Features that are numbers as they are sent."""
        return tuple(name for name in self.names if name not in self.words)

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Features of the numeric rows."""
        return tuple(output for name in self.names for output in self._outputs_of(name))

    @property
    def most_frequent(self) -> dict[str, str]:
        """The word of each category that the most rows had."""
        return {each.name: each.words[int(np.argmax(each.shares))] for each in self.categories}

    def _outputs_of(self, name: str) -> tuple[str, ...]:
        if name in self.words:
            return self.categories[self.words.index(name)].outputs
        return (name,)

    def are_of_words(self, names: Iterable[str]) -> Flags:
        """Return which features of a model [D] are made of words, by a transform as well."""
        outputs = [output for category in self.categories for output in category.outputs]
        beginnings = tuple(f"{output}:" for output in outputs)
        return np.array([name in outputs or name.startswith(beginnings) for name in names], bool)

    def join(self, X: Floats, words: Words) -> Floats:
        """Return the numeric rows [n, D] of numbers [n, d] and words [n, c], both in order."""
        numbers = dict(zip(self.numbers, X.T, strict=True))
        codes = {
            category.name: category.encode(column)
            for category, column in zip(self.categories, words.T, strict=True)
        }
        columns = [codes[name] if name in codes else numbers[name][:, None] for name in self.names]
        return np.hstack(columns)

    def unknown_counts(self, X: Floats) -> dict[str, int]:
        """Return how many of the numeric rows [n, D] have an unknown word, by category."""
        counts: dict[str, int] = {}
        for category in self.categories:
            places = [self.outputs.index(output) for output in category.outputs]
            counts[category.name] = int((X[:, places] == 0).all(axis=1).sum())
        return counts

    def apply(self, rows: Table) -> Table:
        """Return the numeric rows of a table with words.

        Raises DataError where it has other features.
        """
        if rows.words is None or set(rows.sent) != set(self.names):
            differing = ", ".join(sorted(set(rows.sent or rows.names) ^ set(self.names)))
            raise DataError(f"the rows have other features or categories: {differing}")
        ordered = rows.select(self.numbers)
        places = [rows.word_names.index(name) for name in self.words]
        return replace(
            ordered,
            X=self.join(ordered.X, rows.words[:, places]),
            names=self.outputs,
            words=None,
            sent=(),
        )

    def check(self) -> None:
        """Raise ValueError unless it can be that of a model."""
        for category in self.categories:
            category.check()
        if not self.categories or not set(self.words) <= set(self.names):
            raise ValueError("there are categories that are no features")
        if len(set(self.outputs)) < len(self.outputs):
            raise ValueError("two columns of the categories have the same name: rename a column")

    def to_json(self) -> JsonObject:
        """Return it as plain values."""
        columns = [msgspec.to_builtins(category) for category in self.categories]
        return {"names": list(self.names), "columns": columns}


def read_categories(stored: Mapping[str, Any] | None) -> CategoryCodec | None:
    """Return what `CategoryCodec.to_json` gave, None for None.

    Raises ValueError, TypeError or LookupError for anything else.
    """
    if stored is None:
        return None
    names = tuple(map(str, stored["names"]))
    codec = CategoryCodec(names, msgspec.convert(stored["columns"], tuple[Category, ...]))
    codec.check()
    return codec
