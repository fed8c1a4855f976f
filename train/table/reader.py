"""Read the files of a table a chunk at a time: rows as float64, checked.

Errors name file, line and column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from train.table.csv_reader import read_csv
from train.table.npz_reader import read_npz
from train.table.parquet_reader import read_parquet, split_by_row_groups
from train.table.schema import Columns
from train.table.source import File, FileSplit
from train.table.table import Table
from train.table.values import RowOrigin
from vigil.errors import DataError

SPLIT_ROWS = 2**20  # of Parquet, read by one task
CHUNK_VALUES = 2**20  # of one chunk: 8 MB as float64
_FLOAT32_MAX = float(np.finfo(np.float32).max)
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
    largest = max(-rows.X.min(initial=0), rows.X.max(initial=0))
    if largest <= _FLOAT32_MAX:  # not so where it is NaN
        return
    _check_finite(rows, file, allow_missing)
    if np.nanmax(np.abs(rows.X)) > _FLOAT32_MAX:
        raise DataError(
            f"{file.path}: a value is beyond the float32 range that isolation forests work in; "
            "rescale the column"
        )


def _check_finite(
    rows: Table,
    file: File,
    allow_missing: bool,
) -> None:
    bad = np.isinf(rows.X) if allow_missing else ~np.isfinite(rows.X)
    if not bad.any():
        return
    row, column = (int(place) for place in np.argwhere(bad)[0])
    first_row = 0 if rows.index is None else int(rows.index[0])
    origin = RowOrigin(file, first_row)
    name = rows.names[column]
    bad_rows = int(bad.any(axis=1).sum())
    raise DataError(
        f"{origin.name(row)}, column {name!r}: {rows.X[row, column]} is not a finite "
        f"number; fill or drop such rows ({bad_rows} of the {len(bad)} that were read with it)",
        field=name,
        row=origin.number(row),
    )
