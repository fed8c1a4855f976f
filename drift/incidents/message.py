"""What people are told: one change of an incident, or a summary of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import msgspec

from drift.incidents.incident import Incident

MessageKind = Literal["opened", "updated", "closed", "summary"]
MAX_GRAVEST = 10
MAX_SUMMARIZED = 10_000  # changes; more are another summary


class StormSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Many changes in one message.

    opened, updated, closed: how many; messages: their ids, in order
    gravest: some of the incidents, as they are after the last of their changes
    """

    opened: int
    updated: int
    closed: int
    messages: tuple[str, ...]
    gravest: tuple[Incident, ...]


class OutboxMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message on its way.

    seq: its place in the order of all; id: by which a receiver drops a second copy
    at: when what it tells has happened (Unix seconds)
    """

    seq: int
    id: str
    kind: MessageKind
    at: float
    content: Incident | StormSummary


def summarize(messages: Sequence[OutboxMessage]) -> StormSummary:
    """Summarize changes of incidents."""
    kinds = Counter[str](message.kind for message in messages)
    return StormSummary(
        opened=kinds["opened"],
        updated=kinds["updated"],
        closed=kinds["closed"],
        messages=tuple(message.id for message in messages),
        gravest=_gravest(messages),
    )


def _gravest(messages: Sequence[OutboxMessage]) -> tuple[Incident, ...]:
    latest = latest_incidents(messages)
    return tuple(sorted(latest, key=_gravity)[:MAX_GRAVEST])


def _gravity(incident: Incident) -> tuple[float, str]:
    return -incident.grade, incident.id


def latest_incidents(messages: Sequence[OutboxMessage]) -> list[Incident]:
    """Each incident of these messages once, as it is after the last of them."""
    contents = [message.content for message in messages]
    latest = {one.id: one for one in contents if isinstance(one, Incident)}
    return list(latest.values())
