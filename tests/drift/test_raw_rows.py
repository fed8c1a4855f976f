"""Raw rows that the monitor remembers for a context that is lost."""

from __future__ import annotations

import numpy as np

from drift.raw_rows import RecentRawRows
from serve.model.report import CapturedRows, RowContext


def batch(at: list[float], *, captured: float = 0.0, timed: bool = True) -> CapturedRows:
    raw = np.array([[time, -time] for time in at])
    context = RowContext([f"e{time:.0f}" for time in at], at if timed else None)
    return CapturedRows(
        "7",
        np.hstack([raw, raw]),
        np.zeros(len(at)),
        ["r"] * len(at),
        context=context,
        captured=captured,
        warming=np.arange(len(at)) == 0,
        raw=raw,
    )


def test_the_last_rows_come_in_the_order_of_their_times() -> None:
    recent = RecentRawRows()
    judged = recent.take(batch([3.0, 1.0]))
    assert (len(judged.rows), judged.warming) == (1, None)
    recent.take(batch([4.0, 2.0]))
    rows = recent.rows(2, most=3)
    assert rows.times.tolist() == [2.0, 3.0, 4.0]
    assert rows.entities == ["e2", "e3", "e4"]
    np.testing.assert_array_equal(rows.X, [[2, -2], [3, -3], [4, -4]])
    assert len(recent.rows(3, most=9).X) == 0


def test_rows_without_a_time_lie_where_they_were_captured() -> None:
    recent = RecentRawRows()
    recent.take(batch([5.0], captured=5.0, timed=False))
    recent.take(batch([4.0], captured=4.0))
    assert recent.rows(2, most=9).entities == ["e4", "e5"]


def test_the_oldest_rows_are_forgotten() -> None:
    recent = RecentRawRows(max_rows=4)
    for first in range(0, 10, 2):
        recent.take(batch([float(first), first + 1.0]))
    assert recent.rows(2, most=99).times.tolist() == [6.0, 7.0, 8.0, 9.0]


def test_rows_of_a_model_that_looks_at_each_by_itself_are_not_remembered() -> None:
    recent = RecentRawRows()
    plain = CapturedRows("7", np.ones((2, 2)), np.zeros(2), ["r", "r"])
    assert recent.take(plain) is plain
    assert len(recent.rows(2, most=9).X) == 0
