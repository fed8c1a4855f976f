"""The latest alerts of each entity, and how many rows came since."""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import msgspec

from drift.incidents.alerts import RowAlert
from drift.incidents.places import PassedRows
from drift.settings import DriftSettings
from vigil.json_types import JsonObject

MAX_QUIET_S = 86_400.0


class IncidentCriterion(msgspec.Struct, frozen=True):
    """So many alerts among so many rows are an incident; after `quiet_s` without one it is over."""

    alerts: int
    rows: int
    quiet_s: float

    @classmethod
    def of(cls, settings: DriftSettings) -> IncidentCriterion:
        return cls(
            settings.incident_alerts,
            settings.incident_window_rows,
            settings.incident_quiet_s,
        )


class PendingAlert(msgspec.Struct, frozen=True, array_like=True):
    """An alert that is the `position`-th row of its entity, and part of no incident yet."""

    position: int
    alert: RowAlert


class EntityStream(msgspec.Struct):
    """The latest alerts of one entity.

    position: its rows so far; incident: of which it was a part last
    """

    position: int = 0
    pending: list[PendingAlert] = msgspec.field(default_factory=list)
    incident: str | None = None

    def add(self, alert: PendingAlert, criterion: IncidentCriterion) -> bool:
        """Add an alert; return whether there are enough of them now for an incident."""
        self.pending.append(alert)
        self.forget_rows_before(alert.position, criterion)
        self._forget_times_before(alert.alert.at, criterion)
        return len(self.pending) >= criterion.alerts

    def pass_rows(self, rows: int, criterion: IncidentCriterion) -> None:
        """Count rows on, whether they have alerted or not."""
        self.position += rows
        self.forget_rows_before(self.position, criterion)

    def forget_rows_before(self, position: int, criterion: IncidentCriterion) -> None:
        """Keep the alerts of the last rows."""
        self.pending = [old for old in self.pending if old.position > position - criterion.rows]

    def _forget_times_before(self, at: float, criterion: IncidentCriterion) -> None:
        """Keep the alerts within the quiet time."""
        quiet_s = self.quiet_s(criterion)
        self.pending = [old for old in self.pending if abs(at - old.alert.at) <= quiet_s]

    def quiet_s(self, criterion: IncidentCriterion) -> float:
        """Return after how long without an alert this entity is quiet.

        It is the time of the last rows where that is longer than the criterion's, up to a day. The
        shortest time between two rows counts: an outage of the sender says nothing of its pace.
        """
        row_s = min(_row_times(self.pending), default=0.0)
        longest = max(MAX_QUIET_S, criterion.quiet_s)
        last_rows_s = min(criterion.rows * row_s, longest)
        return max(criterion.quiet_s, last_rows_s)

    @property
    def alerts(self) -> list[RowAlert]:
        return [pending.alert for pending in self.pending]

    @property
    def onset(self) -> float:
        """When the first of the pending rows was."""
        return min(alert.at for alert in self.alerts)

    @property
    def unmatched(self) -> list[PendingAlert]:
        """The alerts that no dismissal rule holds back."""
        return [pending for pending in self.pending if pending.alert.rule is None]

    def holding_rule(self, criterion: IncidentCriterion) -> str | None:
        """Return the rule without whose rows too few alerts are left; None without one."""
        if len(self.unmatched) >= criterion.alerts:
            return None
        matched = [alert for alert in self.alerts if alert.rule]
        worst = max(matched, key=_score_of)
        return worst.rule


def _score_of(alert: RowAlert) -> float:
    return alert.score


def _row_times(alerts: Iterable[PendingAlert]) -> Iterator[float]:
    """Seconds a row between alerts that follow each other."""
    for before, after in itertools.pairwise(alerts):
        seconds = abs(after.alert.at - before.alert.at)
        rows = after.position - before.position
        if seconds:
            yield seconds / rows


class EntityStreams:
    """The streams of the entities that have alerted lately, at most so many."""

    def __init__(self, max_streams: int) -> None:
        self._max_streams = max_streams
        self._streams: OrderedDict[str, EntityStream] = OrderedDict()

    def alerting(self, entity: str) -> EntityStream:
        """Return the stream of an entity that alerts.

        That which has not alerted for longest makes room for it.
        """
        stream = self._streams.setdefault(entity, EntityStream())
        self._streams.move_to_end(entity)
        if len(self._streams) > self._max_streams:
            self._streams.popitem(last=False)
        return stream

    def get(self, entity: str) -> EntityStream | None:
        return self._streams.get(entity)

    def passed(self, rows: Iterable[PassedRows]) -> Iterator[tuple[PassedRows, EntityStream]]:
        """Yield those of the rows whose entity has alerted lately, with its stream."""
        for of_entity in rows:
            stream = self._streams.get(of_entity.entity)
            if stream is not None:
                yield of_entity, stream

    def forget(self, entity: str) -> None:
        del self._streams[entity]

    def to_json(self) -> list[tuple[str, JsonObject]]:
        """Return what is stored, that which has not alerted for longest first."""
        streams = list(self._streams.items())
        return msgspec.to_builtins(streams)

    def load(self, stored: object) -> None:
        """Take over what was stored. Raises msgspec.ValidationError."""
        self._streams = OrderedDict(msgspec.convert(stored, list[tuple[str, EntityStream]]))
