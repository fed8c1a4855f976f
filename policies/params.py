"""Parameters of rules, as JSON schemas: what an environment may set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

ParamSchema = Mapping[str, Any]


def strings(description: str, default: Sequence[str]) -> ParamSchema:
    """Declare a list of strings."""
    items = {"type": "string"}
    return _schema(
        "array",
        description,
        list(default),
        items=items,
    )


def integers(description: str, default: Sequence[int]) -> ParamSchema:
    """Declare a list of whole numbers."""
    items = {"type": "integer"}
    return _schema(
        "array",
        description,
        list(default),
        items=items,
    )


def integers_or_strings(description: str, default: Sequence[int | str]) -> ParamSchema:
    """Declare a list of whole numbers and strings."""
    items = {"type": ["integer", "string"]}
    return _schema(
        "array",
        description,
        list(default),
        items=items,
    )


def text(description: str, default: str) -> ParamSchema:
    """Declare a string."""
    return _schema("string", description, default)


def integer(
    description: str,
    default: int,
    **bounds: int,
) -> ParamSchema:
    """Declare a whole number; `bounds` are `minimum` and `maximum`."""
    return _schema(
        "integer",
        description,
        default,
        **bounds,
    )


def number(
    description: str,
    default: float,
    **bounds: float,
) -> ParamSchema:
    """Declare a number; `bounds` are `minimum` and `maximum`."""
    return _schema(
        "number",
        description,
        default,
        **bounds,
    )


def _schema(
    type_: str,
    description: str,
    default: Any,
    **more: Any,
) -> ParamSchema:
    return {
        "type": type_,
        **more,
        "default": default,
        "description": description,
    }
