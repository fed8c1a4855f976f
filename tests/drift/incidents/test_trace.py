"""The course of an incident: before it, in it, and in its quiet time; bounded."""

from __future__ import annotations

import json

import pytest

from drift.incidents.incident import IncidentTrace
from drift.incidents.trace import MAX_TRACE_POINTS
from drift.incidents.tracker import IncidentTracker
from tests.drift.incidents.scenes import HIGH, THRESHOLD, alerts, batch, quiet, settings, watch


def trace_of(tracker: IncidentTracker) -> IncidentTrace:
    (touched,) = tracker.touched
    return touched.evidence.trace


@pytest.mark.parametrize("entity", ["", "a"])
def test_it_has_what_came_before_and_after(entity: str) -> None:
    tracker = IncidentTracker(settings(incident_quiet_s=20))
    named = [entity] * 10 if entity else None
    others = batch(alerts(1), entities=["b"], begin=9.5)
    watch(tracker, batch(quiet(10), entities=named), others)
    watch(tracker, batch(alerts(10), entities=named, begin=10))
    stored = json.loads(json.dumps(tracker.to_json()))
    tracker = IncidentTracker.from_json(stored, settings(incident_quiet_s=20))
    watch(tracker, batch(quiet(10), entities=named, begin=20))
    tracker.tick(100.0)

    trace = trace_of(tracker)
    own = [point for point in trace.points if point.at % 1 == 0]
    assert [point.at for point in own] == [float(second) for second in range(30)]
    assert [point.score == HIGH for point in own] == [10 <= second < 20 for second in range(30)]
    assert (trace.names, trace.threshold) == (("cpu",), THRESHOLD)
    assert {point.values for point in own} == {(90.0,)}
    assert entity == "" or own == trace.points


def test_a_long_one_keeps_the_highest_of_each_step() -> None:
    tracker = IncidentTracker(settings(incident_quiet_s=20))
    for minute in range(40):
        scores = quiet(60)
        scores[:5] = alerts(5)
        scores[minute] = 0.9
        times = [minute * 60.0 + second / 4 for second in range(60)]
        watch(tracker, batch(scores, times))
        watch(tracker, batch(alerts(1), [minute * 60.0 + 30]), batch(alerts(1), [minute * 60 + 45]))

    trace = trace_of(tracker)
    assert len(trace.points) <= MAX_TRACE_POINTS
    assert trace.step_s >= 40
    assert [point.score for point in trace.points].count(0.9) >= 30
