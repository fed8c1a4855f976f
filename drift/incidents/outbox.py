"""Messages between the transaction that has caused them and the channels that take them.

Each channel has every message once, in order, until it has taken it, or it was given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Select, delete, func, select, update
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
from drift.incidents.store import IncidentStore, decode_incident
from drift.incidents.tables import DeliveryRow, MessageRow
from drift.incidents.update import encode_document

DELIVERED = "delivered"
AnySelect = Select[*tuple[Any, ...]]
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
            return _first_waiting(session, channel, limit)

    def confirm_leadership(self) -> None:
        """Raises LostLease: another sends them."""
        with self._store.transaction():
            pass

    def backlog(self, channel: str) -> Backlog:
        messages = _delivered_or_not(func.count(), func.min(MessageRow.at))
        waiting = _of_waiting(messages, channel)
        with self._store.reading() as session:
            count, oldest = session.execute(waiting).one()
        return Backlog(count, oldest)

    def sent_lately(
        self,
        channel: str,
        since: float,
        *,
        until: float,
    ) -> SentLately:
        """What a channel has taken between these times.

        What a clock that ran ahead has stamped later is left out: it would hold all back.
        """
        taken = _taken_since(channel, since).where(DeliveryRow.ended <= until)
        with self._store.reading() as session:
            kinds = session.scalars(taken).all()
        return SentLately(len(kinds), kinds.count("summary"))

    def end(
        self,
        channel: str,
        messages: Sequence[OutboxMessage],
        *,
        outcome: str,
        now: float,
    ) -> None:
        """Note how the sending of messages has ended."""
        with self._store.transaction() as session:
            _end(
                session,
                channel,
                messages,
                outcome=outcome,
                now=now,
            )

    def summarize(self, channel: str, now: float) -> OutboxMessage:
        """Replace all that waits for a channel by one summary, before any of it is sent."""
        with self._store.transaction() as session:
            messages = _first_waiting(session, channel, MAX_SUMMARIZED)
            _end(
                session,
                channel,
                messages,
                outcome=SUMMARIZED,
                now=now,
            )
            summary = _add_summary(session, summarize(messages), now)
            session.add(DeliveryRow(channel=channel, seq=summary.seq))
            return _message(summary)

    def drop_other_channels(self, channels: Iterable[str]) -> int:
        """Give up what waits for channels that are no more; how many messages."""
        is_gone = DeliveryRow.channel.not_in(list(channels))
        drop = delete(DeliveryRow).where(is_gone, _WAITS)
        with self._store.transaction() as session:
            dropped = session.scalars(drop.returning(DeliveryRow.seq))
            return len(dropped.all())


_WAITS = DeliveryRow.ended.is_(None)


def _delivered_or_not(*columns: Any) -> AnySelect:
    """A query of messages with their deliveries."""
    messages = select(*columns).select_from(MessageRow)
    return messages.join(DeliveryRow, DeliveryRow.seq == MessageRow.seq)


def _of_waiting(query: AnySelect, channel: str) -> AnySelect:
    return query.where(DeliveryRow.channel == channel, _WAITS)


def _taken_since(channel: str, since: float) -> AnySelect:
    """A query of the kinds of messages."""
    return _delivered_or_not(MessageRow.kind).where(
        DeliveryRow.channel == channel,
        DeliveryRow.ended > since,
        DeliveryRow.outcome == DELIVERED,
    )


def _first_waiting(
    session: Session,
    channel: str,
    limit: int,
) -> list[OutboxMessage]:
    waiting = _of_waiting(_delivered_or_not(MessageRow), channel)
    first = waiting.order_by(MessageRow.seq).limit(limit)
    rows = session.scalars(first)
    return list(map(_message, rows))


def _message(row: MessageRow) -> OutboxMessage:
    return OutboxMessage(
        seq=row.seq,
        id=row.id,
        kind=msgspec.convert(row.kind, MessageKind),
        at=row.at,
        content=_content(row),
    )


def _content(row: MessageRow) -> Incident | StormSummary:
    if row.kind == "summary":
        return msgspec.json.decode(row.document, type=StormSummary)
    return decode_incident(row.document)


def _end(
    session: Session,
    channel: str,
    messages: Sequence[OutboxMessage],
    *,
    outcome: str,
    now: float,
) -> None:
    places = [message.seq for message in messages]
    ended = update(DeliveryRow).where(
        DeliveryRow.channel == channel,
        DeliveryRow.seq.in_(places),
    )
    session.execute(ended.values(ended=now, outcome=outcome))


def _add_summary(
    session: Session,
    summary: StormSummary,
    now: float,
) -> MessageRow:
    """A message that is named by its place."""
    row = MessageRow(
        id="",
        kind="summary",
        at=now,
        document=encode_document(summary),
    )
    session.add(row)
    session.flush()
    row.id = f"summary.{row.seq}"
    return row
