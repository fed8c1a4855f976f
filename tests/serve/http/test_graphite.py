"""What Grafana's data source of the type `graphite` asks, and how it is answered."""

from __future__ import annotations

from typing import Any

import pytest

from serve.http.graphite import EventQuery, read_graphite_time
from serve.model.loaded import LoadedModel
from tests.serve.service import Service
from vigil.errors import MalformedRequest

EVENTS = "/incidents/graphite/events/get_data"
RENDER = "/incidents/graphite/render"
NOW = 1_795_946_400.0
HOUR_S = 3600.0
EVENT = {"when": 1_795_946_000, "what": "w", "data": "d", "tags": ["onset"], "id": "i"}


class EventMonitor:
    """Has one event, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    async def __call__(self, method: str, *args: Any) -> Any:
        self.asked.append((method, *args))
        return [EVENT]


@pytest.fixture
def event_monitor() -> EventMonitor:
    return EventMonitor()


@pytest.fixture
def answering(model: LoadedModel, event_monitor: EventMonitor) -> Service:
    return Service(model, ask_monitor=event_monitor)


# As graphite-web 1.1.10 reads them (parseATTime); Grafana sends these, and no others.
@pytest.mark.parametrize(
    ("text", "offset_s"),
    [
        ("now", 0.0),
        ("-30s", -30.0),
        ("-5min", -300.0),
        ("-6h", -6 * HOUR_S),
        ("-7d", -7 * 24 * HOUR_S),
        ("-2w", -14 * 24 * HOUR_S),
        ("-1mon", -2_592_000.0),
        ("-1y", -31_536_000.0),
        ("now-1h", -HOUR_S),
        ("now+5min", 300.0),
        ("-6hours", -6 * HOUR_S),
        ("-90minutes", -5400.0),
        ("1467844481", 1_467_844_481 - NOW),
    ],
)
def test_times_are_those_of_graphite(text: str, offset_s: float) -> None:
    assert read_graphite_time("from", text, NOW) == NOW + offset_s


@pytest.mark.parametrize(
    "text",
    ["-1fQ", "soon", "now/d", "1467844481.5", "1467844481000", "-h", "-6", "-5m", "٣", "nan"],
)
def test_another_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(MalformedRequest, match=r"`until`.*send Unix seconds, now, -30min or -6h"):
        read_graphite_time("until", text, NOW)


def test_without_a_time_it_is_all_till_now() -> None:
    assert EventQuery.parse("", NOW) == EventQuery(0.0, NOW, [])
    assert EventQuery.parse("tags=&from=", NOW) == EventQuery(0.0, NOW, [])


async def test_events_are_asked_of_the_monitor(
    answering: Service, event_monitor: EventMonitor
) -> None:
    query = b"from=1795942800&until=1795946400&tags=end%20grade-high"
    reply = await answering.ask("GET", EVENTS, query=query)
    assert (reply.status, reply.json) == (200, [EVENT])
    assert event_monitor.asked == [
        ("incident_events", NOW - HOUR_S, NOW, ["end", "grade-high"]),
    ]


@pytest.mark.parametrize("query", [b"from=soon", b"until=now/d", b"from=-1h&format=json"])
async def test_a_refusal_is_read_by_vigils_clients_and_by_grafana(
    answering: Service, event_monitor: EventMonitor, query: bytes
) -> None:
    reply = await answering.ask("GET", EVENTS, query=query)
    assert reply.status == 400
    assert reply.json["error"]["type"] == "MalformedRequest"
    assert reply.json["message"] == reply.json["error"]["message"]
    assert event_monitor.asked == []


async def test_save_and_test_is_answered_with_a_list(answering: Service) -> None:
    form = b"target=constantLine(100)&from=-1h&until=now&format=json&maxDataPoints=300"
    form_type = "application/x-www-form-urlencoded"
    reply = await answering.ask("POST", RENDER, form, content_type=form_type)
    assert (reply.status, reply.json) == (200, [])


@pytest.mark.parametrize(("method", "path"), [("GET", EVENTS), ("POST", RENDER)])
async def test_a_key_is_asked_for_as_elsewhere(model: LoadedModel, method: str, path: str) -> None:
    closed = Service(model, auth="required")
    assert (await closed.ask(method, path)).status == 401
