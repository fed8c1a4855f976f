"""Silences: times in which rows open no incident, of one entity or of all.

People add them, and a calendar of maintenance does. Rows in a silence are also no rows to compare
with the reference, nor to train on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from drift.incidents.names import bounded_name
from vigil.arrays import Flags, Floats
from vigil.errors import VigilError
from vigil.json_types import JsonObject

MAX_SILENCES = 500
MAX_REASON = 500


class SilenceRefused(VigilError):
    """A silence that cannot be: it ends before it begins, has no such id, or is one too many."""

    status = 422


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """From `since` until before `until` (Unix seconds) rows of `entity`, or all, open nothing.

    by: who asked for it, or the calendar
    """

    id: str
    since: float
    until: float
    entity: str | None = None
    reason: str = ""
    by: str = ""


class Silences:
    """All silences that still matter."""

    def __init__(self, max_silences: int = MAX_SILENCES) -> None:
        self._max_silences = max_silences
        self._added: dict[str, Silence] = {}
        self._calendar: tuple[Silence, ...] = ()
        self._count = 0

    def add(
        self,
        since: float,
        until: float,
        *,
        entity: str | None = None,
        reason: str = "",
        by: str = "",
        now: float,
    ) -> Silence:
        """Add a silence; those that ended more than a day ago make room. Raises SilenceRefused."""
        if not -math.inf < since < until < math.inf:
            raise SilenceRefused("a silence must begin before it ends", field="until")
        self._make_room(now)
        self._count += 1
        silence = Silence(
            id=f"s{self._count}",
            since=since,
            until=until,
            entity=None if entity is None else bounded_name(entity),
            reason=reason[:MAX_REASON],
            by=bounded_name(by),
        )
        self._added[silence.id] = silence
        return silence

    def _make_room(self, now: float) -> None:
        if len(self._added) < self._max_silences:
            return
        ended = [id for id, silence in self._added.items() if silence.until < now]
        for id in ended:
            del self._added[id]
        if len(self._added) >= self._max_silences:
            raise SilenceRefused(
                f"there are {self._max_silences} silences already; "
                "`vigil silence remove ID` makes room"
            )

    def remove(self, id: str) -> Silence:
        """Remove a silence that a person has added. Raises SilenceRefused when there is none."""
        silence = self._added.pop(id, None)
        if silence is None:
            raise SilenceRefused(
                f"there is no silence {id[:MAX_REASON]!r}; `vigil silence list` has their ids"
            )
        return silence

    def follow_calendar(self, windows: Iterable[Silence]) -> None:
        """Take the windows of the calendar, in place of those before."""
        self._calendar = tuple(windows)

    def listed(self) -> list[Silence]:
        """Return all silences, by their begin."""
        return sorted(self._all(), key=lambda silence: (silence.since, silence.id))

    def _all(self) -> tuple[Silence, ...]:
        return (*self._added.values(), *self._calendar)

    def mask(
        self,
        times: Floats,
        entities: Sequence[str] | None = None,
    ) -> Flags:
        """Return which of the rows [n] of these times and entities lie in a silence."""
        silenced = np.zeros(len(times), dtype=bool)
        if not len(times):
            return silenced
        first = times.min()
        last = times.max()
        for silence in self._all():
            if silence.since <= last and first < silence.until:
                silenced |= _rows_in(silence, times, entities)
        return silenced

    def to_json(self) -> JsonObject:
        return {
            "added": msgspec.to_builtins(list(self._added.values())),
            "calendar": msgspec.to_builtins(self._calendar),
            "count": self._count,
        }

    def load(self, stored: JsonObject) -> None:
        """Take over what was stored. Raises msgspec.ValidationError."""
        added = msgspec.convert(stored["added"], list[Silence])
        self._added = {silence.id: silence for silence in added}
        self._calendar = msgspec.convert(stored["calendar"], tuple[Silence, ...])
        self._count = int(stored["count"])


def _rows_in(
    silence: Silence,
    times: Floats,
    entities: Sequence[str] | None,
) -> Flags:
    inside = (silence.since <= times) & (times < silence.until)
    if silence.entity is None:
        return inside
    if entities is None:
        return np.zeros(len(times), dtype=bool)
    for row in np.flatnonzero(inside).tolist():
        inside[row] = bounded_name(entities[row]) == silence.entity
    return inside
