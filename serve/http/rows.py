"""Rows of a JSON body as a matrix; every refusal names the feature and the row. Pure."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import msgspec
import numpy as np
from numpy.typing import NDArray

from serve.http.sent_values import abbreviate
from train.table.cells import FLOAT32_MAX
from vigil.arrays import Floats
from vigil.errors import BodyTooLarge, InvalidFeatures, MalformedRequest

MAX_LISTED_NAMES = 20  # of features in an error message
MAX_FIELD_LENGTH = 100
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_NUMBER_TYPES = {int, float}

# Rows as the OpenAPI document describes them. A refusal says more than the decoder's own bounds
# would: those that it does not check are in `extra_json_schema`.
ListRow = Annotated[list[float], msgspec.Meta(extra_json_schema={"minItems": 1})]
NamedRow = Annotated[dict[str, float], msgspec.Meta(extra_json_schema={"minProperties": 1})]
AnyRow = ListRow | NamedRow
JsonRows = Annotated[list[AnyRow], msgspec.Meta(extra_json_schema={"minItems": 1})]


def decode_body(body: bytes, form: type[Any], hint: str) -> Any:
    """Return the JSON body as a `form`; raises MalformedRequest with the hint what to send."""
    try:
        return msgspec.json.decode(body, type=form)
    except DECODE_ERRORS as error:
        raise MalformedRequest(f"{hint} ({error})") from error


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
    try:
        json.loads(body, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError) as error:
        raise MalformedRequest(f"the body is not valid JSON: {error}") from error


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    names: set[str] = set()
    for name, _ in pairs:
        if name in names:
            raise MalformedRequest(f"{abbreviate(name)} is there twice in one object")
        names.add(name)


def to_matrix(rows: list[Any], names: tuple[str, ...], is_typed: bool = False) -> Floats:
    """Return the rows as [n, d] in the order of `names`; `is_typed`: all values are floats.

    Raises InvalidFeatures (422) that names the feature and the row.
    """
    if isinstance(rows[0], dict):
        rows = [_ordered_values(row, names, i) for i, row in enumerate(rows)]
    elif is_typed and len(rows) == 1 and _is_row_valid(rows[0], len(names)):
        return np.array(rows, np.float64)
    X: NDArray[Any] = np.empty(0)
    if is_typed or _are_numbers(rows):
        with suppress(ValueError, TypeError, OverflowError):
            X = np.array(rows, np.float64)
    if X.ndim != 2 or X.shape[1] != len(names) or not (np.abs(X) <= FLOAT32_MAX).all():
        _refuse_first_invalid(rows, names)
    return X


def _is_row_valid(row: list[float], features: int) -> bool:
    """One row is checked faster without numpy; JSON has no NaN."""
    return len(row) == features and -FLOAT32_MAX <= min(row) <= max(row) <= FLOAT32_MAX


def _are_numbers(rows: list[Any]) -> bool:
    """Whether the rows are lists of numbers.

    numpy takes booleans for numbers, and makes of one long string an array in which each value has
    its length.
    """
    return all(type(row) is list and _NUMBER_TYPES.issuperset(map(type, row)) for row in rows)


def _ordered_values(row: Any, names: tuple[str, ...], i: int) -> list[Any]:
    if not isinstance(row, dict):
        raise InvalidFeatures("rows must be all lists or all objects", row=i)
    for name in row:
        if name not in names:
            known = _listed(names)
            raise InvalidFeatures(
                f"row {i}: the model has no feature {abbreviate(name)}; it has {known}",
                field=name[:MAX_FIELD_LENGTH],
                row=i,
            )
    for name in names:
        if name not in row:
            raise InvalidFeatures(f"row {i}: feature {name!r} is missing", field=name, row=i)
    return [row[name] for name in names]


def _refuse_first_invalid(rows: list[Any], names: tuple[str, ...]) -> None:
    """Raise InvalidFeatures for the first value that is no finite float32 number."""
    for i, row in enumerate(rows):
        if not isinstance(row, list):
            raise InvalidFeatures(f"row {i} is not a list of numbers", row=i)
        if len(row) != len(names):
            _refuse_length(i, len(row), names)
        for name, value in zip(names, row, strict=True):
            if not _is_finite_number(value):
                message = f"row {i}, feature {name!r}: {abbreviate(value)} is not a finite number"
                raise InvalidFeatures(message, field=name, row=i)


def _refuse_length(i: int, length: int, names: tuple[str, ...]) -> NoReturn:
    missing = ""
    if length < len(names):
        missing = f", {names[length]!r} is the first that is missing"
    raise InvalidFeatures(
        f"row {i} has {length} features, the model needs {len(names)}{missing}: {_listed(names)}",
        row=i,
    )


def _is_finite_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= FLOAT32_MAX


def _listed(names: tuple[str, ...]) -> str:
    listed = ", ".join(names[:MAX_LISTED_NAMES])
    more = len(names) - MAX_LISTED_NAMES
    return f"{listed} and {more} more" if more > 0 else listed
