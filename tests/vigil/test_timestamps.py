"""Times as people send them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vigil.timestamps import to_unix_seconds

TEN = datetime(2026, 11, 29, 10, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-29T10:00:00Z",
        "2026-11-29T11:00:00+01:00",
        "2026-11-29 10:00:00",
        "2026-11-29T10:00:00.000000",
        int(TEN * 1000),
        TEN * 1000,
    ],
)
def test_one_moment_in_many_forms(value: str | float) -> None:
    assert to_unix_seconds(value) == TEN


@pytest.mark.parametrize(
    "value", ["", "yesterday", "2026-13-01", "10:00", True, 1e300, float("nan"), -(10**30)]
)
def test_what_is_no_time_is_refused(value: str | float) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        to_unix_seconds(value)


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_moment_comes_back(moment: datetime) -> None:
    assert to_unix_seconds(moment.isoformat()) == moment.timestamp()
