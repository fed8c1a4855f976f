"""Steps that know hours: `season`, the level of each hour of the week, and `calendar`, which adds
hour and weekday themselves."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from train.table.transform.local_time import (
    WEEK_HOURS,
    Seconds,
    hour_of_week,
    minute_of_day,
    weekday,
)
from vigil.arrays import Floats

CALENDAR_NAMES = (
    "calendar:hour_sin",
    "calendar:hour_cos",
    "calendar:weekday_sin",
    "calendar:weekday_cos",
)
MIN_WEEKS = 3  # from the first row to the last, before each hour of the week has a level
MIN_DAYS = 3  # the same for each hour of the day
_MIN_LEVEL_ROWS = 3  # of an hour: with fewer it has the level of the next coarser kind
_WEEK_S = WEEK_HOURS * 3600
_DAY_S = 86_400


def calendar_columns(local: Seconds) -> Floats:
    """Return hour and weekday [n, 4] as places on a circle: 23:59 is beside 00:00."""
    return np.hstack([_DAY_CIRCLE[minute_of_day(local)], _WEEK_CIRCLE[weekday(local)]])


def fit_levels(
    X: Floats,
    local: Seconds,
) -> Floats:
    """Return the median [168, d] of each hour of the week of rows `X` [n, d].

    Where the rows span less than three weeks it is that of the hour of the day, and where they span
    less than three days that of all rows.
    """
    span = int(local.max() - local.min())
    levels = np.tile(np.median(X, axis=0), (WEEK_HOURS, 1))
    hours = hour_of_week(local)
    if span >= MIN_DAYS * _DAY_S:
        levels = _refined(levels, X, hours, key=_hour_of_day)
    if span >= MIN_WEEKS * _WEEK_S:
        levels = _refined(levels, X, hours, key=_same_hour)
    return levels


def _refined(
    levels: Floats,
    X: Floats,
    hours: NDArray[np.int64],
    *,
    key: Callable[[NDArray[np.int64]], NDArray[np.int64]],
) -> Floats:
    """Levels with the median of the rows of each group of hours that has enough of them."""
    group_of_hour = key(np.arange(WEEK_HOURS))
    group_of_row = key(hours)
    refined = levels.copy()
    for group in np.unique(group_of_row):
        rows = X[group_of_row == group]
        if len(rows) >= _MIN_LEVEL_ROWS:
            refined[group_of_hour == group] = np.median(rows, axis=0)
    return refined


def _hour_of_day(hours: NDArray[np.int64]) -> NDArray[np.int64]:
    return hours % 24


def _same_hour(hours: NDArray[np.int64]) -> NDArray[np.int64]:
    return hours


def _circle(places: int) -> Floats:
    """Sine and cosine [places, 2], from one library call each: the same bits for any row."""
    angles = [2 * math.pi * place / places for place in range(places)]
    return np.array([[math.sin(angle), math.cos(angle)] for angle in angles])


_DAY_CIRCLE = _circle(1440)
_WEEK_CIRCLE = _circle(7)
