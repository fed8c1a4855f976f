"""Tables of incidents, as the latest migration leaves them.

They may share a database with MLflow, whose tables have other names. What a query selects or sorts
by has a column; the rest is JSON, so that a new field of an incident needs no migration.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import BigInteger, Double, Index, Integer, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

VERSION_TABLE = "incident_schema"  # MLflow has Alembic's usual one
# SQLite numbers rows of a column that is INTEGER alone.
_SEQUENCE = BigInteger().with_variant(Integer(), "sqlite")
# Ids are in the order of their bytes in every database, whatever its language.
_SORTED = Text().with_variant(Text(collation="C"), "postgresql")


class IncidentTable(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map: ClassVar[dict[type, Any]] = {str: Text, float: Double}


class IncidentRow(IncidentTable):
    """An incident; `changes` counts what people were to hear of it."""

    __tablename__ = "incidents"
    __table_args__ = (Index("incidents_by_state", "state", "id"),)

    id: Mapped[str] = mapped_column(_SORTED, primary_key=True)
    state: Mapped[str]
    changes: Mapped[int] = mapped_column(default=0)
    document: Mapped[str]


class _RecordRow:
    """What a person has said of `key`, after all that was said before; none is changed."""

    __table_args__: tuple[dict[str, bool]] = ({"sqlite_autoincrement": True},)

    seq: Mapped[int] = mapped_column(_SEQUENCE, primary_key=True, autoincrement=True)
    key: Mapped[str] = mapped_column(index=True)
    document: Mapped[str]


class VerdictRow(_RecordRow, IncidentTable):
    __tablename__ = "incident_verdicts"


class SilenceRow(_RecordRow, IncidentTable):
    __tablename__ = "incident_silences"


class DismissalRuleRow(_RecordRow, IncidentTable):
    __tablename__ = "incident_rules"


class TrackerRow(IncidentTable):
    """The tracker's state, and the id of the update that was written last."""

    __tablename__ = "incident_tracker"

    name: Mapped[str] = mapped_column(primary_key=True)
    document: Mapped[str]


class LeadershipRow(IncidentTable):
    """One row: its epoch is that of the leader, who alone may write."""

    __tablename__ = "incident_leadership"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epoch: Mapped[int] = mapped_column(BigInteger)


class EvidenceDocumentRow(IncidentTable):
    """The worst rows of an incident, for a gate or a person to score again."""

    __tablename__ = "incident_evidence"

    incident: Mapped[str] = mapped_column(_SORTED, primary_key=True)
    document: Mapped[str]


class MessageRow(IncidentTable):
    """A message; `seq` is its place in the order of all, `at` in Unix seconds."""

    __tablename__ = "incident_messages"
    __table_args__ = ({"sqlite_autoincrement": True},)

    seq: Mapped[int] = mapped_column(_SEQUENCE, primary_key=True, autoincrement=True)
    id: Mapped[str]
    kind: Mapped[str]
    at: Mapped[float]
    document: Mapped[str]


class DeliveryRow(IncidentTable):
    """A message to one channel; without `ended` (Unix seconds) it waits.

    outcome: delivered, summarized in a later message, or why it was given up
    """

    __tablename__ = "incident_deliveries"
    __table_args__ = (Index("incident_deliveries_by_end", "channel", "ended"),)

    channel: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(_SEQUENCE, primary_key=True, autoincrement=False)
    ended: Mapped[float | None]
    outcome: Mapped[str | None]
