"""What many checks come down to: a number within a bound, and names that are missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from policies.subjects import Props


def below(value: int, minimum: float) -> str | None:
    """Return the number, as a message names it, where it is below a minimum."""
    return str(value) if value < minimum else None


def above(value: int, maximum: float) -> str | None:
    """Return the number, as a message names it, where it is above a maximum."""
    return str(value) if value > maximum else None


def missing_from(present: Collection[Any], expected: Iterable[str]) -> str:
    """Return the expected names that are not present, as a message lists them."""
    return ", ".join(name for name in expected if name not in present)


def unset_in(props: Props, keys: Iterable[str]) -> str:
    """Return the keys that have no value, or an empty one, as a message lists them."""
    return ", ".join(key for key in keys if not props.get(key))


def names_of(entries: Iterable[Props]) -> str:
    """Return the names of entries, as a message lists them."""
    return ", ".join(str(entry.get("name")) for entry in entries)
