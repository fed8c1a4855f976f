"""Times that people send: ISO 8601, or milliseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime

# Years 1 to 9999, as datetime has them.
_MIN_MS = -62_135_596_800_000
_MAX_MS = 253_402_300_799_999


def to_unix_seconds(value: str | int | float) -> float:
    """Return the Unix seconds of an ISO 8601 text, or of milliseconds since 1970.

    A text without a zone is UTC. Raises ValueError for anything else.
    """
    if isinstance(value, str):
        return _parse_iso(value)
    if isinstance(value, bool) or not _MIN_MS <= value <= _MAX_MS:
        raise ValueError(f"{value!r} is no time in milliseconds since 1970")
    return value / 1000


def _parse_iso(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()
