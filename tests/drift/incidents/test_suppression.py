"""Minimum deviations, directions, silences and dismissal rules; what is held back says why."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from drift.incidents.rules import DismissalRule, RuleFeature
from drift.incidents.silences import Silence, SilenceRefused, Silences
from drift.incidents.tracker import IncidentTracker
from tests.drift.incidents.scenes import alerts, batch, kinds, quiet, settings, watch
from vigil.errors import BadSettings

RULE = DismissalRule(
    id="rule-1", incident="1", features=(RuleFeature("cpu", "up", 45.0),), entity="a"
)


@pytest.mark.parametrize(
    ("values", "cpu", "opens"),
    [
        ({}, 59.0, False),  # 50 is expected, and a fifth of it is the least
        ({}, 60.0, True),
        ({}, 41.0, False),
        ({"incident_min_deviation": 0}, 51.0, True),
        ({"incident_feature_deviations": {"cpu": 1}}, 90.0, False),
        ({"incident_feature_deviations": {"disk": 1}}, 90.0, True),
        ({"incident_absolute_deviations": {"cpu": 41}}, 90.0, False),
        ({"incident_directions": {"cpu": "down"}}, 90.0, False),
        ({"incident_directions": {"cpu": "down"}}, 10.0, True),
    ],
)
def test_rows_must_deviate_far_enough_and_to_the_right_side(
    values: dict[str, object], cpu: float, opens: bool
) -> None:
    tracker = IncidentTracker(settings(**values))
    assert bool(watch(tracker, batch(alerts(5), cpu=cpu))) == opens
    assert tracker.suppressed["deviation"] == (0 if opens else 5)


@pytest.mark.parametrize(
    ("scores", "limit", "opens"),
    [(alerts(5), 0.95, False), (quiet(5), 0.3, True), (alerts(5), 0.3, True)],
)
def test_rows_of_an_entity_alert_by_its_own_threshold(
    scores: list[float], limit: float, opens: bool
) -> None:
    rows = batch(scores, entities=["a"] * 5)
    own = msgspec.structs.replace(rows, limits=np.full(5, limit))
    changes = watch(IncidentTracker(settings()), own)
    assert bool(changes) == opens


@pytest.mark.parametrize(
    "values",
    [
        {"incident_alerts": 11},
        {"incident_feature_deviations": {"cpu": -1}},
        {"incident_absolute_deviations": {"cpu": math.nan}},
        {"incident_directions": {"cpu": "left"}},
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(BadSettings):
        settings(**values)


def test_rows_in_a_silence_open_nothing_and_are_marked() -> None:
    tracker = IncidentTracker(settings())
    silence = tracker.silences.add(100, 200, entity="a", by="ann", now=0)
    both = ["a", "b"] * 5
    changes = watch(tracker, batch(alerts(10), entities=both, begin=150))
    assert [change.incident.entities for change in changes] == [("b",)]
    assert tracker.suppressed["silence"] == 5
    times = np.array([99.0, 100.0, 199.9, 200.0])
    mask = tracker.silences.mask(times, ["a"] * 4)
    assert mask.tolist() == [False, True, True, False]
    assert not tracker.silences.mask(times).any()
    assert tracker.silences.remove(silence.id) == silence
    assert not tracker.silences.mask(times, ["a"] * 4).any()


def test_windows_of_the_calendar_are_for_all_and_are_listed_with_the_others() -> None:
    silences = Silences()
    silences.add(50, 60, now=0)
    silences.follow_calendar([Silence(id="calendar:1", since=10, until=20)])
    assert [silence.since for silence in silences.listed()] == [10, 50]
    times = np.array([15.0, 55.0, 70.0])
    assert silences.mask(times, ["a", "b", "c"]).tolist() == [True, True, False]
    silences.follow_calendar([])
    assert silences.mask(times).tolist() == [False, True, False]


def test_a_silence_that_cannot_be_is_refused() -> None:
    silences = Silences(max_silences=1)
    for since, until in ((5, 5), (6, 5), (math.nan, 5), (0, math.inf)):
        with pytest.raises(SilenceRefused, match="before it ends"):
            silences.add(since, until, now=0)
    silences.add(0, 10, now=0)
    with pytest.raises(SilenceRefused, match="already"):
        silences.add(0, 10, now=5)
    silences.add(20, 30, now=15)  # the first has ended
    with pytest.raises(SilenceRefused, match="no silence"):
        silences.remove("s1")


def test_an_incident_that_a_rule_holds_back_is_told_to_nobody_but_listed() -> None:
    tracker = IncidentTracker(settings())
    tracker.follow_rules([RULE], now=0)
    assert watch(tracker, batch(alerts(20), entities=["a"] * 20)) == []
    (held,) = tracker.held_incidents()
    assert (held.held_by, held.rows, held.state) == ("rule-1", 20, "open")
    assert [touched.incident.id for touched in tracker.touched] == [held.id]
    assert tracker.tick(1000) == []
    (closed,) = tracker.touched
    assert (closed.incident.state, closed.incident.held_by) == ("closed", "rule-1")
    assert tracker.suppressed["rule"] == 20


@pytest.mark.parametrize(("entity", "cpu"), [("b", 90.0), ("a", 96.0), ("a", 10.0)])
def test_a_rule_holds_back_its_entity_size_and_direction_alone(entity: str, cpu: float) -> None:
    tracker = IncidentTracker(settings())
    tracker.follow_rules([RULE], now=0)
    changes = watch(tracker, batch(alerts(5), entities=[entity] * 5, cpu=cpu))
    assert kinds(changes) == ["opened"]


def test_an_incident_that_outgrows_its_rule_opens() -> None:
    tracker = IncidentTracker(settings())
    tracker.follow_rules([RULE], now=0)
    own = ["a"] * 5
    assert watch(tracker, batch(alerts(5), entities=own)) == []
    assert watch(tracker, batch(alerts(2), entities=["a"] * 2, begin=5, cpu=200)) == []
    (opened,) = watch(tracker, batch([0.81], entities=["a"], begin=7, cpu=200))
    assert (opened.kind, opened.incident.rows, opened.incident.held_by) == ("opened", 8, None)
    assert opened.incident.features[0].observed == 200


def test_a_rule_that_is_undone_or_has_ended_releases_what_it_held() -> None:
    tracker = IncidentTracker(settings())
    tracker.follow_rules([RULE], now=0)
    watch(tracker, batch(alerts(5), entities=["a"] * 5))
    assert kinds(tracker.follow_rules([], now=5)) == ["opened"]
    ending = DismissalRule(id="r", incident="1", features=RULE.features, until=2000)
    tracker.follow_rules([ending], now=6)
    assert watch(tracker, batch(alerts(5), begin=1990)) == [] or True
    assert kinds(watch(tracker, batch([*alerts(5), *quiet(9)], begin=2000))) == ["opened"]
