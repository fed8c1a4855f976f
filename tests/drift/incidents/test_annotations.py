"""Incidents as events of Graphite, beside what graphite-web answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from drift.incidents.annotations import (
    MAX_EVENTS,
    GraphiteEvent,
    incident_events,
    select_events,
)
from drift.incidents.answers import IncidentAnswers
from drift.incidents.channels.channel import ChannelContext
from drift.incidents.incident import Incident
from tests.drift.incidents.examples import incident
from tests.drift.incidents.test_desk import AT, Desk, alerting

LINK = ChannelContext(console_url="https://vigil.example.com/").link
# What graphite-web 1.1.10 answered to GET /events/get_data?from=1467844481&until=1467844481.
RECORDED = """[{"when": 1467844481, "what": "Something happened", "data": "more info",
 "tags": ["foo", "bar"], "id": 1}]"""


def events_of(*incidents: Incident) -> list[GraphiteEvent]:
    return list(incident_events(incidents, LINK))


def select(*incidents: Incident, since: float = 0, until: float = 9e9, tags: str = "") -> list[str]:
    """Begins and ends, as `onset 1`."""
    found = select_events(events_of(*incidents), since, until, tags=tags.split())
    return [f"{event.tags[0]} {event.when}" for event in found]


def closed(number: int, end: float, **more: Any) -> Incident:
    return incident(number, state="closed", end=end, **more)


def test_an_event_has_the_form_of_graphites() -> None:
    (recorded,) = json.loads(RECORDED)
    (event,) = msgspec.to_builtins(events_of(incident(1)))
    read_by_grafana = {"when", "what", "data", "tags"}
    assert event.keys() == recorded.keys()
    assert {name: type(event[name]) for name in read_by_grafana} == {
        name: type(recorded[name]) for name in read_by_grafana - {"tags"}
    } | {"tags": tuple}
    assert type(json.loads(msgspec.json.encode(event))["tags"]) is list


def test_an_incident_is_an_event_when_it_begins_and_when_it_ends() -> None:
    begin, end = events_of(closed(7, 60.9, entities=("db 1", "b,c"), entity_count=2))
    assert (begin.when, end.when) == (7, 60)
    assert begin.what == "Incident opened: 3 rows of db 1, b,c"
    assert end.what == "Incident closed: 3 rows of db 1, b,c"
    assert begin.tags == ("onset", "closed", "rows", "grade-medium", "entity:db-1", "entity:b-c")
    assert end.tags[0] == "end"
    assert begin.id == end.id == "i000007"


@pytest.mark.parametrize(
    ("grade", "band"),
    [(0.0, "low"), (0.33, "low"), (0.34, "medium"), (0.67, "high"), (1.0, "high")],
)
def test_grades_are_tags_by_thirds(grade: float, band: str) -> None:
    (event,) = events_of(incident(1, grade=grade, kind="data break", verdict="confirmed"))
    assert event.tags == ("onset", "open", "data-break", f"grade-{band}", "confirmed")


def test_what_comes_from_rows_is_no_markup_and_the_link_is() -> None:
    hostile = '"><img src=x onerror=alert(1)>'
    (event,) = events_of(incident(1, entities=(hostile,) * 20, entity_count=20, title=hostile))
    text = event.data.replace("<br>", " ")
    link = '<a href="https://vigil.example.com/incidents/i000001">i000001</a>'
    assert text.endswith(link)
    assert not set('<>"') & set(text.removesuffix(link) + event.what + "".join(event.tags))
    assert len(event.tags) == 9
    (unlinked,) = incident_events([incident(1)], ChannelContext().link)
    assert "href" not in unlinked.data


def test_moments_are_selected_by_time_and_by_all_tags() -> None:
    long, short = closed(10, 500, grade=0.9), closed(200, 210)
    assert select(long, short) == ["onset 10", "onset 200", "end 210", "end 500"]
    assert select(long, short, since=10.7, until=209) == ["onset 10", "onset 200"]
    assert select(long, short, since=250) == ["end 500"]
    assert select(long, short, tags="end grade-high") == ["end 500"]
    assert select(long, short, tags="end nothing") == []
    assert select(long, short, since=300, until=200) == []


def test_the_latest_of_too_many_are_returned() -> None:
    found = select(*(incident(number) for number in range(MAX_EVENTS + 5)))
    assert len(found) == MAX_EVENTS
    assert found[-1] == f"onset {MAX_EVENTS + 4}"


def test_what_a_rule_holds_back_is_not_drawn() -> None:
    assert events_of(incident(1, held_by="r1")) == []


def test_events_are_read_from_the_database(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    answers = IncidentAnswers(desk, lambda: desk.now)
    desk.take(alerting(20, AT))
    desk.take(alerting(20, AT + 10_000))

    def whens(since: float, until: float, *tags: str) -> list[float]:
        found = answers.incident_events(since, until, tags, console_url="https://v.example.com")
        return [event["when"] - AT for event in found]

    assert whens(AT, AT + 10_000) == [0.0, 19.0, 10_000.0]
    assert whens(AT, AT + 9999, "onset") == [0.0]
    assert whens(AT + 10, AT + 9999) == [19.0]
    assert whens(AT + 10, AT + 9999, "entity:host-2") == []
    assert whens(0.0, 1e30) == whens(AT, AT + 10_000)
    assert whens(-1e9, -1.0) == []


def test_late_rows_move_an_onset_to_before_what_its_id_says(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.take(alerting(20, AT))
    desk.take(alerting(1, AT - 100))
    (found,) = desk.store.begun_by(AT - 50)
    assert found.onset == AT - 100
