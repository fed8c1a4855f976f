"""Rows that are sent with words, as numeric rows: see train/table/categories.py. Pure.

A model without categories never comes here.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np

from serve.http.rows import ColumnMatcher, refuse_length, to_matrix
from serve.http.sent_values import abbreviate
from train.table.categories import CategoryCodec
from train.table.words import why_no_word
from vigil.arrays import Floats
from vigil.errors import InvalidFeatures


def to_features(
    rows: list[Any],
    names: tuple[str, ...],
    is_typed: bool = False,
    *,
    unused: Collection[str] = (),
    may_miss: bool = False,
    categories: CategoryCodec | None = None,
) -> Floats:
    """Return the numeric rows [n, D] of rows with the features `names`; see `to_matrix`.

    With `categories` the names are theirs. Raises InvalidFeatures and MalformedRequest.
    """
    if categories is None:
        return to_matrix(
            rows,
            names,
            is_typed,
            unused=unused,
            may_miss=may_miss,
        )
    matcher = ColumnMatcher(categories.names, unused)
    ordered = [_ordered(row, matcher, categories.names, i) for i, row in enumerate(rows)]
    numbers = _columns(ordered, categories, categories.numbers)
    words = _columns(ordered, categories, categories.words)
    X = np.empty((len(rows), 0))
    if categories.numbers:
        X = to_matrix(numbers, categories.numbers, may_miss=may_miss)
    return join_words(X, words, categories)


def join_words(
    X: Floats,
    words: list[list[Any]],
    categories: CategoryCodec,
) -> Floats:
    """Return the numeric rows [n, D] of numbers [n, d] and sent words [n][c].

    Raises InvalidFeatures for a value that is no word.
    """
    for i, row in enumerate(words):
        for name, value in zip(categories.words, row, strict=True):
            reason = why_no_word(value)
            if reason is not None:
                message = f"row {i}, feature {name!r}: {reason}"
                raise InvalidFeatures(message, field=name, row=i)
    shape = (len(words), len(categories.words))
    return categories.join(X, np.array(words, object).reshape(shape))


def _ordered(
    row: Any,
    matcher: ColumnMatcher,
    names: tuple[str, ...],
    i: int,
) -> list[Any]:
    """The values of a row in the order of `names`."""
    if isinstance(row, dict):
        return matcher.ordered_values(row, i)
    if not isinstance(row, list):
        raise InvalidFeatures(f"row {i} is not a list of values: {abbreviate(row)}", row=i)
    if len(row) != len(names):
        refuse_length(i, len(row), names)
    return row


def _columns(
    rows: list[list[Any]],
    categories: CategoryCodec,
    names: tuple[str, ...],
) -> list[list[Any]]:
    places = [categories.names.index(name) for name in names]
    return [[row[place] for place in places] for row in rows]
