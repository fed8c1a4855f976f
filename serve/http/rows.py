"""Rows of a JSON body as a matrix; every refusal names the feature and the row. Pure.

What a name and a number are is the same as in a table (train/table/cells.py).
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import msgspec
import numpy as np

from serve.http.sent_row import FeatureValue
from serve.http.sent_values import OutOfRangeNumber, abbreviate, read_float
from train.table.cells import (
    FLOAT32_MAX,
    NOT_FINITE,
    clean_name,
    is_missing,
    to_float,
    why_no_number,
)
from vigil.arrays import Floats
from vigil.errors import BodyTooLarge, InvalidFeatures, MalformedRequest
from vigil.naming import name_first

MAX_LISTED_NAMES = 20  # of features in an error message
MAX_FIELD_LENGTH = 100
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NUMBER_TYPES = {int, float}
_NO_NAMES: frozenset[str] = frozenset()

# Rows as the OpenAPI document describes them. A refusal says more than the decoder's own bounds
# would: those that it does not check are in `extra_json_schema`.
ListRow = Annotated[list[FeatureValue], msgspec.Meta(extra_json_schema={"minItems": 1})]
NamedRow = Annotated[dict[str, FeatureValue], msgspec.Meta(extra_json_schema={"minProperties": 1})]
AnyRow = ListRow | NamedRow
JsonRows = Annotated[list[AnyRow], msgspec.Meta(extra_json_schema={"minItems": 1})]


def decode_body(body: bytes, form: type[Any], hint: str) -> Any:
    """Return the JSON body as a `form`; raises MalformedRequest with the hint what to send."""
    try:
        return msgspec.json.decode(body, type=form)
    except DECODE_ERRORS as error:
        raise MalformedRequest(f"{hint} ({error})") from error


def decode_json(body: bytes | memoryview) -> Any:
    """Return JSON as others write it: with a byte-order mark, NaN, or numbers beyond float64.

    UTF-16 is read too. Slower than msgspec, which knows none of this. Raises MalformedRequest, also
    for an object that has a name twice.
    """
    try:
        return json.loads(bytes(body), object_pairs_hook=_refuse_duplicates, parse_float=read_float)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body is not valid JSON: {error}") from error


def try_decode_json(body: bytes) -> Any:
    """Return what `decode_json` returns, None where it refuses."""
    try:
        return decode_json(body)
    except MalformedRequest:
        return None


def check_row_count(rows: int, max_rows: int) -> None:
    """Raise BodyTooLarge when there are more rows than one request may have."""
    if rows > max_rows:
        raise BodyTooLarge(
            f"{rows} rows in one request, the limit is {max_rows}: send several requests"
        )


def refuse_duplicate_names(body: bytes, others: int, objects: list[Any]) -> None:
    """Raise MalformedRequest when an object of the JSON `body` has a name twice.

    Which of the two is meant cannot be known: the decoder keeps the last of them and says nothing.
    Each name has its colon: a body with no more colons than `objects` have names, and `others`
    beside them, is spared the second look.
    """
    names = objects[0] if isinstance(objects[0], dict) else ()
    colons_of_names = sum(1 + name.count(":") for name in names)
    if body.count(b":") <= others + len(objects) * colons_of_names:
        return
    decode_json(body)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise MalformedRequest(f"{abbreviate(name)} is there twice in one object")
        values[name] = value
    return values


class ColumnMatcher:
    """Finds the features of a model among the names that a client sends.

    Blanks and byte-order marks around a name are no part of it. `unused` are columns of the table
    that the model was trained on, and does not learn from: they are left out.
    """

    def __init__(self, names: tuple[str, ...], unused: Collection[str] = _NO_NAMES) -> None:
        self._names = names
        self._unused = unused
        self._by_clean_name = {clean_name(name): name for name in names}
        self._seen: dict[str, str | None] = {}

    def feature(self, name: str, row: int | None = None) -> str | None:
        """Return the feature of this name, None for an unused column; raises InvalidFeatures."""
        if name not in self._seen:
            self._seen[name] = self._find(name, row)
        return self._seen[name]

    def _find(self, name: str, row: int | None) -> str | None:
        if name in self._names:
            return name
        cleaned = clean_name(name)
        feature = self._by_clean_name.get(cleaned)
        if feature is None and cleaned not in self._unused:
            listed = name_first(self._names, MAX_LISTED_NAMES)
            raise InvalidFeatures(
                f"{_where(row)}the model has no feature {abbreviate(name)}; it has {listed}",
                field=name[:MAX_FIELD_LENGTH],
                row=row,
            )
        return feature

    def require_all(self, names: Collection[str], row: int | None = None) -> None:
        """Raise InvalidFeatures for the first feature that is not among `names`."""
        for name in self._names:
            if name not in names:
                message = f"{_where(row)}feature {name!r} is missing"
                raise InvalidFeatures(message, field=name, row=row)

    def ordered_values(self, row: dict[str, Any], i: int) -> list[Any]:
        """Return the values of row `i` in the order of the model."""
        values: dict[str, Any] = {}
        for name, value in row.items():
            feature = self.feature(name, i)
            if feature in values:
                raise MalformedRequest(f"row {i}: {abbreviate(name)} is there twice")
            if feature is not None:
                values[feature] = value
        self.require_all(values, i)
        return [values[name] for name in self._names]


def _where(row: int | None) -> str:
    return "" if row is None else f"row {row}: "


def to_matrix(
    rows: list[Any],
    names: tuple[str, ...],
    is_typed: bool = False,
    *,
    unused: Collection[str] = _NO_NAMES,
    may_miss: bool = False,
) -> Floats:
    """Return the rows as [n, d] in the order of `names`; `is_typed`: all values are floats.

    Truth values are 1 and 0. `unused` are columns that may be there, and are left out. Values that
    `may_miss` are NaN where they do. Raises InvalidFeatures (422) that names the feature and the
    row.
    """
    if isinstance(rows[0], dict):
        rows = _in_order(rows, names, unused)
    elif is_typed and len(rows) == 1 and _is_row_valid(rows[0], len(names)):
        return np.array(rows, np.float64)
    X = _plain_matrix(rows, is_typed)
    if X is None or X.shape[1:] != (len(names),) or not (np.abs(X) <= FLOAT32_MAX).all():
        return _checked_matrix(rows, names, may_miss)
    return X


def _in_order(rows: list[Any], names: tuple[str, ...], unused: Collection[str]) -> list[list[Any]]:
    """The values of each object in the order of `names`; most have just these names."""
    matcher: ColumnMatcher | None = None
    ordered: list[list[Any]] = []
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InvalidFeatures("rows must be all lists or all objects", row=i)
        values = _values_of(row, names)
        if values is None:
            matcher = matcher or ColumnMatcher(names, unused)
            values = matcher.ordered_values(row, i)
        ordered.append(values)
    return ordered


def _values_of(row: dict[str, Any], names: tuple[str, ...]) -> list[Any] | None:
    """The values of an object that has just these names."""
    if len(row) != len(names):
        return None
    try:
        return [row[name] for name in names]
    except KeyError:
        return None


def _is_row_valid(row: list[float], features: int) -> bool:
    """One row is checked faster without numpy; JSON has no NaN."""
    return len(row) == features and -FLOAT32_MAX <= min(row) <= max(row) <= FLOAT32_MAX


def _plain_matrix(rows: list[Any], is_typed: bool) -> Floats | None:
    """The matrix of rows that are lists of numbers, as nearly all are."""
    if is_typed or _are_numbers(rows):
        with suppress(ValueError, TypeError, OverflowError):
            return np.array(rows, np.float64)
    return None


def _are_numbers(rows: list[Any]) -> bool:
    """Whether the rows are lists of numbers.

    numpy takes text for numbers, and makes of one long string an array in which each value has
    its length.
    """
    return all(type(row) is list and _NUMBER_TYPES.issuperset(map(type, row)) for row in rows)


def _checked_matrix(
    rows: list[Any],
    names: tuple[str, ...],
    may_miss: bool,
) -> Floats:
    """The matrix of rows that are looked at value by value; raises InvalidFeatures."""
    checked = [_checked_row(row, names, i, may_miss) for i, row in enumerate(rows)]
    return np.array(checked, np.float64)


def _checked_row(
    row: Any,
    names: tuple[str, ...],
    i: int,
    may_miss: bool,
) -> list[float]:
    if not isinstance(row, list):
        raise InvalidFeatures(f"row {i} is not a list of numbers", row=i)
    if len(row) != len(names):
        refuse_length(i, len(row), names)
    named = zip(names, row, strict=True)
    return [
        math.nan if may_miss and is_missing(value) else _checked_number(value, name, i)
        for name, value in named
    ]


def _checked_number(value: Any, name: str, i: int) -> float:
    if isinstance(value, int | float):
        number = to_float(value)
        if abs(number) <= FLOAT32_MAX:
            return number
    raise InvalidFeatures(f"row {i}, feature {name!r}: {_why_refused(value)}", field=name, row=i)


def _why_refused(value: Any) -> str:
    if isinstance(value, OutOfRangeNumber):
        return f"{abbreviate(value)} {NOT_FINITE}"
    return why_no_number(value)


def refuse_length(i: int, length: int, names: tuple[str, ...]) -> NoReturn:
    """Raise InvalidFeatures for row `i`, which has `length` values, not one for each name."""
    missing = ""
    if length < len(names):
        missing = f", {names[length]!r} is the first that is missing"
    listed = name_first(names, MAX_LISTED_NAMES)
    raise InvalidFeatures(
        f"row {i} has {length} features, the model needs {len(names)}{missing}: {listed}",
        row=i,
    )
