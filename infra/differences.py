"""Where two objects of a rendering differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vigil.json_types import JsonObject

ObjectPath = tuple[str, ...]
_NAME_KEYS = ("name", "groupName", "key")


def differing_paths(
    old: Any,
    new: Any,
    path: ObjectPath = (),
) -> Iterator[ObjectPath]:
    """The paths of all leaves that differ; lists of named things are compared by name."""
    if isinstance(old, list) and isinstance(new, list):
        old = _by_name(old)
        new = _by_name(new)
    if isinstance(old, dict) and isinstance(new, dict):
        yield from _differing_keys(old, new, path)
    elif old != new:
        yield path


def _differing_keys(
    old: JsonObject,
    new: JsonObject,
    path: ObjectPath,
) -> Iterator[ObjectPath]:
    for key in sorted(old.keys() | new.keys()):
        before = old.get(key)
        after = new.get(key)
        if before != after:
            yield from differing_paths(before, after, (*path, str(key)))


def _by_name(elements: list[Any]) -> JsonObject:
    """A list as an object by the names of its elements, or by their places where they have none."""
    names = [_name(element, index) for index, element in enumerate(elements)]
    if len(set(names)) < len(names):
        names = list(map(str, range(len(elements))))
    return dict(zip(names, elements, strict=True))


def _name(element: Any, index: int) -> str:
    if isinstance(element, dict):
        for key in _NAME_KEYS:
            if key in element:
                return str(element[key])
    return str(index)
