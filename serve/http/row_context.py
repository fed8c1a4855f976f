"""Entity and time of the rows of a request, as `/predict` takes them. Pure."""

from __future__ import annotations

from typing import Annotated, Any, NoReturn

import msgspec
from msgspec import UNSET, UnsetType

from serve.http.sent_values import abbreviate
from serve.model.report import RowContext
from train.table.cells import MAX_ENTITY_LENGTH
from vigil.errors import InvalidFeatures, MalformedRequest
from vigil.timestamps import to_unix_seconds

_EntityName = Annotated[
    str | int, msgspec.Meta(description=f"a name of at most {MAX_ENTITY_LENGTH} characters")
]
TimeValue = Annotated[
    str | int | float,
    msgspec.Meta(description="ISO 8601 (UTC where it has no zone), or milliseconds since 1970"),
]


class ContextBody(msgspec.Struct):
    """Whose row it is, and when it was measured: for one row or all, or for each."""

    entity: _EntityName | UnsetType | None = UNSET
    time: TimeValue | UnsetType | None = UNSET
    entities: list[_EntityName] | UnsetType | None = UNSET
    times: list[TimeValue] | UnsetType | None = UNSET


def has_context(document: Any) -> bool:
    """Whether a document names an entity or a time; most do not, and pay for the question alone."""
    if document.entity is not UNSET or document.time is not UNSET:
        return True
    return document.entities is not UNSET or document.times is not UNSET


def context_of_rows(document: Any, rows: int) -> RowContext | None:
    """Return the entities and times of the `rows` of a document; None where it names none.

    The document has the fields of ContextBody, of any type. Raises InvalidFeatures (422) and
    MalformedRequest (400).
    """
    entities = _for_each(document, "entity", "entities", rows=rows)
    times = _for_each(document, "time", "times", rows=rows)
    return check_context(entities, times)


def check_context(entities: list[Any] | None, times: list[Any] | None) -> RowContext | None:
    """Return whose rows they are; None without any. Raises InvalidFeatures."""
    if entities is None and times is None:
        return None
    return RowContext(
        entities and [_entity(value, i) for i, value in enumerate(entities)],
        times and [_seconds(value, i) for i, value in enumerate(times)],
    )


def context_colons(document: Any) -> int:
    """Return how many colons the entities and times of a document take in its JSON, at least."""
    return sum(
        1 + _colons(getattr(document, field))
        for field in ContextBody.__struct_fields__
        if getattr(document, field) is not UNSET
    )


def _colons(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_colons, value))
    if isinstance(value, str):
        return value.count(":")
    return 0


def _for_each(
    document: Any,
    singular: str,
    plural: str,
    *,
    rows: int,
) -> list[Any] | None:
    """The values of one of the two fields, one for each row."""
    single = getattr(document, singular)
    values = getattr(document, plural)
    if _is_absent(values):
        if _is_absent(single):
            return None
        return [single] * rows
    if not _is_absent(single):
        raise MalformedRequest(f"send `{singular}` or `{plural}`, not both")
    if not isinstance(values, list) or len(values) != rows:
        raise MalformedRequest(f"`{plural}` must be a list with an entry for each row")
    return values


def _is_absent(value: Any) -> bool:
    return value is UNSET or value is None


def _entity(value: Any, row: int) -> str:
    is_name = isinstance(value, str | int) and not isinstance(value, bool)
    name = str(value)
    if not is_name or not name.strip() or len(name) > MAX_ENTITY_LENGTH or not is_writable(name):
        _refuse("entity", value, row, needed=f"a name of 1 to {MAX_ENTITY_LENGTH} characters")
    return name


def is_writable(name: str) -> bool:
    """Return whether a name can be written: half of a surrogate pair of JSON cannot."""
    return name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name)


def _seconds(value: Any, row: int) -> float:
    try:
        return to_unix_seconds(value)
    except (ValueError, TypeError, OverflowError):
        needed = "a time in ISO 8601, or in milliseconds since 1970"
        _refuse("time", value, row, needed=needed)


def _refuse(
    field: str,
    value: Any,
    row: int,
    *,
    needed: str,
) -> NoReturn:
    message = f"row {row}, `{field}`: {abbreviate(value)} is not {needed}"
    raise InvalidFeatures(message, field=field, row=row)
