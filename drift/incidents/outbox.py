"""Messages between the transaction that has caused them and the channels that take them.

Each channel has every message once, in order, until it has taken it, or it was given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from drift.incidents.incident import Incident
from drift.incidents.message import (
    MAX_SUMMARIZED,
    MessageKind,
    OutboxMessage,
    StormSummary,
    summarize,
)
from drift.incidents.rate_limit import SentLately
from drift.incidents.store import IncidentStore
from drift.incidents.tables import DeliveryRow, MessageRow

DELIVERED = "delivered"
SUMMARIZED = "summarized"


@dataclass(frozen=True)
class Backlog:
    """Messages that a channel has not taken: how many, and when the oldest happened."""

    waiting: int = 0
    oldest: float | None = None


class Outbox:
    """The messages in a store. Who does not lead sends nothing: LostLease."""

    def __init__(self, store: IncidentStore) -> None:
        self._store = store

    def waiting(self, channel: str, limit: int) -> list[OutboxMessage]:
        """The first messages that a channel has not taken, in order."""
        with self._store.reading() as session:
            return _waiting(session, channel, limit)

    def confirm_leadership(self) -> None:
        """Raises LostLease: another sends them."""
        with self._store.transaction():
            pass

    def backlog(self, channel: str) -> Backlog:
        query = select(func.count(), func.min(MessageRow.at)).join_from(
            DeliveryRow, MessageRow, DeliveryRow.seq == MessageRow.seq
        )
        with self._store.reading() as session:
            count, oldest = session.execute(query.where(*_waits(channel))).one()
        return Backlog(count, oldest)

    def sent_lately(self, channel: str, since: float) -> SentLately:
        """What a channel has taken since then."""
        query = select(MessageRow.kind).join(DeliveryRow, DeliveryRow.seq == MessageRow.seq)
        taken = query.where(
            DeliveryRow.channel == channel,
            DeliveryRow.ended > since,
            DeliveryRow.outcome == DELIVERED,
        )
        with self._store.reading() as session:
            kinds = session.scalars(taken).all()
        return SentLately(len(kinds), kinds.count("summary"))

    def end(
        self, channel: str, messages: Sequence[OutboxMessage], *, outcome: str, now: float
    ) -> None:
        """Note how the sending of messages has ended."""
        with self._store.transaction() as session:
            _end(session, channel, messages, outcome=outcome, now=now)

    def summarize(self, channel: str, now: float) -> OutboxMessage:
        """Replace all that waits for a channel by one summary, before any of it is sent."""
        with self._store.transaction() as session:
            messages = _waiting(session, channel, MAX_SUMMARIZED)
            summary = _add_summary(session, channel, summarize(messages), now)
            _end(session, channel, messages, outcome=SUMMARIZED, now=now)
            return _message(summary)

    def drop_other_channels(self, channels: Iterable[str]) -> int:
        """Give up what waits for channels that are no more; how many messages."""
        is_dropped = DeliveryRow.channel.not_in(list(channels)) & DeliveryRow.ended.is_(None)
        with self._store.transaction() as session:
            dropped = session.execute(
                delete(DeliveryRow).where(is_dropped).returning(DeliveryRow.seq)
            )
            return len(dropped.all())


def _waits(channel: str) -> tuple[Any, ...]:
    return DeliveryRow.channel == channel, DeliveryRow.ended.is_(None)


def _waiting(session: Session, channel: str, limit: int) -> list[OutboxMessage]:
    query = select(MessageRow).join(DeliveryRow, DeliveryRow.seq == MessageRow.seq)
    first = query.where(*_waits(channel)).order_by(MessageRow.seq).limit(limit)
    return [_message(row) for row in session.scalars(first)]


def _message(row: MessageRow) -> OutboxMessage:
    kind = msgspec.convert(row.kind, MessageKind)
    form = StormSummary if kind == "summary" else Incident
    content = msgspec.json.decode(row.document, type=form)
    return OutboxMessage(seq=row.seq, id=row.id, kind=kind, at=row.at, content=content)


def _end(
    session: Session,
    channel: str,
    messages: Sequence[OutboxMessage],
    *,
    outcome: str,
    now: float,
) -> None:
    ended = DeliveryRow.seq.in_([message.seq for message in messages])
    these = update(DeliveryRow).where(DeliveryRow.channel == channel, ended)
    session.execute(these.values(ended=now, outcome=outcome))


def _add_summary(session: Session, channel: str, summary: StormSummary, now: float) -> MessageRow:
    document = msgspec.json.encode(summary).decode()
    row = MessageRow(id="", kind="summary", at=now, document=document)
    session.add(row)
    session.flush()
    row.id = f"summary.{row.seq}"
    session.add(DeliveryRow(channel=channel, seq=row.seq))
    return row
