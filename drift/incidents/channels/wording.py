"""Messages as people read them. What comes from rows is escaped: nothing in it is markup."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from drift.incidents.incident import FeatureDeviation, Incident
from drift.incidents.message import OutboxMessage, StormSummary
from vigil.timestamps import iso_time

MAX_NAME_SHOWN = 80
MAX_TITLE = 200
MAX_SHOWN = 5
# Of what no service makes a link, a mention, a picture, bold text or a line of its own.
_PLAIN = frozenset(" _-.,:;/%+=()#°")
_VERBS = {"opened": "opened", "updated": "is graver", "closed": "closed"}
Link = Callable[[Incident], str]


class Wording(NamedTuple):
    """A message as text without markup."""

    title: str
    body: str


def plain_text(text: str, limit: int = MAX_NAME_SHOWN) -> str:
    r"""A name from outside as text that no service takes for markup.

    Characters of other kinds than letters, digits and a few signs become `\x3c`, `\u202e`.
    """
    shown = "".join(map(_plain_character, text[:limit])).replace("://", ": //")
    return f"{shown}.." if len(text) > limit else shown


def _plain_character(character: str) -> str:
    if character.isalnum() or character in _PLAIN:
        return character
    return ascii(character)[1:-1] if not character.isascii() else f"\\x{ord(character):02x}"


def word_message(
    message: OutboxMessage,
    detector: str,
    link: Link,
) -> Wording:
    """Title and text of a message about incidents of a detector."""
    content = message.content
    name = plain_text(detector)
    if isinstance(content, StormSummary):
        return Wording(f"{name}: {_counts(content)}", _storm_body(content, link))
    title = f"{name}: incident {_VERBS[message.kind]}: {headline(content)}"
    return Wording(title, describe_incident(content, link(content)))


def headline(incident: Incident) -> str:
    """One line about an incident."""
    return plain_text(incident.title, MAX_TITLE) or _scope(incident)


def _scope(incident: Incident) -> str:
    rows = f"{incident.rows} rows"
    return f"{rows} of {_entities(incident)}" if incident.entity_count else rows


def _entities(incident: Incident) -> str:
    shown = [plain_text(name) for name in incident.entities[:MAX_SHOWN]]
    more = incident.entity_count - len(shown)
    return ", ".join([*shown, f"{more} more"] if more > 0 else shown)


def describe_incident(incident: Incident, link: str = "") -> str:
    """What is known of an incident, a line each."""
    lines = [
        f"grade {incident.grade:.2f}, {_scope(incident)}",
        _period(incident),
        *map(_deviation, incident.features[:MAX_SHOWN]),
        f"model version {plain_text(incident.model_version)}, incident {incident.id}",
        link,
    ]
    return "\n".join(filter(None, lines))


def _period(incident: Incident) -> str:
    if incident.end is None:
        return f"since {_time(incident.onset)}"
    return f"from {_time(incident.onset)} to {_time(incident.end)}"


def _time(seconds: float) -> str:
    return iso_time(seconds).replace("T", " ").replace("Z", " UTC")


def _deviation(deviation: FeatureDeviation) -> str:
    name = plain_text(deviation.feature)
    values = f"{deviation.observed:.6g}, expected {deviation.expected:.6g}"
    return f"{name}: {values} ({deviation.direction})"


def _counts(summary: StormSummary) -> str:
    counted = [
        _count(summary.opened, "opened"),
        _count(summary.updated, "graver"),
        _count(summary.closed, "closed"),
    ]
    return f"many incidents: {', '.join(filter(None, counted))}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number else ""


def _storm_body(summary: StormSummary, link: Link) -> str:
    lines = [_storm_line(incident, link(incident)) for incident in summary.gravest]
    return "\n".join(["The gravest:", *lines])


def _storm_line(incident: Incident, link: str) -> str:
    parts = (incident.id, f"grade {incident.grade:.2f}", headline(incident), link)
    return " - ".join(filter(None, parts))


def name_features(features: Iterable[FeatureDeviation]) -> str:
    """The names of features, as text."""
    return ", ".join(plain_text(deviation.feature) for deviation in features)
