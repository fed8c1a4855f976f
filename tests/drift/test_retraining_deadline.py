"""A retraining has its time, neither more nor less, when the clock jumps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from drift.governor import Governor
from drift.retraining_deadline import RetrainingDeadline

STATE = Governor(phase="retraining", episode="1-1", retrains=((1000.0, 0.0),))


@given(jumps=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=10))
def test_jumps_of_the_clock_change_nothing(jumps: list[float]) -> None:
    now, passed = [1000.0], [50.0]
    deadline = RetrainingDeadline(lambda: now[0], lambda: passed[0])
    for jump in jumps:
        assert deadline.of(STATE, 900.0) == 950.0
        now[0] += jump
        passed[0] += 1.0


@given(now=st.floats(-1e9, 1e9))
def test_a_monitor_that_restarts_gives_what_is_left(now: float) -> None:
    until = RetrainingDeadline(lambda: now, lambda: 50.0).of(STATE, 900.0)
    assert until == 950.0 - min(max(now - 1000.0, 0.0), 900.0)


def test_each_retraining_has_its_own() -> None:
    passed = [0.0]
    deadline = RetrainingDeadline(lambda: 1000.0, lambda: passed[0])
    assert deadline.of(STATE, 900.0) == 900.0
    passed[0] = 500.0
    other = Governor(phase="retraining", episode="2-2", retrains=((1000.0, 0.0),))
    assert deadline.of(other, 900.0) == 1400.0
