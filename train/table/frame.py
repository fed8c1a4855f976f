"""A pandas frame as rows of a table."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from train.table.schema import Schema
from train.table.table import Table
from train.table.values import (
    RowOrigin,
    parse_entities,
    parse_labels,
    parse_numbers,
    parse_times,
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
    """Return the columns of `schema` as numbers, labels, times and entities.

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
    index = origin.first_row + np.arange(len(frame))
    return Table(X, schema.features, index=index, **facts)


def _features(frame: pd.DataFrame, schema: Schema, origin: RowOrigin) -> Floats:
    # Columns side by side: they come, and are hashed, one by one.
    columns = np.empty((len(schema.features), len(frame)))
    for column, name in zip(columns, schema.features, strict=True):
        column[:] = parse_numbers(frame[name], name, origin)
    return columns.T
