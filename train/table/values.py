"""Columns of a table as numbers, times, entities and labels.

What is none of these is an error that names file, line and column.
"""

from __future__ import annotations

import csv
import io
import reprlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from train.table.source import File
from vigil.arrays import Floats
from vigil.errors import DataError

_SIGNED = (np.int64, np.int32, np.int16, np.int8)
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 100


@dataclass(frozen=True)
class RowOrigin:
    """Place of rows that are read together: a file, from its row `first_row` (from 0) on."""

    file: File
    first_row: int = 0

    def number(self, row: int) -> int:
        """Return the number in the file of row `row` of those."""
        return self.first_row + int(row)

    def name(self, row: int) -> str:
        """Return how a message names row `row` of those: by its line in a CSV file."""
        number = self.number(row)
        if self.file.kind == ".csv":
            return f"{self.file.path}, line {line_of(self.file, number)}"
        return f"{self.file.path}, row {number + 1}"


def line_of(file: File, row: int) -> int:
    """Return the line of the CSV `file` on which its data row `row` (from 0) ends.

    Blank lines and those within quotes count.
    """
    with file.open() as stream, suppress(csv.Error):  # a field that is too long for it
        text = io.TextIOWrapper(io.BufferedReader(stream), newline="")  # type: ignore[type-var]
        for number, line in enumerate(_filled_lines(text)):
            if number == row + 1:
                return line
    return row + 2


def _filled_lines(text: IO[str]) -> Iterator[int]:
    """Numbers of the lines on which a record ends that is not blank; the header is the first."""
    reader = csv.reader(text)
    for fields in reader:
        if fields and (len(fields) > 1 or fields[0].strip()):
            yield reader.line_num


def parse_numbers(
    column: Any,
    name: str,
    origin: RowOrigin,
) -> Floats:
    """Return the column as float64; raises DataError that names the first value that is none."""
    _refuse_times(column, name, origin.file)
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufb":
        return column.to_numpy(np.float64)
    values = _to_floats(column, name, origin.file)
    wrong = np.isnan(values) & column.notna().to_numpy()
    if column.dtype == object:
        wrong |= _are_bytes(column)
    if wrong.any():
        raise _not_a_number(
            column,
            name,
            origin,
            values,
            wrong,
        )
    return values


def _refuse_times(
    column: Any,
    name: str,
    file: File,
) -> None:
    types = pd.api.types
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        raise DataError(
            f"{file.path}, column {name!r} holds times, not numbers: "
            "name it with --time, or leave it out",
            field=name,
        )


def _to_floats(
    column: Any,
    name: str,
    file: File,
) -> Floats:
    """The values as float64, NaN for what is no number."""
    try:
        values = pd.to_numeric(column.astype(object), errors="coerce")
        return np.asarray(values, dtype=np.float64)
    except OverflowError as error:
        raise DataError(
            f"{file.path}, column {name!r}: a number has hundreds of digits; rescale the column",
            field=name,
        ) from error


def _are_bytes(column: Any) -> NDArray[np.bool_]:
    """Bytes of digits are no number."""
    return np.fromiter((isinstance(value, bytes) for value in column), bool, len(column))


def _not_a_number(
    column: Any,
    name: str,
    origin: RowOrigin,
    values: Floats,
    wrong: NDArray[np.bool_],
) -> DataError:
    row = int(np.argmax(wrong))
    value = _short.repr(column.iloc[row])
    others = " (others are)" if (~np.isnan(values)).any() else ""
    return DataError(
        f"{origin.name(row)}, column {name!r}: {value} is not a number{others}; "
        "a forest learns from numbers: leave the column out (--columns), encode it, "
        "or use --label, --time, --entity",
        field=name,
        row=origin.number(row),
    )


def parse_times(
    column: Any,
    name: str,
    origin: RowOrigin,
) -> NDArray[Any]:
    """Return times as whole nanoseconds, or as the numbers that they are.

    Raises DataError that names the first value that is none.
    """
    if pd.api.types.is_numeric_dtype(column):
        values = _numeric_times(column)
        wrong = ~np.isfinite(values)
    else:
        dates = _to_dates(column)
        wrong = dates.isna().to_numpy()
        values = _nanoseconds(dates, name, origin.file)
    if wrong.any():
        row = int(np.argmax(wrong))
        value = _short.repr(column.iloc[row])
        raise DataError(
            f"{origin.name(row)}, column {name!r}: {value} is not a time (ISO 8601, or a number)",
            field=name,
            row=origin.number(row),
        )
    return values


def _numeric_times(column: Any) -> NDArray[Any]:
    """Whole numbers stay whole: float64 would round nanoseconds since 1970."""
    return column.to_numpy(np.int64 if column.dtype in _SIGNED else np.float64)


def _to_dates(column: Any) -> Any:
    """The dates of a column, NaT for what is none."""
    form = None if column.dtype.kind == "M" else "ISO8601"
    return pd.to_datetime(
        column,
        utc=True,
        errors="coerce",
        format=form,
    )


def _nanoseconds(
    dates: Any,
    name: str,
    file: File,
) -> NDArray[np.int64]:
    try:
        return dates.dt.as_unit("ns").astype("int64").to_numpy()
    except pd.errors.OutOfBoundsDatetime as error:
        raise DataError(
            f"{file.path}, column {name!r} has a time before 1678 or after 2261: {error}",
            field=name,
        ) from error


def parse_entities(column: Any, origin: RowOrigin) -> NDArray[Any]:
    """Return as text whose rows they are; raises DataError where that is not said."""
    missing = column.isna()
    if missing.any():
        row = int(np.argmax(missing))
        raise DataError(
            f"{origin.name(row)}, column {column.name!r} is empty: whose row is it?",
            field=column.name,
            row=origin.number(row),
        )
    return column.astype(str).to_numpy(object)


def parse_labels(values: NDArray[Any], origin: RowOrigin) -> NDArray[np.int64]:
    """Return 1 for an anomaly, 0 for all else; raises DataError for anything but these two."""
    try:
        labels = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{origin.file.path}: labels must be 0 (normal) or 1 (anomaly)") from error
    wrong = ~np.isin(labels, (0, 1))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{origin.name(row)}: labels must be 0 (normal) or 1 (anomaly), "
            f"found {labels[wrong][0]}",
            row=origin.number(row),
        )
    return labels.astype(np.int64)
