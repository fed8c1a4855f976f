"""Where incidents, what people say of them, and the tracker's state are kept.

One transaction writes all that belongs together. The leader alone writes: each transaction begins
with its epoch, which a later leader has raised, and so transactions also wait for each other.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Engine, Select, case, func, select, update
from sqlalchemy.orm import Session

from drift.incidents.database import database_errors, open_database
from drift.incidents.errors import UnknownIncident
from drift.incidents.incident import Incident, IncidentEvidence, IncidentState, id_after
from drift.incidents.tables import (
    EvidenceDocumentRow,
    IncidentRow,
    LeadershipRow,
    TrackerRow,
    VerdictRow,
)
from drift.incidents.update import (
    RECORD_TABLES,
    TRACKER_NAME,
    NumberedChange,
    RecordKind,
    StoreUpdate,
    forget_old_incidents,
    forget_old_messages,
    is_written,
    queue_messages,
    write_update,
)
from drift.state import LostLease
from vigil.json_types import JsonObject

MAX_PAGE = 1000
LATE_ROWS_S = 3600.0
MESSAGES_AN_INCIDENT = 3  # kept for each incident that is
_Stored = TypeVar("_Stored", bound=msgspec.Struct)
_DocumentRow = TrackerRow | IncidentRow | EvidenceDocumentRow


@dataclass(frozen=True)
class IncidentPage:
    """Incidents, the latest first; `next` is the cursor of the page after it."""

    incidents: list[Incident]
    next: str | None


class IncidentStore:
    """Incidents in a database; of closed ones the latest `keep`. Safe for threads.

    Whatever it is asked raises IncidentStoreUnavailable while the database is away.
    """

    def __init__(self, database: Engine, *, keep: int) -> None:
        self._database = database
        self._keep = keep
        self._epoch: int | None = None
        self._writes = threading.Lock()

    def close(self) -> None:
        self._database.dispose()

    def begin_epoch(self) -> None:
        """Become the one who writes: call it when the lease was acquired, before reading."""
        with self._session() as session:
            session.execute(update(LeadershipRow).values(epoch=LeadershipRow.epoch + 1))
            self._epoch = session.scalar(select(LeadershipRow.epoch))

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Write all or nothing. Raises LostLease where another leads."""
        with self._writes, self._session() as session:
            self._check_epoch(session)
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """See one state of the database."""
        with self._session() as session:
            yield session

    @contextmanager
    def _session(self) -> Iterator[Session]:
        engine = self._database
        with database_errors(engine.url), Session(engine) as session, session.begin():
            yield session

    def _check_epoch(self, session: Session) -> None:
        """Hold the leader's row until the transaction ends."""
        is_ours = LeadershipRow.epoch == self._epoch
        held = update(LeadershipRow).where(is_ours).values(epoch=LeadershipRow.epoch)
        rows = session.execute(held.returning(LeadershipRow.id)).all()
        if not rows:
            raise LostLease("another monitor writes the incidents now")

    def record(self, update: StoreUpdate, channels: Sequence[str] = ()) -> list[NumberedChange]:
        """Write an update, and a message for each of `channels` about each of its changes.

        It may be tried again when a commit got no answer: what was written is not written twice,
        and then nothing is returned.
        """
        with self.transaction() as session:
            if is_written(session, update):
                return []
            numbered = write_update(session, update)
            queue_messages(session, numbered, channels)
            if update.closes_incidents:
                self._forget_old(session)
            return numbered

    def _forget_old(self, session: Session) -> None:
        forget_old_incidents(session, self._keep)
        forget_old_messages(session, MESSAGES_AN_INCIDENT * self._keep)

    def tracker_state(self) -> JsonObject | None:
        """The tracker's state as it was last recorded; None before the first."""
        document = self._document(TrackerRow, TRACKER_NAME)
        return None if document is None else json.loads(document)

    def incident(self, incident_id: str) -> Incident:
        """Raises UnknownIncident."""
        document = self._document(IncidentRow, incident_id)
        if document is None:
            raise UnknownIncident(f"no incident {incident_id!r}: `vigil incidents` lists all")
        return decode_incident(document)

    def evidence(self, incident_id: str) -> IncidentEvidence | None:
        """The worst rows of an incident; None where none are kept."""
        document = self._document(EvidenceDocumentRow, incident_id)
        return None if document is None else decode_evidence(document)

    def _document(self, table: type[_DocumentRow], key: str) -> str | None:
        with self._session() as session:
            row = session.get(table, key)
            return None if row is None else row.document

    def judged(self) -> list[tuple[Incident, IncidentEvidence]]:
        """The incidents on which there is a verdict, with their worst rows, the latest first."""
        of_incident = EvidenceDocumentRow.incident == IncidentRow.id
        is_judged = IncidentRow.id.in_(select(VerdictRow.key))
        documents = select(IncidentRow.document, EvidenceDocumentRow.document)
        query = documents.join(EvidenceDocumentRow, of_incident).where(is_judged)
        with self._session() as session:
            rows = session.execute(query.order_by(IncidentRow.id.desc())).all()
        return [(decode_incident(incident), decode_evidence(worst)) for incident, worst in rows]

    def page(
        self,
        state: IncidentState | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> IncidentPage:
        """Up to `limit` incidents of a state, those after the cursor `after`."""
        size = max(1, min(limit, MAX_PAGE))
        query = _newest_first(state, after)
        return _page(self._incidents(query.limit(size + 1)), size)

    def begun_by(self, at: float) -> list[Incident]:
        """The incidents that began by `at` (Unix seconds), the latest first, as many as a page has.

        Late rows may have moved an onset to before what its id says, by less than `LATE_ROWS_S`.
        """
        began = self.page(limit=MAX_PAGE, after=id_after(at + LATE_ROWS_S)).incidents
        return [incident for incident in began if incident.onset <= at]

    def board(self, limit: int) -> list[Incident]:
        """Up to `limit` incidents: the open ones first, then the latest that are closed."""
        is_closed = case((IncidentRow.state == "closed", 1), else_=0)
        query = select(IncidentRow.document).order_by(is_closed, IncidentRow.id.desc())
        return self._incidents(query.limit(limit))

    def announced_incidents(self) -> list[Incident]:
        """The open incidents that people have heard of, the latest first, so many as a page has."""
        is_announced = IncidentRow.changes > 0
        query = _newest_first("open", None).where(is_announced)
        incidents = self._incidents(query.limit(MAX_PAGE))
        return [incident for incident in incidents if incident.held_by is None]

    def _incidents(self, query: Select[Any]) -> list[Incident]:
        with self._session() as session:
            return [decode_incident(document) for document in session.scalars(query)]

    def count(self, state: IncidentState) -> int:
        with self._session() as session:
            return session.scalar(_count_of(state)) or 0

    def records(
        self,
        kind: RecordKind,
        form: type[_Stored],
        key: str | None = None,
    ) -> list[_Stored]:
        """All verdicts, silences or rules, those of one `key` where it is given, oldest first."""
        table = RECORD_TABLES[kind]
        query = select(table.document).order_by(table.seq)
        query = query if key is None else query.where(table.key == key)
        with self._session() as session:
            return [msgspec.json.decode(text, type=form) for text in session.scalars(query)]


def open_incident_store(
    url: str,
    folder: Path,
    *,
    keep: int,
) -> IncidentStore:
    """The store at a PostgreSQL URL, or in `folder` when there is none, its tables up to date.

    Raises IncidentStoreUnavailable or IncidentStoreRefused.
    """
    return IncidentStore(open_database(url, folder), keep=keep)


def decode_incident(document: str) -> Incident:
    """An incident as it is stored, also by another version of Vigil."""
    return msgspec.json.decode(document, type=Incident)


def decode_evidence(document: str) -> IncidentEvidence:
    return msgspec.json.decode(document, type=IncidentEvidence)


def _count_of(state: IncidentState) -> Select[int]:
    return select(func.count()).where(IncidentRow.state == state)


def _page(incidents: list[Incident], size: int) -> IncidentPage:
    """A page of so many, made of one more where there are more."""
    shown = incidents[:size]
    has_more = len(incidents) > size
    return IncidentPage(shown, shown[-1].id if has_more else None)


def _newest_first(state: IncidentState | None, after: str | None) -> Select[Any]:
    query = select(IncidentRow.document).order_by(IncidentRow.id.desc())
    if state is not None:
        query = query.where(IncidentRow.state == state)
    if after is not None:
        query = query.where(IncidentRow.id < after)
    return query
