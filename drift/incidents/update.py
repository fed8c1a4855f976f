"""What one transaction writes into the store of incidents, and how."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple
from uuid import uuid4

import msgspec
from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from drift.incidents.incident import Incident, IncidentChange, IncidentEvidence
from drift.incidents.tables import (
    DeliveryRow,
    DismissalRuleRow,
    EvidenceDocumentRow,
    IncidentRow,
    MessageRow,
    SilenceRow,
    TrackerRow,
    VerdictRow,
)
from vigil.json_types import Fields

RecordKind = Literal["verdict", "silence", "rule"]
RecordTable = type[VerdictRow] | type[SilenceRow] | type[DismissalRuleRow]
RECORD_TABLES: dict[RecordKind, RecordTable] = {
    "verdict": VerdictRow,
    "silence": SilenceRow,
    "rule": DismissalRuleRow,
}
TRACKER_NAME = "tracker"
_LAST_UPDATE = "last update"


class StoredRecord(NamedTuple):
    """A verdict on the incident `key`, or a silence or dismissal rule whose id is `key`."""

    kind: RecordKind
    key: str
    value: msgspec.Struct


class NumberedChange(NamedTuple):
    """The n-th change of an incident."""

    n: int
    change: IncidentChange

    @property
    def id(self) -> str:
        """Known to receivers: who gets it twice drops the second."""
        return f"{self.change.incident.id}.{self.n}"


@dataclass(frozen=True, kw_only=True)
class StoreUpdate:
    """What belongs together.

    tracker: its state after the changes; None: as it is
    changes: that people are to hear of, in order
    amended: incidents as they are after the changes, where they differ without one
    evidence: the worst rows of incidents, in place of former ones
    records: what people have said
    id: by which the database knows that it has this one
    """

    tracker: Fields | None = None
    changes: Sequence[IncidentChange] = ()
    amended: Sequence[Incident] = ()
    evidence: Sequence[IncidentEvidence] = ()
    records: Sequence[StoredRecord] = ()
    id: str = field(default_factory=lambda: uuid4().hex)

    @property
    def closes_incidents(self) -> bool:
        return any(change.kind == "closed" for change in self.changes)

    @property
    def changes_verdicts(self) -> bool:
        """Whether it has one, or old incidents go with theirs."""
        return self.closes_incidents or any(said.kind == "verdict" for said in self.records)

    @property
    def incidents(self) -> list[Incident]:
        return [*self.amended, *(change.incident for change in self.changes)]


def is_written(session: Session, update: StoreUpdate) -> bool:
    """Whether it is what was written last: its commit was not answered, but done."""
    last = session.get(TrackerRow, _LAST_UPDATE)
    return last is not None and last.document == update.id


def write_update(session: Session, update: StoreUpdate) -> list[NumberedChange]:
    """Write all of it; its changes with their numbers."""
    session.merge(TrackerRow(name=_LAST_UPDATE, document=update.id))
    if update.tracker is not None:
        session.merge(TrackerRow(name=TRACKER_NAME, document=json.dumps(update.tracker)))
    session.add_all(map(_record_row, update.records))
    _write_evidence(session, update.evidence)
    rows = _IncidentRows(session, update.incidents)
    numbered = [rows.number(change) for change in update.changes]
    rows.put_all(update.amended)
    return numbered


def _write_evidence(session: Session, evidence: Iterable[IncidentEvidence]) -> None:
    for worst in evidence:
        document = encode_document(worst)
        session.merge(EvidenceDocumentRow(incident=worst.incident, document=document))


def queue_messages(
    session: Session, numbered: Iterable[NumberedChange], channels: Sequence[str]
) -> None:
    """Have each channel told of each change, in their order."""
    messages = [_message_row(change) for change in numbered]
    session.add_all(messages)
    session.flush()
    for message in messages:
        session.add_all(DeliveryRow(channel=name, seq=message.seq) for name in channels)


def _message_row(numbered: NumberedChange) -> MessageRow:
    change = numbered.change
    return MessageRow(
        id=numbered.id,
        kind=change.kind,
        at=change.at,
        document=encode_document(change.incident),
    )


def _record_row(record: StoredRecord) -> VerdictRow | SilenceRow | DismissalRuleRow:
    table = RECORD_TABLES[record.kind]
    return table(key=record.key, document=encode_document(record.value))


def encode_document(value: msgspec.Struct) -> str:
    """A Struct as JSON."""
    return msgspec.json.encode(value).decode()


class _IncidentRows:
    """Rows of the incidents of an update, read by one query."""

    def __init__(self, session: Session, incidents: Iterable[Incident]) -> None:
        ids = {incident.id for incident in incidents}
        rows = session.scalars(select(IncidentRow).where(IncidentRow.id.in_(ids)))
        self._session = session
        self._rows = {row.id: row for row in rows}

    def put_all(self, incidents: Iterable[Incident]) -> None:
        for incident in incidents:
            self._put(incident)

    def number(self, change: IncidentChange) -> NumberedChange:
        """Count on where the incident stopped."""
        row = self._put(change.incident)
        row.changes += 1
        return NumberedChange(row.changes, change)

    def _put(self, incident: Incident) -> IncidentRow:
        row = self._row_of(incident.id)
        row.state = incident.state
        row.document = encode_document(incident)
        return row

    def _row_of(self, incident_id: str) -> IncidentRow:
        return self._rows.get(incident_id) or self._new(incident_id)

    def _new(self, incident_id: str) -> IncidentRow:
        row = IncidentRow(id=incident_id, changes=0)
        self._rows[incident_id] = row
        self._session.add(row)
        return row


def forget_old_incidents(session: Session, keep: int) -> None:
    """Delete closed incidents but the latest `keep`, with all that belongs to them."""
    newest_forgotten = session.scalar(_closed_ids().offset(keep).limit(1))
    if newest_forgotten is None:
        return
    old = _closed_ids().where(IncidentRow.id <= newest_forgotten)
    session.execute(delete(VerdictRow).where(VerdictRow.key.in_(old)))
    session.execute(delete(EvidenceDocumentRow).where(EvidenceDocumentRow.incident.in_(old)))
    session.execute(delete(IncidentRow).where(IncidentRow.id.in_(old)))


def _closed_ids() -> Any:
    """The newest first."""
    closed = select(IncidentRow.id).where(IncidentRow.state == "closed")
    return closed.order_by(IncidentRow.id.desc())


def forget_old_messages(session: Session, keep: int) -> None:
    """Delete messages but the latest `keep`, and those that still wait."""
    latest = select(MessageRow.seq).order_by(MessageRow.seq.desc())
    last_forgotten = session.scalar(latest.offset(keep).limit(1))
    if last_forgotten is None:
        return
    is_old = DeliveryRow.seq <= last_forgotten
    session.execute(delete(DeliveryRow).where(is_old, DeliveryRow.ended.is_not(None)))
    waits = exists().where(DeliveryRow.seq == MessageRow.seq)
    session.execute(delete(MessageRow).where(MessageRow.seq <= last_forgotten, ~waits))
