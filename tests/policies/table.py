"""What a case is.

A rule, the single changes of the good stack that break it, and a value that it cannot do without.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tests.policies.good import GOOD
from tests.policies.harness import REMOVED, UNKNOWN, Given, changed


@dataclass(frozen=True)
class Break:
    """A change of one property of one resource, and what the rule says about it.

    An empty path and REMOVED take the whole resource away. `on` is the resource that the message is
    about, where that is another.
    """

    resource: str
    path: str
    value: Any
    message: str
    on: str = ""


@dataclass(frozen=True)
class Case:
    """All of a rule.

    `unknown` is (resource, path) of a value that it needs; None where it needs none.
    """

    rule: str
    unknown: tuple[str, str] | None
    breaks: Sequence[Break]


def broken(resource: str, path: str, value: Any) -> list[Given]:
    """The good stack with one change."""
    if not path and isinstance(value, dict):
        return varied(resource, path, value)
    if not path:
        return [each for each in GOOD if each.name != resource]
    assert any(each.name == resource for each in GOOD), resource
    return [changed(each, path, value) if each.name == resource else each for each in GOOD]


def varied(resource: str, path: str, value: Any) -> list[Given]:
    """The good stack with one change; an empty path replaces all props."""
    if path:
        return broken(resource, path, value)
    return [replace(each, props=value) if each.name == resource else each for each in GOOD]


def linked(resource: str, path: str, *names: str) -> list[Given]:
    """The good stack with a value that is unknown, and known only to come from these resources."""
    top = path.split(".")[0]
    return [
        replace(each, links={**each.links, top: list(names)}) if each.name == resource else each
        for each in broken(resource, path, UNKNOWN)
    ]


__all__ = ["REMOVED", "Break", "Case", "broken", "linked", "varied"]
