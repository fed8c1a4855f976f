"""Rows of a CSV file, a chunk at a time."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd

from train.table.frame import chunk_rows, frame_to_table
from train.table.schema import Columns, infer_schema
from train.table.source import File, FileSplit
from train.table.table import Table
from train.table.values import RowOrigin
from vigil.errors import DataError

_BLOCK_BYTES = 65536
_BAD_CSV = (
    pd.errors.ParserError,
    pd.errors.ParserWarning,
    pd.errors.EmptyDataError,
    csv.Error,
)


def read_csv(
    split: FileSplit,
    columns: Columns,
    chunk_values: int,
) -> Iterator[Table]:
    """Return the rows of a file in chunks of about `chunk_values` values.

    Raises DataError for what is no CSV, or has no names of columns.
    """
    file = split.file
    with _refusing_bad_csv(file), file.open() as stream:
        header = _read_header(stream, file)
        schema = infer_schema(header, columns, file.path) if header else None
        first_row = 0
        for frame in _frames(stream, chunk_rows(chunk_values, len(header))):
            assert schema is not None  # pandas refuses a file without header
            yield frame_to_table(frame, schema, RowOrigin(file, first_row))
            first_row += len(frame)


@contextmanager
def _refusing_bad_csv(file: File) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataError(f"{file.path} is not text in UTF-8 ({error}): save it as such") from error
    except _BAD_CSV as error:
        raise DataError(f"{file.path}: {error}") from error
    except OSError as error:
        raise DataError(f"{file.path} cannot be read: {error}") from error


def _frames(stream: Any, rows: int) -> Iterator[pd.DataFrame]:
    stream.seek(0)
    with warnings.catch_warnings():
        # Rows that are longer than the header.
        warnings.simplefilter("error", pd.errors.ParserWarning)
        yield from pd.read_csv(
            stream,
            index_col=False,
            chunksize=rows,
            low_memory=False,
        )


def _read_header(stream: Any, file: File) -> list[str]:
    """Names of the columns; raises DataError where the first row was taken for names."""
    text = io.TextIOWrapper(io.BytesIO(_first_record(stream)), "utf-8-sig", newline="")
    header = next(csv.reader(text), [])
    if _are_measurements(header):
        first_names = ", ".join(header[:3])
        raise DataError(
            f"{file.path}, line 1 holds numbers ({first_names}, ..): it must name the columns"
        )
    return header


def _are_measurements(header: list[str]) -> bool:
    """Names may be whole numbers (pandas counts columns), but not measured ones."""
    try:
        numbers = [float(name) for name in header]
    except ValueError:
        return False
    return not all(number.is_integer() for number in numbers)


def _first_record(stream: Any) -> bytes:
    """Lines up to which all quotes are closed. pandas takes the first that is not blank."""
    lines = b""
    while line := _read_line(stream):
        lines = lines + line if lines.strip() else line
        if lines.strip() and lines.count(b'"') % 2 == 0:
            break
    return lines.lstrip()


def _read_line(stream: Any) -> bytes:
    """Read a line; pyarrow's files have no readline for binary data."""
    if hasattr(stream, "peek"):
        return stream.readline()
    start = stream.tell()
    block = stream.read(_BLOCK_BYTES)
    end = block.find(b"\n") + 1 or len(block)
    stream.seek(start + end)
    return block[:end]
