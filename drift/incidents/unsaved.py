"""What is to be stored, and waits while the database is away."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from drift.incidents.book import TouchedIncident
from drift.incidents.incident import Incident, IncidentChange, IncidentEvidence
from drift.incidents.update import StoredRecord, StoreUpdate
from vigil.json_types import Fields


class UnsavedChanges:
    """Changes, incidents and records since the last transaction.

    Bounded by the incidents that a tracker holds: of each incident the latest figures are kept.
    """

    def __init__(self) -> None:
        self.changes: list[IncidentChange] = []
        self.records: list[StoredRecord] = []
        self.has_state = False
        self._incidents: dict[str, Incident] = {}
        self._evidence: dict[str, IncidentEvidence] = {}

    def add(self, changes: Iterable[IncidentChange], touched: Iterable[TouchedIncident]) -> None:
        """Take in what a step of the tracker has changed."""
        self.changes.extend(changes)
        for incident, evidence in touched:
            self._put(incident, evidence)

    def _put(self, incident: Incident, evidence: IncidentEvidence) -> None:
        self._incidents[incident.id] = incident
        if evidence.rows:
            self._evidence[incident.id] = evidence

    def amend(self, incidents: Iterable[Incident]) -> None:
        """Take in the verdicts that a person has given of incidents."""
        for incident in incidents:
            self._incidents[incident.id] = self._judged(incident)

    def _judged(self, incident: Incident) -> Incident:
        """The incident as it was touched last, with the verdict."""
        latest = self._incidents.get(incident.id, incident)
        return msgspec.structs.replace(latest, verdict=incident.verdict)

    def update(self, tracker: Fields) -> StoreUpdate:
        """Return all of it with the state of the tracker."""
        return StoreUpdate(
            tracker=tracker,
            changes=tuple(self.changes),
            amended=tuple(self._incidents.values()),
            evidence=tuple(self._evidence.values()),
            records=tuple(self.records),
        )

    def __bool__(self) -> bool:
        return bool(self.changes or self.records or self.has_state or self._incidents)
