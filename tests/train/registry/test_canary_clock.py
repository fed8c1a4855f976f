"""How long a canary has run, whatever the clocks of who started and who follows it say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.registry.canary import Canary
from train.registry.canary_clock import CanaryClock

STEPS = ((0.1, 60.0), (0.5, 60.0))
PLAN = Canary("2", "1", 1000.0, STEPS)


@pytest.mark.parametrize(("now", "elapsed_s"), [(1070.0, 70.0), (0.0, 0.0), (9e9, 120.0)])
def test_who_begins_while_it_runs_goes_by_its_start_within_its_steps(
    now: float, elapsed_s: float
) -> None:
    clock = CanaryClock(lambda: now, lambda: 5.0)
    clock.follow(PLAN)
    assert clock.elapsed_s() == elapsed_s


times = st.floats(-1e9, 1e9)


@given(start=times, jumps=st.lists(st.tuples(times, st.floats(0, 30)), max_size=20))
def test_who_sees_it_come_counts_seconds_whatever_the_clocks_say(
    start: float, jumps: list[tuple[float, float]]
) -> None:
    now, passed = [start], [0.0]
    clock = CanaryClock(lambda: now[0], lambda: passed[0])
    clock.follow(None)
    plan = Canary("2", "1", start, STEPS)
    for jump, seconds in jumps:
        clock.follow(plan)
        now[0] += jump
        passed[0] += seconds
        assert clock.elapsed_s() == pytest.approx(passed[0])
    clock.follow(None)
    clock.follow(PLAN)
    assert clock.elapsed_s() == 0.0
