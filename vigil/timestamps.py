"""Times as people send and read them: ISO 8601, or milliseconds since 1970."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

# Years 1 to 9999, as datetime has them.
_MIN_MS = -62_135_596_800_000
_MAX_MS = 253_402_300_799_999
# Unix seconds of the same years.
MIN_TIME = -62_135_596_800.0
MAX_TIME = 253_402_300_799.0


def to_unix_seconds(value: str | int | float) -> float:
    """Return the Unix seconds of an ISO 8601 text, or of milliseconds since 1970.

    A text without a zone is UTC. Raises ValueError for anything else.
    """
    if isinstance(value, str):
        return parse_iso_time(value)
    if isinstance(value, bool) or not _MIN_MS <= value <= _MAX_MS:
        raise ValueError(f"{value!r} is no time in milliseconds since 1970")
    return value / 1000


def parse_iso_time(text: str) -> float:
    """Return the Unix seconds of an ISO 8601 text, which is UTC where it has no zone.

    Raises ValueError.
    """
    return unix_seconds_of(datetime.fromisoformat(text))


def unix_seconds_of(moment: datetime) -> float:
    """Return the Unix seconds of a moment, which is UTC where it has no zone."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.timestamp()


def iso_time(seconds: float, precision: Literal["seconds", "milliseconds"] = "milliseconds") -> str:
    """Return a time in RFC 3339, in UTC; what no calendar has is its first or last second."""
    moment = datetime.fromtimestamp(max(MIN_TIME, min(seconds, MAX_TIME)), UTC)
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"
