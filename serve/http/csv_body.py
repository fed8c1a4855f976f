"""Rows of a body of text/csv, by the reader that tables to train on are read by. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from serve.http.category_rows import join_words
from serve.http.context_columns import ContextColumns
from serve.http.rows import ColumnMatcher
from serve.model.report import RowContext
from train.table.categories import CategoryCodec
from train.table.cells import FLOAT32_MAX, parse_value, why_no_number
from train.table.csv_reader import CsvReader, line_of
from train.table.schema import Columns
from train.table.source import FileInMemory
from train.table.values import parse_column
from vigil.arrays import Flags, Floats
from vigil.errors import DataError, InvalidFeatures, MalformedRequest

if TYPE_CHECKING:
    import pandas as pd

_NAME = "the body"  # in messages


def decode_csv(
    body: bytes,
    charset: str | None,
    matcher: ColumnMatcher,
    *,
    names: tuple[str, ...],
    whose: ContextColumns,
    may_miss: bool = False,
    categories: CategoryCodec | None = None,
) -> tuple[Floats, RowContext | None]:
    """Return the rows [n, d] of a table with a header, and whose they are by the columns `whose`.

    Its columns are in any order. Values that `may_miss` are NaN where they do; `categories` make
    numbers of words.

    Raises MalformedRequest (400) or InvalidFeatures (422).
    """
    file = FileInMemory(_NAME, len(body), "", encoding=charset, content=body)
    declared = () if categories is None else categories.declared
    frame = _read(file, Columns(entity=whose.entity, features=names, categories=declared))
    positions = _positions(frame, matcher)
    matcher.require_all(positions)
    numbers = names if categories is None else categories.numbers
    columns = [(name, positions[name]) for name in numbers]
    X = _numbers(frame, columns, file, may_miss=may_miss)
    if categories is not None:
        X = join_words(X, _words(frame, positions, categories), categories)
    return X, whose.take_from_frame(frame)


def _numbers(
    frame: pd.DataFrame,
    columns: list[tuple[str, int]],
    file: FileInMemory,
    *,
    may_miss: bool,
) -> Floats:
    """The columns [n, d] as numbers; `columns`: the features, and where they are in the frame."""
    chosen = frame.iloc[:, [position for _, position in columns]]
    X = _matrix(chosen)
    is_wrong = ~(np.abs(X) <= FLOAT32_MAX)  # what is no number is NaN there
    if may_miss and is_wrong.any():
        is_wrong &= ~_is_missing(chosen)
    if is_wrong.any():
        _refuse_first(frame, is_wrong, columns, file=file)
    return X


def _words(
    frame: pd.DataFrame,
    positions: dict[str, int],
    categories: CategoryCodec,
) -> list[list[Any]]:
    """The values of categories [n][c], None where one is missing."""
    chosen = frame.iloc[:, [positions[name] for name in categories.words]].astype(object)
    return chosen.where(chosen.notna(), None).to_numpy().tolist()


def _matrix(frame: pd.DataFrame) -> Floats:
    """The columns as numbers, NaN for what is none."""
    if all(dtype.kind in "iufb" for dtype in frame.dtypes):
        return frame.to_numpy(np.float64)
    columns = (frame.iloc[:, position] for position in range(frame.shape[1]))
    return np.column_stack([parse_column(column).numbers for column in columns])


def _is_missing(frame: pd.DataFrame) -> Flags:
    """Which values [n, d] are missing, and not text."""
    parsed = [parse_column(frame.iloc[:, position]) for position in range(frame.shape[1])]
    return np.column_stack([np.isnan(one.numbers) & ~one.is_wrong for one in parsed])


def _read(file: FileInMemory, columns: Columns) -> pd.DataFrame:
    try:
        return next(CsvReader(file, columns).frames(None))
    except DataError as error:
        raise MalformedRequest(error.message) from error


def _positions(frame: pd.DataFrame, matcher: ColumnMatcher) -> dict[str, int]:
    """Where each feature is among the columns."""
    positions: dict[str, int] = {}
    for position, name in enumerate(frame):
        feature = matcher.feature(str(name))
        if feature in positions:
            raise MalformedRequest(f"the header has {feature!r} twice")
        if feature is not None:
            positions[feature] = position
    return positions


def _refuse_first(
    frame: pd.DataFrame,
    is_wrong: Flags,
    columns: list[tuple[str, int]],
    *,
    file: FileInMemory,
) -> NoReturn:
    """Raise for the first wrong value; `columns`: the features, and where they are in the frame."""
    row, column = (int(place) for place in np.argwhere(is_wrong)[0])
    name, position = columns[column]
    value = frame.iloc[row, position]
    number = parse_value(value)
    reason = why_no_number(value if number is None else number)
    line = line_of(file, row)
    raise InvalidFeatures(
        f"row {row}, feature {name!r}: {reason} (line {line})",
        field=name,
        row=row,
    )
