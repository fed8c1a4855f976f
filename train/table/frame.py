"""A pandas frame as rows of a table."""

from __future__ import annotations

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
    # Columns side by side: they come, and are hashed, one by one.
    X = np.empty((len(schema.features), len(frame))).T
    for j, name in enumerate(schema.features):
        X[:, j] = parse_numbers(frame[name], name, origin)
    labels = None
    if schema.label is not None:
        labels = parse_labels(frame[schema.label], schema.label, origin)
    times = None
    if schema.time is not None:
        times = parse_times(frame[schema.time], schema.time, origin)
    entities = None
    if schema.entity is not None:
        entities = parse_entities(frame[schema.entity], origin)
    return Table(
        X,
        schema.features,
        labels,
        index=origin.first_row + np.arange(len(frame)),
        times=times,
        entities=entities,
    )
