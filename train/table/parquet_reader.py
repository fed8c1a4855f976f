"""Rows of a Parquet file: its row groups in splits, and a split a chunk at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from train.table.cells import clean_name
from train.table.frame import chunk_rows, frame_to_table
from train.table.schema import Columns, Schema, infer_schema
from train.table.source import File, FileSplit
from train.table.table import Table
from train.table.values import RowOrigin
from vigil.errors import DataError

# Read ahead in each column; without it a row group is in memory whole.
_BUFFER_BYTES = 2**18
_PANDAS_INDEX = "__index_level_"  # columns with the numbers that pandas gave to rows
_BAD_PARQUET = (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError)


def split_by_row_groups(file: File, split_rows: int) -> list[FileSplit]:
    """Return the splits of a file: row groups in sequence, together at most `split_rows` rows."""
    splits: list[FileSplit] = []
    for group, rows in enumerate(_row_group_sizes(file)):
        last = splits[-1] if splits else FileSplit(file, rows=0)
        begun = last.rows or 0
        if splits and begun + rows <= split_rows:
            splits[-1] = replace(last, row_groups=(*last.row_groups, group), rows=begun + rows)
        else:
            splits.append(
                FileSplit(
                    file,
                    (group,),
                    last.first_row + begun,
                    rows=rows,
                )
            )
    return splits or [FileSplit(file, rows=0)]


def _row_group_sizes(file: File) -> list[int]:
    with _refusing_bad_parquet(file), file.open() as stream:
        meta = pq.ParquetFile(stream).metadata
        return [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]


def read_parquet(
    split: FileSplit,
    columns: Columns,
    chunk_values: int,
) -> Iterator[Table]:
    """Return the rows of a split in chunks of about `chunk_values` values.

    Raises DataError for what is no Parquet file.
    """
    with _refusing_bad_parquet(split.file), split.file.open() as stream:
        file = pq.ParquetFile(stream, buffer_size=_BUFFER_BYTES)
        names = list(map(clean_name, _column_names(file)))
        schema = infer_schema(names, columns, split.file.path)
        if not split.rows:
            empty = _to_frame(file.schema_arrow.empty_table())
            yield frame_to_table(empty, schema, RowOrigin(split.file))
        yield from _chunks(
            file,
            split,
            schema,
            chunk_values,
        )


def read_parquet_head(
    file: File,
    columns: Columns,
    rows: int,
) -> pd.DataFrame:
    """Return the first rows of a file as they are; `columns` changes nothing of that."""
    with _refusing_bad_parquet(file), file.open() as stream:
        parquet = pq.ParquetFile(stream, buffer_size=_BUFFER_BYTES)
        empty = parquet.schema_arrow.empty_table()
        batches = parquet.iter_batches(rows, use_threads=False, columns=_column_names(parquet))
        return _to_frame(next(batches, empty.select(_column_names(parquet))))


def _chunks(
    file: pq.ParquetFile,
    split: FileSplit,
    schema: Schema,
    chunk_values: int,
) -> Iterator[Table]:
    first_row = split.first_row
    used = [name for name in _column_names(file) if clean_name(name) in schema.used]
    batches = file.iter_batches(
        chunk_rows(chunk_values, len(used)),
        row_groups=list(split.row_groups),
        columns=used,
        use_threads=False,
    )
    for batch in batches:
        yield frame_to_table(_to_frame(batch), schema, RowOrigin(split.file, first_row))
        first_row += len(batch)


def _column_names(file: pq.ParquetFile) -> list[str]:
    return [name for name in file.schema_arrow.names if not name.startswith(_PANDAS_INDEX)]


def _to_frame(batch: pa.Table | pa.RecordBatch) -> pd.DataFrame:
    """The columns as the file has them, also those that pandas would make its index again."""
    frame = batch.to_pandas(ignore_metadata=True)
    return frame.set_axis(list(map(clean_name, frame.columns)), axis=1)


@contextmanager
def _refusing_bad_parquet(file: File) -> Iterator[None]:
    try:
        yield
    except _BAD_PARQUET as error:
        raise DataError(f"{file.path} is not a readable Parquet file: {error}") from error
