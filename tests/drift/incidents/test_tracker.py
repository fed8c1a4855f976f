"""Rows that alert become incidents: when they open, who joins, when they close, what is told."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from drift.incidents.incident import FeatureDeviation
from drift.incidents.tracker import IncidentTracker, TrackerBounds
from tests.drift.incidents.scenes import (
    HIGH,
    alerts,
    batch,
    describe,
    kinds,
    quiet,
    settings,
    watch,
)


def test_three_alerts_of_the_last_ten_rows_open_an_incident_and_two_do_not() -> None:
    tracker = IncidentTracker(settings())
    assert watch(tracker, batch([*quiet(5), HIGH, *quiet(7), HIGH])) == []
    (opened,) = watch(tracker, batch([HIGH], begin=14))
    incident = opened.incident
    assert (opened.kind, opened.at) == ("opened", 14)
    assert (incident.rows, incident.state, incident.kind) == (3, "open", "rows")


def test_alerts_that_are_further_apart_than_the_window_open_nothing() -> None:
    tracker = IncidentTracker(settings())
    assert watch(tracker, batch([HIGH, *quiet(9)] * 50)) == []


def test_an_incident_has_onset_end_peak_rows_and_features() -> None:
    tracker = IncidentTracker(settings())
    rows = batch([*quiet(5), 0.7, 0.9, 0.8, *quiet(5)])
    (opened,) = watch(tracker, rows)
    (closed,) = tracker.tick(math.inf)
    assert opened.incident.id == closed.incident.id == "0000000005000-000001"
    incident = closed.incident
    assert (incident.onset, incident.last_seen, incident.end) == (5, 7, 7)
    assert (incident.rows, incident.peak_score, incident.model_version) == (3, 0.9, "1")
    assert incident.features == (FeatureDeviation("cpu", 90.0, 50.0, "up"),)
    assert incident.grade == pytest.approx(math.sqrt(0.3 / 0.4), abs=1e-4)


def test_it_closes_after_the_quiet_time_by_the_times_of_rows() -> None:
    tracker = IncidentTracker(settings(incident_quiet_s=60))
    assert kinds(watch(tracker, batch([*alerts(3), *quiet(60)]))) == ["opened"]
    assert kinds(watch(tracker, batch(quiet(1), begin=63))) == ["closed"]


def test_it_closes_by_the_clock_where_no_rows_come() -> None:
    tracker = IncidentTracker(settings())
    watch(tracker, batch(alerts(3), begin=1000))
    assert tracker.tick(1302) == []
    assert kinds(tracker.tick(1303)) == ["closed"]
    assert tracker.tick(1e9) == []


def test_rows_that_come_seldom_have_a_longer_quiet_time() -> None:
    tracker = IncidentTracker(settings())
    five_minutes = np.arange(30) * 300.0
    scores = [*alerts(3), *quiet(4), *alerts(2), *quiet(21)]
    changes = watch(tracker, batch(scores, list(five_minutes)))
    assert kinds(changes) == ["opened", "closed"]
    assert changes[1].incident.rows == 5


def test_an_outage_of_many_entities_is_one_incident() -> None:
    tracker = IncidentTracker(settings())
    entities = [f"server-{i % 50}" for i in range(10_000)]
    times = [i / 100 for i in range(10_000)]
    changes = []
    for begin in range(0, 10_000, 777):
        part = slice(begin, begin + 777)
        changes += watch(tracker, batch(alerts(10_000)[part], times[part], entities[part]))
    changes += tracker.tick(1e6)
    assert kinds(changes) == ["opened", "closed"]
    incident = changes[-1].incident
    assert (incident.rows, incident.entity_count, len(incident.entities)) == (10_000, 50, 20)
    assert incident.title == "cpu up on server-0 and 49 more"


def test_an_outage_of_entities_that_send_seldom_shows_before_one_has_sent_enough() -> None:
    tracker = IncidentTracker(settings())
    meters = [f"meter-{number}" for number in range(1000)]
    changes = watch(tracker, batch(alerts(1000), entities=meters))
    assert kinds(changes) == ["opened"]
    assert (changes[0].at, changes[0].incident.entity_count) == (4, 5)
    (incident,) = tracker.open_incidents()
    assert incident.rows == incident.entity_count == 1000


def test_single_alerts_of_many_entities_are_no_outage() -> None:
    tracker = IncidentTracker(settings())
    meters = [f"meter-{number}" for number in range(1000)]
    assert watch(tracker, batch([HIGH, *quiet(1), HIGH, *quiet(2)] * 200, entities=meters)) == []


def test_an_entity_that_begins_long_after_the_others_has_an_incident_of_its_own() -> None:
    tracker = IncidentTracker(settings())
    long = alerts(1000)
    watch(tracker, batch(long, entities=["a"] * 1000))
    assert kinds(watch(tracker, batch(alerts(3), entities=["b"] * 3, begin=1000))) == ["opened"]
    assert len(tracker.open_incidents()) == 2


def test_an_update_is_told_only_when_the_grade_rises_by_a_step() -> None:
    tracker = IncidentTracker(settings())
    rising = [*[0.61] * 3, 0.62, 0.62, 0.7, 0.7, 0.8]
    changes = watch(tracker, batch(rising))
    assert kinds(changes) == ["opened", "updated", "updated"]
    assert [round(change.incident.grade, 2) for change in changes] == [0.16, 0.5, 0.71]


def test_a_late_row_of_a_closed_incident_counts_and_opens_nothing() -> None:
    tracker = IncidentTracker(settings(incident_quiet_s=60))
    watch(tracker, batch(alerts(20), begin=100), batch(quiet(3), begin=200))
    assert watch(tracker, batch(alerts(5), [105.5, 103.2, 99, 110.1, 111.3])) == []
    (touched,) = tracker.touched
    assert (touched.incident.rows, touched.incident.state) == (25, "closed")
    assert touched.incident.onset == 99


def test_a_report_that_is_sent_again_with_newer_rows_counts_once() -> None:
    first = batch([HIGH, *quiet(4), HIGH], requests=["r"] * 6)
    longer = batch([HIGH, *quiet(4), HIGH, *quiet(2), HIGH], requests=["r"] * 9)
    tracker = IncidentTracker(settings())
    (opened,) = watch(tracker, first, first, longer)
    assert (opened.kind, opened.incident.rows) == ("opened", 3)
    assert tracker.suppressed["double"] == 12


def test_a_shorter_incident_than_asked_for_is_told_to_nobody() -> None:
    tracker = IncidentTracker(settings(incident_min_length_s=10))
    assert watch(tracker, batch(alerts(8)), batch(quiet(1), begin=400)) == []
    assert kinds(watch(tracker, batch(alerts(12), begin=1000))) == ["opened"]
    assert tracker.suppressed["length"] == 8


def test_what_is_remembered_is_bounded() -> None:
    bounds = TrackerBounds(streams=20, open=5, closed=3)
    tracker = IncidentTracker(settings(incident_quiet_s=1), bounds)
    for i in range(100):
        rows = batch(alerts(3), entities=[f"e{i}"] * 3, begin=10.0 * i)
        tracker.observe(rows, describe)
        rows = batch(alerts(1), entities=[f"lone{i}"], begin=10.0 * i)
        tracker.observe(rows, describe)
        assert len(tracker.open_incidents()) <= 5
    stored = tracker.to_json()
    assert len(stored["streams"]) <= 20
    assert len(stored["incidents"]["closed"]) <= 3


def test_the_state_goes_through_json() -> None:
    tracker = IncidentTracker(settings())
    watch(tracker, batch([*alerts(3), *quiet(2), HIGH], entities=list("aaabbb")))
    stored = json.loads(json.dumps(tracker.to_json()))
    assert IncidentTracker.from_json(stored, settings()).to_json() == tracker.to_json()
    stored["format"] = 99
    with pytest.raises(ValueError, match="newer Vigil"):
        IncidentTracker.from_json(stored, settings())
