"""A CSV file as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pandas as pd

from train.table.csv_reader import CsvReader
from train.table.frame import chunk_rows, frame_to_table
from train.table.schema import Columns, infer_schema
from train.table.source import File, FileSplit
from train.table.table import Table
from train.table.values import RowOrigin


def read_csv(
    split: FileSplit,
    columns: Columns,
    chunk_values: int,
) -> Iterator[Table]:
    """Return the rows of a file in chunks of about `chunk_values` values.

    Raises DataError for what is no CSV, or has no names of columns.
    """
    file = split.file
    reader = CsvReader(file, columns)
    rows = chunk_rows(chunk_values, len(reader.layout().header))
    first_row = 0
    for frame in reader.frames(rows):
        schema = infer_schema(list(frame), columns, file.path)
        yield frame_to_table(frame, schema, RowOrigin(file, first_row))
        first_row += len(frame)


def read_csv_head(
    file: File,
    columns: Columns,
    rows: int,
) -> pd.DataFrame:
    """Return the first rows of a file as they are."""
    with closing(CsvReader(file, columns).frames(rows)) as frames:
        return next(frames)
