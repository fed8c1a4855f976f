"""A run of windows whose data are broken is one incident, of its own kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from drift.incidents.incident import IncidentChange
from drift.incidents.tracker import IncidentTracker
from drift.incidents.windows import BrokenFeature, BrokenWindow
from drift.watch import Watch
from serve.model.report import ReplicaReport
from tests.drift.incidents.scenes import alerts, batch, kinds, settings
from tests.drift.incidents.scenes import watch as observe
from vigil.arrays import Floats

NOW = 1_795_946_400.0
Make = Callable[..., Watch]
Report = Callable[..., ReplicaReport]
Live = Callable[..., Floats]


def broken_window(since: float, *features: str) -> BrokenWindow:
    return BrokenWindow(
        id="b1",
        since=since,
        severity=1.0,
        version="1",
        broken=tuple(BrokenFeature(feature, "stuck") for feature in features),
    )


def restarted(tracker: IncidentTracker) -> IncidentTracker:
    return IncidentTracker.from_json(tracker.to_json(), settings())


def test_each_run_of_broken_windows_is_one_incident() -> None:
    tracker = IncidentTracker(settings())
    told: list[IncidentChange] = []
    for run in (0, 1000):
        for window in range(30):
            since = float(run + 10 * window)
            told += tracker.see_window(broken_window(since, "disk"), since + 10)
            tracker = restarted(tracker)
        told += tracker.see_window(None, run + 310.0)
        told += tracker.see_window(None, run + 320.0)

    assert kinds(told) == ["opened", "closed", "opened", "closed"]
    first = told[1].incident
    assert (first.kind, first.onset, first.end) == ("data break", 0.0, 310.0)
    assert first.title == "the data are broken in disk (stuck)"
    assert first.windows == tuple(float(10 * window) for window in range(10, 30))
    assert told[2].incident.id != first.id


def test_rows_that_a_broken_feature_leads_are_a_part_of_it_and_others_are_not() -> None:
    tracker = IncidentTracker(settings(incident_quiet_s=60))
    tracker.see_window(broken_window(0.0, "disk"), 10.0)
    (opened,) = observe(tracker, batch(alerts(5), begin=20.0))
    assert (opened.kind, opened.incident.kind) == ("opened", "rows")

    tracker.see_window(broken_window(10.0, "disk", "cpu"), 30.0)
    told = observe(tracker, batch(alerts(5), begin=500.0, entities=["a"] * 5))
    assert "opened" not in kinds(told)
    (data_break,) = [one for one in tracker.open_incidents() if one.kind == "data break"]
    assert (data_break.rows, data_break.entities) == (5, ("a",))


def test_what_opened_for_a_feature_before_its_window_was_judged_is_linked() -> None:
    tracker = IncidentTracker(settings())
    observe(tracker, batch(alerts(5), begin=5.0))
    tracker.see_window(broken_window(0.0, "cpu"), 20.0)
    assert [one.episode for one in tracker.open_incidents()] == ["b1", "b1"]


def test_a_stuck_column_is_told_once_and_ends_with_a_whole_window(
    watch: Make, report: Report, live: Live
) -> None:
    seen = watch()
    sound = live(100)
    stuck = np.array(sound)
    stuck[:, 0] = 10.0
    for window, rows in enumerate([sound, stuck, stuck, stuck, sound, sound]):
        rows = rows + 1e-6 * window  # another window, not the same one again
        seen.ingest(report(rows), NOW + 60 * window)
        seen = watch() if window == 2 else seen  # another monitor takes over

    (incident,) = seen.desk.store.page().incidents
    assert (incident.kind, incident.state) == ("data break", "closed")
    assert "a (stuck)" in incident.title
    assert (incident.end, len(incident.windows)) == (NOW + 240, 3)
