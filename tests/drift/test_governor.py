"""The governor: one retraining per episode at most, never two at once, within budget, not stuck."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from drift.governor import (
    Governor,
    Outcome,
    begins_retraining,
    on_champion,
    on_mode,
    on_retrained,
    on_time,
    on_window,
)
from drift.retrain_budget import DAY_S
from drift.settings import DriftSettings, Mode
from drift.verdict import VerdictKind

KINDS: dict[str, VerdictKind] = {"D": "population drift", "N": "none", "B": "data break"}
AUTO = DriftSettings(
    retrain_rows=300, cooldown_windows=3, cooldown_s=0, clear_windows=3, max_retrains_per_day=2
)
DAY_BEGINS = 1_700_000_000.0


def judged(
    state: Governor, kind: str, since: float, now: float, settings: DriftSettings
) -> tuple[Governor, bool]:
    """State after a window of 100 rows, and whether a retraining begins with it."""
    following = on_window(state, KINDS[kind], since=since, rows=100, now=now, settings=settings)
    return following, begins_retraining(state, following)


def looked(state: Governor, now: float, settings: DriftSettings) -> tuple[Governor, bool]:
    """State after a look at the clock, and whether a retraining begins with it."""
    following = on_time(state, now, settings)
    return following, begins_retraining(state, following)


def feed(
    kinds: str,
    state: Governor | None = None,
    settings: DriftSettings = AUTO,
    now: float = DAY_BEGINS,
) -> Iterator[tuple[Governor, bool]]:
    """State after each window of 100 rows, one a minute, and whether a retraining begins there."""
    state = state or Governor()
    for i, kind in enumerate(kinds):
        since = now + 60 * i
        state, begins = judged(state, kind, since, since + 59, settings)
        yield state, begins


def after(
    kinds: str,
    state: Governor | None = None,
    settings: DriftSettings = AUTO,
    now: float = DAY_BEGINS,
) -> Governor:
    return [*feed(kinds, state, settings, now)][-1][0]


def decisions(
    kinds: str, state: Governor | None = None, settings: DriftSettings = AUTO
) -> list[bool]:
    return [begins for _, begins in feed(kinds, state, settings)]


@pytest.mark.parametrize(
    ("kinds", "opens"),
    [
        ("D", False),
        ("DD", True),
        ("DND", True),
        ("NDD", True),
        ("DNND", False),
        ("DNNDNND", False),
        ("BBBB", False),
        ("DBB", False),
    ],
)
def test_an_episode_opens_on_drift_in_two_of_three_windows(kinds: str, opens: bool) -> None:
    state = after(kinds)
    assert (state.phase, state.episode is not None) == (
        ("collecting", True) if opens else ("watching", False)
    )


def test_an_episode_begins_with_its_first_drifted_window_and_retrains_once_there_are_rows() -> None:
    found = [*feed("NDNDDD")]
    assert found[3][0].since == DAY_BEGINS + 60
    assert [begins for _, begins in found] == [False] * 4 + [True, False]
    assert found[-1][0].retrained == 1


def test_an_episode_that_ends_by_itself_retrains_nothing() -> None:
    patient = AUTO.model_copy(update={"retrain_rows": 10_000})
    state = after("DDNNN", settings=patient)
    assert (state.phase, state.episode, state.retrained) == ("watching", None, 0)


@pytest.mark.parametrize(("mode", "phase"), [("observe", "watching"), ("suggest", "collecting")])
def test_only_mode_auto_retrains(mode: str, phase: str) -> None:
    state = after("D" * 20, settings=AUTO.model_copy(update={"mode": mode}))
    assert (state.phase, state.retrained) == (phase, 0)
    assert ("suggested" if mode == "suggest" else "only reports") in state.reason


@pytest.mark.parametrize("outcome", ["promoted", "kept", "failed"])
def test_drift_that_remains_after_the_cooldown_leads_to_exactly_one_more(outcome: Outcome) -> None:
    retraining = after("DDD")
    cooling = on_retrained(retraining, outcome, "why", DAY_BEGINS, AUTO)
    assert (cooling.phase, cooling.episode) == ("cooling", None)
    assert outcome in cooling.reason
    found = [*feed("D" * 12, cooling)]
    assert [state.phase for state, _ in found[:3]] == ["cooling", "cooling", "watching"]
    assert [i for i, (_, begins) in enumerate(found) if begins] == [5]
    assert found[-1][0].phase == "retraining"


def test_a_used_up_budget_waits_for_the_next_day() -> None:
    state, begun = Governor(), 0
    for hour in range(1, 60):
        now = DAY_BEGINS + 3600 * hour
        state, begins = judged(state, "D", DAY_BEGINS, now, AUTO)
        begun += begins
        if begins:
            state = on_retrained(state, "kept", "", now, AUTO)
        if hour == 23:
            assert begun == 2
            assert "budget" in state.reason
    assert begun > 2
    assert not any(
        decisions("D" * 20, settings=AUTO.model_copy(update={"max_retrains_per_day": 0}))
    )


@pytest.mark.parametrize(("own", "phase"), [(True, "cooling"), (False, "watching")])
def test_only_a_persons_promotion_ends_the_cooldown(own: bool, phase: str) -> None:
    state = on_champion(on_retrained(after("DDD"), "promoted", "", DAY_BEGINS, AUTO), own=own)
    assert (state.phase, state.recent) == (phase, ())


@pytest.mark.parametrize(
    ("kinds", "phase"), [("D", "watching"), ("DD", "watching"), ("DDD", "retraining")]
)
def test_another_champion_closes_the_episode_but_not_a_running_retraining(
    kinds: str, phase: str
) -> None:
    state = on_champion(after(kinds), own=False)
    assert (state.phase, state.recent) == (phase, ())
    assert (state.episode is None) == (phase == "watching")


def test_an_outcome_that_nobody_waits_for_changes_nothing() -> None:
    state = after("DD")
    assert on_retrained(state, "promoted", "", DAY_BEGINS, AUTO) is state


def test_a_clock_that_ran_ahead_for_a_while_refills_nothing() -> None:
    state = on_retrained(after("DDD"), "kept", "", DAY_BEGINS, AUTO)
    state = after(
        "NNNDD", state, now=DAY_BEGINS + 2 * DAY_S
    )  # the first start is long ago, says the clock
    found = [*feed("D" * 3, state, now=DAY_BEGINS + 3600)]
    assert [begins for _, begins in found] == [True, False, False]
    state = on_retrained(found[-1][0], "kept", "", DAY_BEGINS + 3660, AUTO)
    assert not any(decisions("D" * 12, state))


def test_five_hundred_signals_in_an_hour_are_one_retraining_and_what_remains_then_exactly_one_more(
    # A signal every 7.2 seconds is 500 an hour.
) -> None:
    settings = AUTO.model_copy(update={"cooldown_s": 3600.0, "max_retrains_per_day": 24})
    state, begun, now = Governor(), list[float](), DAY_BEGINS
    for signal in range(700):
        now = DAY_BEGINS + 7.2 * signal
        state, begins = judged(state, "D", now - 7.2, now, settings)
        if begins:
            begun.append(now - DAY_BEGINS)
            state = on_retrained(state, "kept", "", now + 1, settings)
        if signal % 100 == 0:  # the monitor is killed, and goes on from what it wrote
            state = Governor.from_json(json.loads(json.dumps(state.to_json())))
    assert len(begun) == 2
    assert begun[0] < 60
    assert begun[1] > 3600


def test_the_seconds_of_retraining_have_a_budget_too() -> None:
    settings = AUTO.model_copy(
        update={"max_retrains_per_day": 9, "max_retrain_seconds_per_day": 500.0}
    )
    state = on_retrained(
        after("DDD", settings=settings), "kept", "", DAY_BEGINS + 179 + 600, settings
    )
    assert state.retrains == ((DAY_BEGINS + 179, 600.0),)
    state = after("D" * 12, state, settings, DAY_BEGINS + 1000)
    assert (state.phase, state.retrained) == ("collecting", 1)
    assert "500 s of retraining" in state.reason
    assert after("D", state, settings, DAY_BEGINS + 2 * DAY_S).retrained == 2


@pytest.mark.parametrize(
    ("schedule", "due", "trigger"),
    [
        ({"schedule_hours": 1.0}, 3600.0, "schedule"),
        ({"schedule_rows": 250}, 120.0, "volume"),
        ({"schedule_hours": 0.0}, None, ""),
    ],
)
def test_time_or_volume_retrain_without_drift(
    schedule: dict[str, float], due: float | None, trigger: str
) -> None:
    settings, state, begun = AUTO.model_copy(update=schedule), Governor(), None
    for second in range(0, 7200, 60):
        now = DAY_BEGINS + second
        state, begins = looked(state, now, settings)
        if begins:
            assert begun is None  # it does not end in this test: no second one begins
            begun = second
        state, _ = judged(state, "N", now, now, settings)
    assert begun == (due if due is None else pytest.approx(due, abs=60))
    if due:
        assert (state.phase, state.since, state.episode is not None) == (
            "retraining",
            DAY_BEGINS,
            True,
        )
        assert state.trigger == trigger
        assert f"retraining by {trigger}" in state.reason
        state = on_retrained(state, "promoted", "", DAY_BEGINS + 7200, settings)
        assert (state.renewed, state.fresh) == (DAY_BEGINS + 7200, 0)


def test_a_clock_that_goes_back_gives_no_episode_an_id_for_the_second_time() -> None:
    hourly = AUTO.model_copy(update={"schedule_hours": 1.0, "cooldown_windows": 0})
    state, _ = looked(Governor(), DAY_BEGINS, hourly)
    due = DAY_BEGINS + 3600
    state, _ = looked(state, due, hourly)
    first = state.episode
    state = on_retrained(state, "kept", "", due, hourly)
    state, _ = looked(on_champion(state, own=False), DAY_BEGINS, hourly)
    state, begins = looked(state, due, hourly)
    assert begins
    assert state.episode != first


@pytest.mark.parametrize("ended", [DAY_BEGINS - DAY_S, DAY_BEGINS + DAY_S])
def test_a_clock_that_jumps_in_a_retraining_uses_up_no_budget_of_seconds(ended: float) -> None:
    settings = AUTO.model_copy(update={"max_retrain_seconds_per_day": 7200.0})
    state = on_retrained(after("DDD", settings=settings), "kept", "", ended, settings)
    assert 0 <= state.retrain_seconds <= 2 * settings.retrain_timeout_s < 7200.0


def test_a_person_can_switch_retraining_off_and_on_again() -> None:
    state = on_mode(after("DD"), "observe")
    assert (state.phase, state.episode) == ("watching", None)
    assert not any(decisions("D" * 9, state))
    hourly = AUTO.model_copy(update={"schedule_hours": 1.0})
    later = DAY_BEGINS + DAY_S
    assert on_time(state, later, hourly) == replace(state, renewed=later)
    assert any(decisions("D" * 9, on_mode(state, None)))
    assert (
        on_mode(after("DDD"), "observe").phase == "retraining"
    )  # it ends by itself; what becomes of it is asked then


def test_the_state_of_an_older_vigil_is_read_and_of_a_newer_refused() -> None:
    old = {
        k: v
        for k, v in after("DDD").to_json().items()
        if k not in ("format", "mode", "renewed", "fresh", "until")
    }
    assert Governor.from_json({**old, "retrains": [5.0]}).retrains == ((5.0, 0.0),)
    with pytest.raises(ValueError, match="newer"):
        Governor.from_json({**after("D").to_json(), "format": 3})


@pytest.mark.parametrize(
    ("episode", "trigger"),
    [("17-schedule", "schedule"), ("17-volume", "volume"), ("17-3", "drift"), (None, "drift")],
)
def test_what_opened_the_episode_of_an_older_vigil_is_in_its_id(
    episode: str | None, trigger: str
) -> None:
    old = {**after("DDD").to_json(), "episode": episode}
    del old["trigger"]
    assert Governor.from_json(old).trigger == trigger


def test_the_status_has_what_it_always_had() -> None:
    state = after("DDD")
    assert state.to_json().keys() - state.status().keys() == {"trigger"}


LIFE = AUTO.model_copy(update={"schedule_hours": 30.0, "schedule_rows": 2000, "cooldown_s": 5000.0})


class Life(RuleBasedStateMachine):
    """Windows, outcomes, promotions, clock jumps and restarts in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.now = Governor(), DAY_BEGINS
        self.running = False
        self.begun: list[float] = []
        self.episodes: list[str | None] = []

    @rule(kind=st.sampled_from("DDDDNB"), seconds=st.sampled_from([0.0, 60.0, 7200.0]))
    def window(self, kind: str, seconds: float) -> None:
        self.jump(seconds)
        before = self.state
        self.state, begins = judged(self.state, kind, self.now - 60, self.now, LIFE)
        if not begins:
            return
        assert before.phase == "collecting"
        self.began()

    def began(self) -> None:
        assert not self.running
        self.running = True
        self.begun.append(self.now)
        assert sum(self.now - DAY_S < at for at in self.begun) <= LIFE.max_retrains_per_day
        self.episodes.append(self.state.episode)

    @precondition(lambda self: self.running)
    @rule(outcome=st.sampled_from(["promoted", "kept", "failed"]))
    def finish(self, outcome: Outcome) -> None:
        self.state, self.running = on_retrained(self.state, outcome, "", self.now, LIFE), False

    @rule()
    def look_at_the_clock(self) -> None:
        self.state, begins = looked(self.state, self.now, LIFE)
        if begins:
            self.began()

    @rule(mode=st.sampled_from(["observe", "auto", None]))
    def switch(self, mode: Mode | None) -> None:
        self.state = on_mode(self.state, mode)

    @rule(own=st.booleans())
    def champion(self, own: bool) -> None:
        self.state = on_champion(self.state, own=own)

    @rule(seconds=st.sampled_from([3600.0, 2 * DAY_S, -3600.0, -2 * DAY_S]))
    def jump(self, seconds: float) -> None:
        self.now += seconds
        self.begun = [
            min(at, self.now) for at in self.begun
        ]  # a clock that goes back refills nothing

    @rule()
    def restart(self) -> None:
        restored = Governor.from_json(json.loads(json.dumps(self.state.to_json())))
        assert restored == self.state
        self.state = restored

    @invariant()
    def one_retraining_at_a_time_and_per_episode(self) -> None:
        assert self.running == (self.state.phase == "retraining")
        assert None not in self.episodes
        assert len(set(self.episodes)) == len(self.episodes) == self.state.retrained

    def teardown(self) -> None:
        """Quiet windows, and the end of what runs, always lead back to watching."""
        for _ in range(LIFE.cooldown_windows + 2 * LIFE.clear_windows + 1):
            self.window("N", 1000.0)
            if self.running:
                self.finish("failed")
        assert self.state.phase == "watching"


Life.TestCase.settings = profile(max_examples=60, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase


def test_a_data_break_while_collecting_does_not_retrain() -> None:
    assert not any(decisions("DDB"))
