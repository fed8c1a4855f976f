"""Incidents as events of Graphite, which Grafana draws over its panels.

The form is that of graphite-web's `/events/get_data`, as Grafana's own data source of the type
`graphite` reads it. An event is a moment: an incident is one when it begins, and one when it ends.
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Iterator
from typing import Literal

import msgspec

from drift.incidents.channels.wording import Link, describe_incident, headline, plain_text
from drift.incidents.incident import Incident

MAX_EVENTS = 1000
MAX_ENTITY_TAGS = 5
_GRADES = ("low", "medium", "high")  # thirds
_VERBS = {"onset": "opened", "end": "closed"}
_Moment = Literal["onset", "end"]


class GraphiteEvent(msgspec.Struct, frozen=True):
    """A moment of an incident.

    when: Unix seconds, whole ones, as Grafana reads no others; what: a title, data: HTML
    tags: words without spaces; id: the incident's, which a client of Graphite expects as a number
    """

    when: int
    what: str
    data: str
    tags: tuple[str, ...]
    id: str


def incident_events(incidents: Iterable[Incident], link: Link) -> Iterator[GraphiteEvent]:
    """Yield begin and end of each incident of which people were told."""
    for incident in incidents:
        if incident.held_by is not None:
            continue
        yield _event(incident, "onset", incident.onset, link=link)
        if incident.end is not None:
            yield _event(incident, "end", incident.end, link=link)


def select_events(
    events: Iterable[GraphiteEvent],
    since: float,
    until: float,
    *,
    tags: Collection[str],
) -> list[GraphiteEvent]:
    """Return the events from `since` to `until` that have all of the tags, the latest last.

    Of more than `MAX_EVENTS` they are the latest.
    """
    wanted = set(tags)
    first = int(since)
    found = [
        event for event in events if first <= event.when <= until and wanted <= set(event.tags)
    ]
    return sorted(found, key=_when)[-MAX_EVENTS:]


def _when(event: GraphiteEvent) -> int:
    return event.when


def _event(
    incident: Incident,
    moment: _Moment,
    at: float,
    *,
    link: Link,
) -> GraphiteEvent:
    return GraphiteEvent(
        when=int(at),
        what=f"Incident {_VERBS[moment]}: {headline(incident)}",
        data=_text(incident, link(incident)),
        tags=tuple(_tags(incident, moment)),
        id=incident.id,
    )


def _text(incident: Incident, url: str) -> str:
    """What is known of an incident, in HTML: what comes from rows has no markup of its own."""
    lines = describe_incident(incident).splitlines()
    if url:
        lines.append(f'<a href="{html.escape(url)}">{incident.id}</a>')
    return "<br>".join(lines)


def _tags(incident: Incident, moment: _Moment) -> Iterator[str]:
    yield moment
    yield incident.state
    yield _word(incident.kind)
    yield f"grade-{_band(incident.grade)}"
    if incident.verdict is not None:
        yield incident.verdict
    for entity in incident.entities[:MAX_ENTITY_TAGS]:
        yield f"entity:{_word(entity)}"


def _band(grade: float) -> str:
    return _GRADES[min(int(grade * len(_GRADES)), len(_GRADES) - 1)]


def _word(name: str) -> str:
    """A name as one tag: spaces and commas come between tags."""
    return plain_text(name).replace(" ", "-").replace(",", "-")
