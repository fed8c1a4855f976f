"""The columns of a table as numbers, times, entities and labels, or an error that names file, line and column."""

from __future__ import annotations

import csv
import io
import reprlib
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from train.table.source import File
from vigil.arrays import Floats
from vigil.errors import DataError

SIGNED = (np.int64, np.int32, np.int16, np.int8)
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100


def line_of(file: File, row: int) -> int:
    """The line of the CSV `file` on which its data row `row` (from 0) ends: blank lines and those within quotes count."""
    with file.open() as opened:
        reader = csv.reader(io.TextIOWrapper(io.BufferedReader(opened), newline=""))  # type: ignore[type-var]
        filled = (
            reader.line_num
            for fields in reader
            if fields and (len(fields) > 1 or fields[0].strip())
        )
        with suppress(csv.Error):  # a field that is too long for it
            return next((line for i, line in enumerate(filled) if i == row + 1), row + 2)
    return row + 2


def entities(column: Any, file: File, first: int) -> NDArray[Any]:
    """Whose rows they are, as text; raises DataError where that is not said."""
    if column.isna().any():
        row = first + int(np.argmax(column.isna()))
        raise DataError(
            f"{where(file, row)}, column {column.name!r} is empty: whose row is it?",
            field=column.name,
            row=row,
        )
    return column.astype(str).to_numpy(object)


def where(file: File, row: int) -> str:
    """How a message names row `row` (from 0) of `file`."""
    return (
        f"{file.path}, line {line_of(file, row)}"
        if file.kind == ".csv"
        else f"{file.path}, row {row + 1}"
    )


def numbers(column: Any, name: str, file: File, first: int) -> Floats:
    """The column as float64, or a DataError that names the first value that is no number."""
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        raise DataError(
            f"{file.path}, column {name!r} holds times, not numbers: name it with --time, or leave it out",
            field=name,
        )
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufb":
        return column.to_numpy(np.float64)
    try:
        values = np.asarray(pd.to_numeric(column.astype(object), errors="coerce"), dtype=np.float64)
    except OverflowError as error:
        raise DataError(
            f"{file.path}, column {name!r}: a number has hundreds of digits; rescale the column",
            field=name,
        ) from error
    wrong = np.isnan(values) & column.notna().to_numpy()
    if column.dtype == object:  # bytes of digits are no number
        wrong |= np.fromiter((isinstance(value, bytes) for value in column), bool, len(column))
    if wrong.any():
        row = int(np.argmax(wrong))
        mixed = " (others are)" if (~np.isnan(values)).any() else ""
        raise DataError(
            f"{where(file, first + row)}, column {name!r}: {_short.repr(column.iloc[row])} is not a number{mixed}; "
            "a forest learns from numbers: leave the column out (--columns), encode it, or use --label, --time, --entity",
            field=name,
            row=first + row,
        )
    return values


def times(column: Any, name: str, file: File, first: int) -> NDArray[Any]:
    """Times as whole nanoseconds, or as the numbers that they are."""
    if pd.api.types.is_numeric_dtype(column):
        whole = column.dtype in SIGNED  # float64 would round nanoseconds since 1970
        values: Any = column.to_numpy(np.int64 if whole else np.float64)
        wrong = ~np.isfinite(values)
    else:
        found = pd.to_datetime(
            column,
            utc=True,
            errors="coerce",
            format=None if column.dtype.kind == "M" else "ISO8601",
        )
        try:
            values, wrong = (
                found.dt.as_unit("ns").astype("int64").to_numpy(),
                found.isna().to_numpy(),
            )
        except pd.errors.OutOfBoundsDatetime as error:
            raise DataError(
                f"{file.path}, column {name!r} has a time before 1678 or after 2261: {error}",
                field=name,
            ) from error
    if wrong.any():
        row = int(np.argmax(wrong))
        told = f"{where(file, first + row)}, column {name!r}: {_short.repr(column.iloc[row])} is not a time (ISO 8601, or a number)"
        raise DataError(told, field=name, row=first + row)
    return values


def labels(values: NDArray[Any], file: File, first: int = 0) -> NDArray[np.int64]:
    """1 for an anomaly, 0 for all else; raises DataError for anything but these two."""
    try:
        labels = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{file.path}: labels must be 0 (normal) or 1 (anomaly)") from error
    wrong = ~np.isin(labels, (0, 1))
    if wrong.any():
        row = first + int(np.argmax(wrong))
        raise DataError(
            f"{where(file, row)}: labels must be 0 (normal) or 1 (anomaly), found {labels[wrong][0]}",
            row=row,
        )
    return labels.astype(np.int64)
