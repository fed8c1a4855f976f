"""What the first rows of a table show of it, within a second."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from train.table.checks import check_columns, check_rows, check_varies, varies
from train.table.dataset import table_roles
from train.table.reader import read_split, split_files
from train.table.roles import TableRoles
from train.table.schema import Columns
from train.table.source import File, find_files
from train.table.table import Table
from train.table.transform.fitting import check_fits


def preview(
    path: str | Path,
    columns: Columns,
    *,
    allow_missing: bool = False,
    min_rows: int | None = None,
    over_time: str | None = None,
) -> TableRoles:
    """Return the roles of the columns; raises DataError for what the first rows already show.

    With `min_rows` that is also that there are fewer, or that nothing varies in them, where they
    are all; with `over_time` that they lack what the transform needs. It takes a second, whatever
    the size of the table.
    """
    files = find_files(path)
    roles = table_roles(files, columns)
    chunks = _chunks(files, roles.columns, allow_missing)
    first = _first_with_rows(chunks)
    check_columns(first, str(path))
    if over_time:
        check_fits(over_time, first)
    if min_rows is not None and _is_little(first, min_rows) and next(chunks, None) is None:
        check_rows(first, str(path), min_rows)
        check_varies(first, str(path))
    return roles


def _first_with_rows(chunks: Iterator[Table]) -> Table:
    first = next(chunks)
    if len(first):
        return first
    return next((chunk for chunk in chunks if len(chunk)), first)


def _is_little(rows: Table, min_rows: int) -> bool:
    return len(rows) < min_rows or not varies(rows)


def _chunks(
    files: Sequence[File],
    columns: Columns,
    allow_missing: bool,
) -> Iterator[Table]:
    for split in split_files(files):
        yield from read_split(split, columns, allow_missing=allow_missing)
