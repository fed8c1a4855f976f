"""Read the files of a table a chunk at a time: rows as float64, checked.

Errors name file, line and column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from train.table.cells import IS_MISSING, CellFlaw, find_flaw
from train.table.csv_table import read_csv, read_csv_head
from train.table.npz_reader import read_npz
from train.table.parquet_reader import read_parquet, read_parquet_head, split_by_row_groups
from train.table.schema import Columns
from train.table.source import File, FileSplit
from train.table.table import Table
from train.table.values import RowOrigin
from vigil.errors import DataError

SPLIT_ROWS = 2**20  # of Parquet, read by one task
CHUNK_VALUES = 2**20  # of one chunk: 8 MB as float64
_HEAD_ROWS = 10_000
_READERS = {
    ".csv": read_csv,
    ".parquet": read_parquet,
    ".npz": read_npz,
}


def split_files(files: Sequence[File], split_rows: int = SPLIT_ROWS) -> list[FileSplit]:
    """Return the splits of all files, in order; those of a Parquet file have about `split_rows`."""
    splits: list[FileSplit] = []
    for file in files:
        if file.kind == ".parquet":
            splits += split_by_row_groups(file, split_rows)
        else:
            splits.append(FileSplit(file))
    return splits


def read_head(file: File, columns: Columns) -> pd.DataFrame | None:
    """Return the first rows of a file as they are, None where it holds arrays."""
    if file.kind == ".npz":
        return None
    read = read_parquet_head if file.kind == ".parquet" else read_csv_head
    return read(file, columns, _HEAD_ROWS)


def read_split(
    split: FileSplit,
    columns: Columns,
    *,
    allow_missing: bool = False,
    chunk_values: int = CHUNK_VALUES,
) -> Iterator[Table]:
    """Return the rows of a split, chunk by chunk, each with its index in the file.

    Raises DataError for what cannot be learnt from.
    """
    read = _READERS[split.file.kind]
    for chunk in read(split, columns, chunk_values):
        check_values(chunk, split.file, allow_missing=allow_missing)
        yield chunk


def check_values(
    rows: Table,
    file: File,
    *,
    allow_missing: bool,
) -> None:
    """Raise DataError for the first value that no forest can take."""
    if any(name.startswith("_") for name in rows.names):
        raise DataError(
            f"{file.path}: column names that begin with _ are reserved for captured rows"
        )
    flaw = find_flaw(rows.X, allow_missing=allow_missing)
    if flaw is not None:
        raise flaw_error(rows, file, flaw)


def flaw_error(
    rows: Table,
    file: File,
    flaw: CellFlaw,
) -> DataError:
    """Return the error that names a value of a chunk that no forest can take."""
    first_row = 0 if rows.index is None else int(rows.index[0])
    origin = RowOrigin(file, first_row)
    name = rows.names[flaw.column]
    return DataError(
        f"{origin.name(flaw.row)}, column {name!r}: {flaw.reason}{_extent(rows, flaw)}",
        field=name,
        row=origin.number(flaw.row),
    )


def _extent(rows: Table, flaw: CellFlaw) -> str:
    """How many rows lack a value, and what can be done about them."""
    if flaw.reason != IS_MISSING:
        return ""
    lacking = _count_lacking(rows)
    read = f"({lacking} of the {len(rows)} that were read with it)"
    return f"; fill or drop such rows, or train with a policy for missing values {read}"


def _count_lacking(rows: Table) -> int:
    return int(np.isnan(rows.X).any(axis=1).sum())
