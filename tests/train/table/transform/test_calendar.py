"""Hours and weekdays are those of pandas, also where clocks are changed; levels are medians."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.table.transform.calendar import calendar_columns, fit_levels
from train.table.transform.local_time import hour_of_week, local_seconds, minute_of_day, weekday
from vigil.errors import DataError

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
MONDAY = 1_704_067_200  # 2024-01-01 00:00 UTC
HOUR = 3600
WEEK = 7 * 24 * HOUR


@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=20), st.sampled_from(ZONES))
def test_clocks_show_what_pandas_says(times: list[float], zone: str) -> None:
    local = local_seconds(np.array(times), zone)
    seconds = pd.DatetimeIndex(pd.to_datetime(np.floor(times).astype(np.int64), unit="s", utc=True))
    clocks = seconds.tz_convert(zone)
    np.testing.assert_array_equal(minute_of_day(local), clocks.hour * 60 + clocks.minute)
    np.testing.assert_array_equal(weekday(local), clocks.day_of_week)
    np.testing.assert_array_equal(hour_of_week(local), clocks.day_of_week * 24 + clocks.hour)


def test_the_hour_that_is_there_twice_in_autumn_has_the_same_features_both_times() -> None:
    first = datetime.fromisoformat("2026-10-25 02:30+02:00").timestamp()
    times = np.array([first, first + HOUR, first + 2 * HOUR])
    columns = calendar_columns(local_seconds(times, "Europe/Berlin"))
    np.testing.assert_array_equal(columns[0], columns[1])
    assert not np.array_equal(columns[1], columns[2])


def test_the_hour_that_is_left_out_in_spring_is_no_hour_of_a_row() -> None:
    before = datetime.fromisoformat("2026-03-29 01:59+01:00").timestamp()
    local = local_seconds(np.array([before, before + 60]), "Europe/Berlin")
    np.testing.assert_array_equal(minute_of_day(local), [119, 180])


def test_midnight_is_beside_the_minute_before_it() -> None:
    columns = calendar_columns(np.array([24 * HOUR - 60, 24 * HOUR, 36 * HOUR]))
    near, far = np.linalg.norm(columns[:, :2] - columns[1, :2], axis=1)[[0, 2]]
    assert near < 0.01 < 1.9 < far


@pytest.mark.parametrize("time", [-1.0, np.nan, np.inf, 1e300])
def test_times_without_a_date_are_refused(time: float) -> None:
    with pytest.raises(DataError, match="no calendar"):
        local_seconds(np.array([MONDAY, time]), "UTC")


def test_levels_are_medians_of_as_fine_hours_as_the_rows_span() -> None:
    local = MONDAY + 1200 * np.arange(4 * WEEK // 1200) - MONDAY
    X = np.random.default_rng(0).normal(size=(len(local), 2)) + hour_of_week(local)[:, None]
    frame = pd.DataFrame(X)
    for weeks, key in ((4, hour_of_week(local)), (2, hour_of_week(local) % 24)):
        rows = local < weeks * WEEK
        expected = frame[rows].groupby(key[rows]).median().to_numpy()
        found = fit_levels(X[rows], local[rows])
        np.testing.assert_allclose(found, np.resize(expected, (168, 2)))
    few = fit_levels(X[:100], local[:100])
    np.testing.assert_allclose(few, np.tile(np.median(X[:100], axis=0), (168, 1)))


def test_an_hour_with_few_rows_has_the_level_of_the_hour_of_the_day() -> None:
    local = HOUR * np.arange(4 * 168)
    X = (hour_of_week(local) % 24).astype(np.float64)[:, None]
    is_kept = (hour_of_week(local) != 50) | (local < WEEK)
    found = fit_levels(X[is_kept], local[is_kept])
    np.testing.assert_allclose(found[:, 0], np.arange(168) % 24)
