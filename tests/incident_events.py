"""A receiver of CloudEvents about incidents, as long as the tests' platform runs."""

from __future__ import annotations

import json
from typing import Any

from tests.answering import Asked


class EventReceiver:
    """The events by id: a receiver drops what comes twice."""

    def __init__(self) -> None:
        self.url = ""
        self.events: dict[str, dict[str, Any]] = {}

    def answer(self, asked: Asked) -> tuple[int, Any]:
        event = json.loads(asked.body)
        self.events[event["id"]] = event
        return 200, {}

    def changes_of(self, incident: str) -> list[str]:
        """The changes of an incident that came, by themselves or in the summary of a storm."""
        ids = [each for event in list(self.events.values()) for each in _changes(event)]
        return sorted(each for each in ids if each.startswith(f"{incident}."))


def _changes(event: dict[str, Any]) -> list[str]:
    return event["data"].get("messages") or [event["id"]]
