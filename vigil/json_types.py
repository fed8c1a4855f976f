"""Types of decoded JSON, and objects without what is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard, TypeVar

JsonObject = dict[str, Any]
# An object that is only read: of an answer, a bundle or the registry.
Fields = Mapping[str, Any]
# Numbers by name.
Numbers = Mapping[str, float]
Value = TypeVar("Value")


def without_none(values: Mapping[str, Value | None]) -> dict[str, Value]:
    """Return the values that are there."""
    return {name: value for name, value in values.items() if value is not None}


def is_list_of_texts(value: Any) -> TypeGuard[list[str]]:
    """Return whether a value is a list of texts."""
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
