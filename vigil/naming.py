"""Names in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def name_first(
    names: Sequence[str],
    most: int,
    count: int | None = None,
) -> str:
    """Return the first names with commas between, and how many more of the `count` there are.

    count: of all, where `names` are not all of them
    """
    listed = ", ".join(names[:most])
    more = (count or len(names)) - most
    return f"{listed} and {more} more" if more > 0 else listed


def name_differing(names: Iterable[str], others: Iterable[str]) -> str:
    """Return the names that are among one of them alone, with commas between."""
    return ", ".join(sorted(set(names) ^ set(others)))
