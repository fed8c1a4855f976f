"""Alerts of many entities at once, each of which has too few for an incident of its own.

Where most of the last rows of all entities alert, people need not wait until one of them has sent
enough rows: of thousands of meters that send a row an hour, an outage shows in seconds.
"""

from __future__ import annotations

import msgspec

from drift.incidents.streams import IncidentCriterion


class _FleetAlert(msgspec.Struct, frozen=True, array_like=True):
    position: int
    entity: str
    at: float


class Fleet(msgspec.Struct):
    """The latest alerts of all entities that are part of no incident.

    position: rows of all entities so far
    """

    position: int = 0
    pending: list[_FleetAlert] = msgspec.field(default_factory=list)

    def add(
        self,
        position: int,
        entity: str,
        at: float,
    ) -> None:
        """Add an alert, the `position`-th row of the batch."""
        alert = _FleetAlert(self.position + position, entity, at)
        self.pending.append(alert)

    def entities(self, criterion: IncidentCriterion) -> list[str]:
        """Return the entities that have an incident together, none while there is none.

        At least half of the last rows alert, and as many entities as alerts are asked for.
        """
        if not self.pending:
            return []
        self._forget_before(self.pending[-1], criterion)
        entities = dict.fromkeys(alert.entity for alert in self.pending)
        half = (criterion.rows + 1) // 2
        is_most = len(self.pending) >= max(half, criterion.alerts)
        are_many = len(entities) >= max(2, criterion.alerts)
        return list(entities) if is_most and are_many else []

    def _forget_before(self, latest: _FleetAlert, criterion: IncidentCriterion) -> None:
        first = latest.position - criterion.rows
        rows = [old for old in self.pending if old.position > first]
        self.pending = [old for old in rows if abs(latest.at - old.at) <= criterion.quiet_s]

    def forget_entity(self, entity: str) -> None:
        """Forget the alerts of an entity that is part of an incident now."""
        self.pending = [alert for alert in self.pending if alert.entity != entity]
