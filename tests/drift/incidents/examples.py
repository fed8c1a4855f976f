"""Incidents and their changes, as few words as a test needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from drift.incidents.incident import ChangeKind, Incident, IncidentChange
from drift.incidents.store import IncidentStore

Open = Callable[..., IncidentStore]


def incident(number: int, **more: Any) -> Incident:
    """Incident `number`, open where nobody says otherwise."""
    fields: dict[str, Any] = {
        "id": f"i{number:06d}",
        "state": "open",
        "onset": float(number),
        "last_seen": float(number),
        "rows": 3,
        "peak_score": 0.7,
        "grade": 0.5,
        "model_version": "1",
    }
    return Incident(**(fields | more))


def change(number: int, kind: ChangeKind = "opened", **more: Any) -> IncidentChange:
    """Incident `number` as it is after a change."""
    ended = {"state": "closed", "end": number + 60.0} if kind == "closed" else {}
    return IncidentChange(kind, incident(number, **(ended | more)), float(number))
