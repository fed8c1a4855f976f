"""A pandas frame as rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from train.table.schema import Schema
from train.table.table import Table, Words
from train.table.values import (
    RowOrigin,
    parse_entities,
    parse_labels,
    parse_numbers,
    parse_times,
    parse_words,
)
from vigil.arrays import Floats

_MIN_CHUNK_ROWS = 1000


def chunk_rows(chunk_values: int, columns: int) -> int:
    """Return how many rows of so many columns are read at once, to have about `chunk_values`."""
    return max(_MIN_CHUNK_ROWS, chunk_values // max(columns, 1))


def frame_to_table(
    frame: pd.DataFrame,
    schema: Schema,
    origin: RowOrigin,
) -> Table:
    """Return the columns of `schema` as numbers, words, labels, times and entities.

    Raises DataError that names the row, as `origin` counts it, and the column of what is none.
    """
    X = _features(frame, schema, origin)
    facts: dict[str, Any] = {}
    if schema.label is not None:
        facts["labels"] = parse_labels(frame[schema.label], schema.label, origin)
    if schema.time is not None:
        facts["times"] = parse_times(frame[schema.time], schema.time, origin)
    if schema.entity is not None:
        facts["entities"] = parse_entities(frame[schema.entity], origin)
    if schema.categories:
        facts["words"] = _words(frame, schema, origin)
        facts["sent"] = schema.features
    index = origin.first_row + np.arange(len(frame))
    return Table(X, schema.numbers, index=index, **facts)


def _words(frame: pd.DataFrame, schema: Schema, origin: RowOrigin) -> Words:
    """The values of categories [n, c], in the order of the features."""
    columns = [parse_words(frame[name], name, origin) for name in schema.words]
    return np.column_stack(columns)


def _features(frame: pd.DataFrame, schema: Schema, origin: RowOrigin) -> Floats:
    # Columns side by side: they come, and are hashed, one by one.
    columns = np.empty((len(schema.numbers), len(frame)))
    for column, name in zip(columns, schema.numbers, strict=True):
        column[:] = parse_numbers(frame[name], name, origin)
    return columns.T
