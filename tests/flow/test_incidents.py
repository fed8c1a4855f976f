"""From rows over HTTP to a message at a receiver, and back: a person's verdict."""

from __future__ import annotations

from typing import Any

import pytest

from tests.incident_events import EventReceiver
from tests.running import Vigil, eventually

pytestmark = pytest.mark.platform
SOON_S = 30.0
TOLD_S = 90.0  # other tests alert, too: of more than some messages in a minute there is one summary


@pytest.fixture(autouse=True)
def nothing_is_silenced(platform: Vigil) -> None:
    """Other tests of the shared platform add silences, some for everybody."""
    for silence in platform.json("silence", "list")["silences"]:
        platform.json("silence", "remove", silence["id"])


def test_an_outage_is_told_once_and_can_be_answered(
    platform: Vigil, receiver: EventReceiver
) -> None:
    _, ready = platform.get("/readyz")
    row = [1.0] * len(ready["features"])
    entities = [f"host-{number % 5}" for number in range(100)]
    body = {"instances": [row] * 100, "entities": entities}
    assert platform.post("/predict", body)[0] == 200
    eventually(lambda: incidents_of(platform, "host-1") != [], SOON_S)
    (incident,) = incidents_of(platform, "host-1")
    name = incident["id"]
    assert (incident["state"], incident["entity_count"]) == ("open", 5)
    assert incident["features"][0]["feature"] in ready["features"]
    eventually(lambda: receiver.changes_of(name)[:1] == [f"{name}.1"], TOLD_S)

    verdict = {"verdict": "dismiss", "reason": "a test"}
    status, judged = platform.post(f"/incidents/{name}/verdict", verdict)
    assert (status, judged["incident"]["verdict"]) == (200, "dismissed")
    eventually(lambda: receiver.changes_of(name) == [f"{name}.1", f"{name}.2"], TOLD_S)
    shown = platform.json("incidents", "show", name)
    assert (shown["state"], shown["verdicts"][0]["reason"]) == ("closed", "a test")
    assert moments_of(platform, name) == ["onset", "end"]


def test_rows_in_a_silence_open_nothing(platform: Vigil) -> None:
    silence = platform.json("silence", "add", "--to", "2100-01-01", "--entity", "silent")
    _, ready = platform.get("/readyz")
    row = [1.0] * len(ready["features"])
    for entity in ("silent", "loud"):
        body = {"instances": [row] * 20, "entity": entity}
        assert platform.post("/predict", body)[0] == 200
    eventually(lambda: incidents_of(platform, "loud") != [], SOON_S)
    assert incidents_of(platform, "silent") == []
    assert platform.json("silence", "remove", silence["id"])["id"] == silence["id"]


def incidents_of(platform: Vigil, entity: str) -> list[dict[str, Any]]:
    listed = platform.get("/incidents?limit=100")[1]["incidents"]
    return [incident for incident in listed if entity in incident["entities"]]


def moments_of(platform: Vigil, incident: str) -> list[str]:
    """The events of an incident, as Grafana asks for them."""
    path = "/incidents/graphite/events/get_data?from=-6h&until=now&tags=entity:host-1"
    events: Any = platform.get(path)[1]
    return [event["tags"][0] for event in events if event["id"] == incident]


def test_an_incident_that_is_not_there_is_404(platform: Vigil) -> None:
    assert platform.get("/incidents/nope")[0] == 404
    assert platform.post("/incidents/nope/verdict", {"verdict": "confirm"})[0] == 404
