"""YAML and JSON from anywhere, read strictly: what is ambiguous or a trap is refused.

A key that stands twice hides a value from whoever reads the other one. Aliases can make a gigabyte
of a few lines, or refer to themselves.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from vigil.json_types import JsonObject

MAX_REPEATED_VALUES = 1_000_000  # that aliases add to one document
MAX_DEPTH = 200


class BadDocument(ValueError):
    """The text is no YAML or JSON that can be trusted; the message says why."""


def parse_yaml(data: bytes) -> Iterator[Any]:
    """Yield the documents of a text, empty ones left out.

    Raises BadDocument at the first that cannot be read; those before it have been yielded.
    """
    try:
        for document in _documents(data):
            if document is not None:
                yield document
    except BadDocument:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadDocument(f"no YAML: {_one_line(error)}") from error


def _documents(data: bytes) -> Iterator[Any]:
    _require_shallow_events(data)
    loader = yaml.CSafeLoader(data)
    try:
        while loader.check_node():
            root = loader.get_node()
            assert root is not None  # check_node said so
            NodeCheck().check(root)
            yield loader.construct_document(root)
    finally:
        loader.dispose()


def _require_shallow_events(data: bytes) -> None:
    """Before nodes are made: that recurses in C, and would end the process."""
    depth = 0
    for event in _events(data):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        _require_depth(depth)


def _events(data: bytes) -> Iterator[yaml.Event]:
    """Yield the events up to a mistake, which whoever makes the nodes meets too."""
    try:
        yield from yaml.parse(data, yaml.CSafeLoader)
    except yaml.YAMLError:
        return


@dataclass(frozen=True)
class _Extent:
    """How many values a node has, and how deep they lie, with all aliases written out."""

    size: int = 1
    depth: int = 0

    def around(self, child: _Extent) -> _Extent:
        """Return the extent with another child."""
        return _Extent(self.size + child.size, max(self.depth, child.depth + 1))


class NodeCheck:
    """Walks the nodes of one document before anything is made of them."""

    def __init__(self) -> None:
        self._extents: dict[int, _Extent] = {}
        self._open: set[int] = set()

    def check(self, root: yaml.Node) -> None:
        """Raise BadDocument where a key stands twice, or aliases are a trap."""
        extent = self._extent(root)
        _require_depth(extent.depth)
        repeated = extent.size - len(self._extents)
        if repeated > MAX_REPEATED_VALUES:
            raise BadDocument(f"its aliases add {repeated:,} values")

    def _extent(self, node: yaml.Node) -> _Extent:
        known = self._extents.get(id(node))
        if known is None:
            known = self._walk(node)
            self._extents[id(node)] = known
        return known

    def _walk(self, node: yaml.Node) -> _Extent:
        if id(node) in self._open:
            raise BadDocument("an alias in it refers to what it stands in")
        self._open.add(id(node))
        extent = _Extent()
        for child in _children(node):
            extent = extent.around(self._extent(child))
        self._open.remove(id(node))
        return extent


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        _require_unique(_names(node))
        for key, value in node.value:
            yield key
            yield value


def _names(node: yaml.MappingNode) -> Iterator[str]:
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            yield key.value


# --- JSON ---


def parse_json(data: bytes) -> Any:
    """Return the value of a JSON text. Raises BadDocument."""
    try:
        document = json.loads(data, object_pairs_hook=_unique_pairs)
    except BadDocument:
        raise
    except (ValueError, RecursionError) as error:
        raise BadDocument(f"no JSON: {_one_line(error)}") from error
    _require_shallow(document)
    return document


def _unique_pairs(pairs: list[tuple[str, Any]]) -> JsonObject:
    content = dict(pairs)
    if len(content) < len(pairs):
        _require_unique(key for key, _ in pairs)
    return content


def _require_shallow(value: Any, depth: int = 0) -> None:
    _require_depth(depth)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _require_shallow(each, depth + 1)


# --- both ---


def _require_depth(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadDocument(f"it is nested deeper than {MAX_DEPTH} levels")


def _require_unique(names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise BadDocument(f"the key {name!r} stands twice in one object")


def _one_line(error: Exception) -> str:
    """Return what a parser said, on one line."""
    words = str(error).split()
    return " ".join(words)[:300]
