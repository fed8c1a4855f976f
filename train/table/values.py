"""Columns of a table as numbers, times, entities and labels.

What is none of these is an error that names file, line and column.
"""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from train.table.cells import MAX_ENTITY_LENGTH, clean_name, parse_value, show_value, why_no_number
from train.table.csv_reader import line_of
from train.table.source import File
from train.table.words import why_no_word
from vigil.arrays import Array, Flags, Floats, Positions
from vigil.errors import DataError

_SIGNED = (np.int64, np.int32, np.int16, np.int8)
_ADVICE = (
    "a forest learns from numbers: leave the column out (--ignore, --columns), encode it, "
    "or say what it is with --label, --time, --entity"
)
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


@dataclass(frozen=True)
class ParsedColumn:
    """A column as numbers [n], NaN where one is missing, and which values [n] are none."""

    numbers: Floats
    is_wrong: Flags


def parse_column(column: Any) -> ParsedColumn:
    """Return what the values of a column of a frame are as numbers; see train/table/cells.py."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iufb":
        none_wrong = np.zeros(len(column), bool)
        return ParsedColumn(column.to_numpy(np.float64), none_wrong)
    codes, values = _distinct(column)
    # The code of a missing value is -1, the last of these.
    parsed = [*map(parse_value, values), math.nan]
    is_wrong = np.array([number is None for number in parsed])
    numbers = np.array([math.nan if number is None else number for number in parsed])
    return ParsedColumn(numbers[codes], is_wrong[codes])


def _distinct(column: Any) -> tuple[Positions, list[Any]]:
    """The number of each value among the distinct ones, and these."""
    try:
        codes, values = pd.factorize(column.astype(object))
    except TypeError:  # lists and the like
        return np.arange(len(column)), list(column)
    return codes, list(values)


def parse_numbers(
    column: Any,
    name: str,
    origin: RowOrigin,
) -> Floats:
    """Return the column as float64; raises DataError that names the first value that is none."""
    _refuse_times(column, name, origin.file)
    parsed = parse_column(column)
    if parsed.is_wrong.any():
        row = int(np.argmax(parsed.is_wrong))
        others = "" if np.isnan(parsed.numbers).all() else "others are; "
        raise DataError(
            f"{origin.name(row)}, column {name!r}: {why_no_number(column.iloc[row])}; "
            f"{others}{_ADVICE}",
            field=name,
            row=origin.number(row),
        )
    return parsed.numbers


def _refuse_times(
    column: Any,
    name: str,
    file: File,
) -> None:
    types = pd.api.types
    if types.is_datetime64_any_dtype(column) or types.is_timedelta64_dtype(column):
        raise DataError(
            f"{file.path}, column {name!r} holds times, not numbers: "
            "name it with --time, or leave it out with --ignore",
            field=name,
        )


def parse_times(
    column: Any,
    name: str,
    origin: RowOrigin,
) -> Array:
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


def _numeric_times(column: Any) -> Array:
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


def parse_entities(column: Any, origin: RowOrigin) -> Array:
    """Return as text whose rows they are.

    Raises DataError where that is not said, or by a name that no other door takes.
    """
    missing = column.isna()
    if missing.any():
        row = int(np.argmax(missing))
        raise DataError(
            f"{origin.name(row)}, column {column.name!r} is empty: whose row is it?",
            field=column.name,
            row=origin.number(row),
        )
    names = column.astype(str).to_numpy(object)
    wrong = {name for name in set(names.tolist()) if not 0 < len(name.strip()) <= MAX_ENTITY_LENGTH}
    if wrong:
        row = next(row for row, name in enumerate(names) if name in wrong)
        raise DataError(
            f"{origin.name(row)}, column {column.name!r}: {show_value(names[row])} is not a name "
            f"of 1 to {MAX_ENTITY_LENGTH} characters",
            field=column.name,
            row=origin.number(row),
        )
    return names


def parse_words(
    column: Any,
    name: str,
    origin: RowOrigin,
) -> NDArray[Any]:
    """Return the words of a category [n]; raises DataError that names the first that is none."""
    codes, values = _distinct(column)
    for code, value in [*enumerate(values), (-1, None)]:
        reason = why_no_word(value)
        is_there = codes == code
        if reason is not None and is_there.any():
            row = int(np.argmax(is_there))
            raise DataError(
                f"{origin.name(row)}, column {name!r}: {reason}, or leave the column out "
                "(--ignore)",
                field=name,
                row=origin.number(row),
            )
    words = np.array([*map(clean_name, values), ""], object)
    return words[codes]


def parse_labels(
    column: Any,
    name: str,
    origin: RowOrigin,
) -> NDArray[np.int64]:
    """Return 1 for an anomaly, 0 for all else; raises DataError for anything but these two."""
    labels = parse_column(column).numbers
    is_wrong = ~np.isin(labels, (0, 1))
    if is_wrong.any():
        row = int(np.argmax(is_wrong))
        raise DataError(
            f"{origin.name(row)}, column {name!r}: labels must be 0 (normal) or 1 (anomaly), "
            f"found {show_value(column.iloc[row])}; if it holds no labels, leave it out with "
            "--ignore, or list the features with --columns",
            field=name,
            row=origin.number(row),
        )
    return labels.astype(np.int64)
