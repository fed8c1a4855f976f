"""Rows that have come before: reports and records are delivered at least once."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from drift.incidents.batch import entity_of, request_of
from drift.incidents.incident import ScoredRows
from drift.incidents.places import RowIndices
from vigil.arrays import Flags
from vigil.json_types import JsonObject

MAX_BATCHES = 64
MAX_ALERTS = 2000
_DIGEST = 8


class _Batch(NamedTuple):
    """A batch that was seen: its rows, and digests of the first and of all of them."""

    rows: int
    first: str
    digest: str


class Doubles:
    """Remembers the latest batches, and the latest rows that alerted, by their digests.

    A replica whose report got no answer sends it again, with newer rows behind it. So a batch that
    begins with the rows of a former one begins with doubles.
    """

    def __init__(
        self,
        max_batches: int = MAX_BATCHES,
        max_alerts: int = MAX_ALERTS,
    ) -> None:
        self._batches: deque[_Batch] = deque(maxlen=max_batches)
        self._alerts: OrderedDict[str, None] = OrderedDict()
        self._max_alerts = max_alerts

    def repeated_prefix(self, rows: ScoredRows) -> int:
        """Return how many rows of the batch came before, from its first one on; remember it."""
        count = len(rows.scores)
        if not count:
            return 0
        first = _digest_of_first(rows, 1)
        repeated = self._longest_repeated(rows, first)
        if repeated < count:
            whole = _digest_of_first(rows, count)
            batch = _Batch(count, first, whole)
            self._batches.append(batch)
        return repeated

    def _longest_repeated(self, rows: ScoredRows, first: str) -> int:
        for batch in self._longest_first(first):
            if _begins_with(rows, batch):
                return batch.rows
        return 0

    def _longest_first(self, first: str) -> list[_Batch]:
        """The batches with this first row."""
        alike = [batch for batch in self._batches if batch.first == first]
        return sorted(alike, key=lambda batch: -batch.rows)

    def seen_before(self, rows: ScoredRows, over: RowIndices) -> Flags:
        """Return which of the rows `over` the threshold came in a former batch; remember them.

        Rows of one batch that are the same are not doubles of each other.
        """
        keys = list(_keys(rows, over))
        doubled = [key in self._alerts for key in keys]
        self._remember(keys)
        return np.array(doubled, dtype=bool)

    def _remember(self, keys: Sequence[str]) -> None:
        latest = keys[-self._max_alerts :]
        self._alerts |= dict.fromkeys(latest)
        while len(self._alerts) > self._max_alerts:
            self._alerts.popitem(last=False)

    def to_json(self) -> JsonObject:
        return {
            "batches": msgspec.to_builtins(list(self._batches)),
            "alerts": list(self._alerts),
        }

    def load(self, stored: JsonObject) -> None:
        """Take over what was stored."""
        batches = msgspec.convert(stored["batches"], list[_Batch])
        self._batches.extend(batches)
        keys = msgspec.convert(stored["alerts"], list[str])
        self._remember(keys)


def _begins_with(rows: ScoredRows, batch: _Batch) -> bool:
    """Whether the first rows are those of this former batch."""
    if batch.rows > len(rows.scores):
        return False
    return _digest_of_first(rows, batch.rows) == batch.digest


def _keys(rows: ScoredRows, over: RowIndices) -> Iterator[str]:
    """A digest of each row; rows that are the same are numbered."""
    same: Counter[str] = Counter()
    for row in over.tolist():
        key = _digest_of_row(rows, row)
        same[key] += 1
        yield f"{key}{same[key]}"


def _digest_of_first(rows: ScoredRows, count: int) -> str:
    """A digest of the first `count` rows and what is known of them."""
    digest = hashlib.blake2b(digest_size=_DIGEST)
    digest.update(_encoded([rows.version]))
    for values in (rows.rows, rows.scores, rows.times):
        first = np.ascontiguousarray(values[:count])
        digest.update(first.tobytes())
    for names in (rows.entities, rows.requests):
        known = names or []
        digest.update(_encoded(known[:count]))
    return digest.hexdigest()


def _digest_of_row(rows: ScoredRows, row: int) -> str:
    digest = hashlib.blake2b(digest_size=_DIGEST)
    names = [entity_of(rows, row), request_of(rows, row)]
    digest.update(_encoded(names))
    for values in (rows.times, rows.rows):
        digest.update(values[row].tobytes())
    return digest.hexdigest()


def _encoded(names: Sequence[str]) -> bytes:
    return "\0".join(names).encode("utf-8", "replace")
