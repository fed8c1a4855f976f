"""What came last, of so much that all of it cannot be kept."""

from __future__ import annotations

from collections import OrderedDict
from typing import TypeVar

_Key = TypeVar("_Key")
_Kept = TypeVar("_Kept")


class LatestDict(OrderedDict[_Key, _Kept]):
    """The latest `limit` of what was put into it, by key."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def put(self, key: _Key, value: _Kept) -> None:
        """Keep a value; it is the latest now, and the oldest ones go."""
        self[key] = value
        self.move_to_end(key)
        while len(self) > self._limit:
            self.popitem(last=False)
