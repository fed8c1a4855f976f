"""Hour and weekday of Unix times in a time zone.

Daylight saving is that of the time zone database: an hour is the hour that clocks there show. In
the hour that is there twice in autumn both have the same features; the one that is left out in
spring has none.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Floats
from vigil.errors import DataError

WEEK_HOURS = 168
_DAY_S = 86_400
_DAY_HOURS = 24
_HOUR_S = 3600
_QUARTER_S = 900  # offsets of zones change at whole quarters of an hour of UTC
_THURSDAY = 3  # was 1970-01-01
_LAST = 253_402_214_400.0  # 9999-12-31: no later time has a date

Seconds = NDArray[np.int64]


def check_zone(zone: str) -> None:
    """Raise DataError for a zone that the time zone database does not have."""
    try:
        _zone(zone)
    except (ValueError, OSError, KeyError) as error:
        raise DataError(
            f"{zone!r}: there is no such time zone; write it by its name in the time zone "
            "database, as Europe/Berlin, or UTC"
        ) from error


def local_seconds(times: Floats, zone: str) -> Seconds:
    """Return what clocks in `zone` show at `times` [n] (Unix seconds), as seconds since a Monday.

    Raises DataError for times that have no date.
    """
    if not ((times >= 0) & (times < _LAST)).all():
        raise DataError("a time is before 1970, after 9999, or no number: it has no calendar")
    seconds = np.floor(times).astype(np.int64)
    quarters, place = np.unique(seconds // _QUARTER_S, return_inverse=True)
    offsets = np.array([_offset_s(zone, quarter) for quarter in quarters.tolist()], np.int64)
    return seconds + offsets[place] + _THURSDAY * _DAY_S


def hour_of_week(local: Seconds) -> NDArray[np.int64]:
    """Return the hours [n] since Monday 00:00, 0 to 167, of what clocks show."""
    return local // _HOUR_S % WEEK_HOURS


def minute_of_day(local: Seconds) -> NDArray[np.int64]:
    """Return the minutes [n] since midnight, 0 to 1439, of what clocks show."""
    return local // 60 % 1440


def weekday(local: Seconds) -> NDArray[np.int64]:
    """Return the days [n] since Monday, 0 to 6, of what clocks show."""
    return hour_of_week(local) // _DAY_HOURS


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=65_536)
def _offset_s(zone: str, quarter: int) -> int:
    """How far clocks in `zone` are ahead of UTC in a quarter of an hour since 1970."""
    offset = datetime.fromtimestamp(quarter * _QUARTER_S, _zone(zone)).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())
