"""The governor's state as it is stored, also by an older Vigil."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from vigil.json_types import Fields, JsonObject

GOVERNOR_FORMAT = 2


def read_governor(stored: Fields, names: Container[str]) -> JsonObject:
    """Return the values of the fields of these names. Raises ValueError for a newer Vigil's."""
    if int(stored.get("format", 1)) > GOVERNOR_FORMAT:
        raise ValueError(f"format {stored['format']} is of a newer Vigil")
    values = {name: value for name, value in stored.items() if name in names}
    windows = map(_window, stored["recent"])
    retrains = map(_retrain, stored["retrains"])
    values["recent"] = tuple(windows)
    values["retrains"] = tuple(retrains)
    values.setdefault("trigger", _trigger(values.get("episode")))
    return values


def _window(stored: Any) -> tuple[bool, float]:
    drifted, since = stored
    return bool(drifted), float(since)


def _retrain(stored: Any) -> tuple[float, float]:
    """Start and seconds; the first format had the start alone."""
    if isinstance(stored, float | int):
        return stored, 0.0
    start, seconds = stored
    return start, seconds


def _trigger(episode: str | None) -> str:
    """What opened an episode that was stored without it: its id ends with that."""
    _, _, ending = (episode or "").rpartition("-")
    return ending if ending in ("schedule", "volume") else "drift"
