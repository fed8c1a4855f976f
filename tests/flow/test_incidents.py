"""From rows over HTTP to a message at a receiver, and back: a person's verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.answering import Asked, answering
from tests.running import Vigil, eventually

pytestmark = pytest.mark.platform
SOON_S = 30.0
OPENED = "vigil.incident.opened"
CLOSED = "vigil.incident.closed"


class Receiver:
    """CloudEvents by id: a receiver drops what comes twice."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}

    def answer(self, asked: Asked) -> tuple[int, Any]:
        event = json.loads(asked.body)
        self.events[event["id"]] = event
        return 200, {}

    def about(self, entity: str) -> list[dict[str, Any]]:
        """The events of incidents of this entity."""
        events = list(self.events.values())
        return [event for event in events if entity in event["data"].get("entities", ())]


@pytest.fixture
def receiver(platform: Vigil) -> Iterator[Receiver]:
    url = platform.environment["VIGIL_DRIFT_NOTIFY"].partition("+")[2]
    made = Receiver()
    with answering(made.answer, urlsplit(url).port or 0):
        yield made


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return sorted(event["type"] for event in events)


def test_an_outage_is_told_once_and_can_be_answered(platform: Vigil, receiver: Receiver) -> None:
    _, ready = platform.get("/readyz")
    row = [1.0] * len(ready["features"])
    entities = [f"host-{number % 5}" for number in range(100)]
    body = {"instances": [row] * 100, "entities": entities}
    assert platform.post("/predict", body)[0] == 200
    eventually(lambda: kinds(receiver.about("host-1")) == [OPENED], SOON_S)
    (opened,) = receiver.about("host-1")
    incident_id = opened["subject"]
    incident = platform.get(f"/incidents/{incident_id}")[1]
    assert (incident["state"], incident["entity_count"]) == ("open", 5)
    assert incident["features"][0]["feature"] in ready["features"]
    listed = platform.get("/incidents?state=open")[1]["incidents"]
    assert incident_id in [each["id"] for each in listed]

    verdict = {"verdict": "dismiss", "reason": "a test"}
    status, judged = platform.post(f"/incidents/{incident_id}/verdict", verdict)
    assert (status, judged["incident"]["verdict"]) == (200, "dismissed")
    eventually(lambda: kinds(receiver.about("host-1")) == [CLOSED, OPENED], SOON_S)
    shown = platform.json("incidents", "show", incident_id)
    assert (shown["state"], shown["verdicts"][0]["reason"]) == ("closed", "a test")


def test_rows_in_a_silence_open_nothing(platform: Vigil) -> None:
    platform.json("silence", "add", "--to", "2100-01-01", "--entity", "silent", "--reason", "test")
    _, ready = platform.get("/readyz")
    row = [1.0] * len(ready["features"])
    for entity in ("silent", "loud"):
        body = {"instances": [row] * 20, "entity": entity}
        assert platform.post("/predict", body)[0] == 200
    eventually(lambda: "loud" in entities_of_open(platform), SOON_S)
    assert "silent" not in entities_of_open(platform)
    (silence,) = platform.json("silence", "list")["silences"]
    platform.json("silence", "remove", silence["id"])


def entities_of_open(platform: Vigil) -> set[str]:
    listed = platform.get("/incidents?limit=100")[1]["incidents"]
    return {entity for incident in listed for entity in incident["entities"]}


def test_an_incident_that_is_not_there_is_404(platform: Vigil) -> None:
    assert platform.get("/incidents/nope")[0] == 404
    assert platform.post("/incidents/nope/verdict", {"verdict": "confirm"})[0] == 404
