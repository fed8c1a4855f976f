"""Rows that have come before: reports and records are delivered at least once."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict, deque
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from drift.incidents.incident import ScoredRows

MAX_BATCHES = 64
MAX_ALERTS = 2000
_DIGEST = 8


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
        # Of each batch: rows, digest of the first row, digest of all.
        self._batches: deque[tuple[int, str, str]] = deque(maxlen=max_batches)
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
            self._batches.append((count, first, _digest_of_first(rows, count)))
        return repeated

    def _longest_repeated(
        self,
        rows: ScoredRows,
        first: str,
    ) -> int:
        repeated = 0
        for length, begin, digest in self._batches:
            is_candidate = begin == first and repeated < length <= len(rows.scores)
            if is_candidate and _digest_of_first(rows, length) == digest:
                repeated = length
        return repeated

    def seen_before(
        self,
        rows: ScoredRows,
        over: NDArray[np.int_],
    ) -> NDArray[np.bool_]:
        """Return which of the rows `over` the threshold came in a former batch; remember them.

        Rows of one batch that are the same are not doubles of each other.
        """
        same: Counter[str] = Counter()
        doubled = np.zeros(len(over), dtype=bool)
        keys: list[str] = []
        for place, row in enumerate(over.tolist()):
            key = _digest_of_row(rows, row)
            same[key] += 1
            keys.append(f"{key}{same[key]}")
            doubled[place] = keys[-1] in self._alerts
        self._remember(keys)
        return doubled

    def _remember(self, keys: list[str]) -> None:
        self._alerts |= dict.fromkeys(keys[-self._max_alerts :])
        while len(self._alerts) > self._max_alerts:
            self._alerts.popitem(last=False)

    def to_json(self) -> dict[str, Any]:
        return {"batches": [list(batch) for batch in self._batches], "alerts": list(self._alerts)}

    def load(self, stored: dict[str, Any]) -> None:
        """Take over what was stored."""
        batches = msgspec.convert(stored["batches"], list[tuple[int, str, str]])
        self._batches.extend(batches)
        self._remember([str(key) for key in stored["alerts"]])


def _digest_of_first(rows: ScoredRows, count: int) -> str:
    """A digest of the first `count` rows and what is known of them."""
    digest = hashlib.blake2b(rows.version.encode("utf-8", "replace"), digest_size=_DIGEST)
    for values in (rows.rows, rows.scores, rows.times):
        digest.update(np.ascontiguousarray(values[:count]).tobytes())
    for names in (rows.entities, rows.requests):
        digest.update("\0".join(names[:count] if names else ()).encode("utf-8", "replace"))
    return digest.hexdigest()


def _digest_of_row(rows: ScoredRows, row: int) -> str:
    entity = rows.entities[row] if rows.entities else ""
    request = rows.requests[row] if rows.requests else ""
    names = f"{entity}\0{request}\0".encode("utf-8", "replace")
    digest = hashlib.blake2b(names, digest_size=_DIGEST)
    digest.update(rows.times[row].tobytes())
    digest.update(rows.rows[row].tobytes())
    return digest.hexdigest()
