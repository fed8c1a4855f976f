"""The tracker under late, doubled and missing rows, and a restart after every step."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from drift.incidents.incident import Incident, IncidentChange, ScoredRows
from drift.incidents.tracker import IncidentTracker, TrackerBounds
from tests.drift.incidents.scenes import HIGH, batch, describe, settings
from vigil.arrays import Floats

ENTITIES = ("", "a", "b", "x" * 300, "'; DROP TABLE incidents; --", "\ud800\0")
SETTINGS = settings(incident_quiet_s=20, incident_window_rows=6)


@dataclass(frozen=True)
class Part:
    """Rows a second apart after a pause, some of which come late by so many seconds."""

    pause_s: int
    scores: list[float]
    entities: list[str]
    late_s: int
    is_doubled: bool


@st.composite
def parts(draw: st.DrawFn, *, in_order: bool = False) -> Part:
    scores = draw(st.lists(st.sampled_from([0.3, 0.3, 0.61, HIGH, 0.99, math.nan]), max_size=12))
    entities = [draw(st.sampled_from(ENTITIES)) for _ in scores]
    return Part(
        pause_s=draw(st.sampled_from([0, 0, 1, 10, 25, 1000])),
        scores=scores,
        entities=entities,
        late_s=0 if in_order else draw(st.sampled_from([0, 0, 5, 100])),
        is_doubled=draw(st.booleans()),
    )


def rows_of(history: list[Part]) -> list[ScoredRows]:
    now = 1000.0
    found = []
    for part in history:
        now += part.pause_s
        times = now + np.arange(len(part.scores)) - part.late_s
        found.append(batch(part.scores, times.tolist(), part.entities, begin=now))
        now += len(part.scores)
    return found


def restarted(tracker: IncidentTracker) -> IncidentTracker:
    stored = json.loads(json.dumps(tracker.to_json()))
    return IncidentTracker.from_json(stored, SETTINGS)


def check_order(changes: list[IncidentChange]) -> None:
    """Each incident opens once, becomes graver, and closes once."""
    by_incident: dict[str, list[IncidentChange]] = defaultdict(list)
    for change in changes:
        by_incident[change.incident.id].append(change)
    for own in by_incident.values():
        kinds = [change.kind for change in own]
        assert kinds == ["opened", *["updated"] * (len(own) - 2), "closed"]
        grades = [change.incident.grade for change in own]
        assert grades == sorted(grades)
        assert 0 <= grades[0] <= grades[-1] <= 1
        last = own[-1].incident
        assert last.onset <= last.last_seen == last.end
        assert last.rows >= SETTINGS.incident_alerts
        assert all(len(name) <= 200 for name in last.entities)


@hypothesis_settings(max_examples=60, deadline=None)
@given(history=st.lists(parts(), max_size=12))
def test_doubles_and_restarts_change_nothing_and_every_incident_has_one_life(
    history: list[Part],
) -> None:
    plain = IncidentTracker(SETTINGS)
    tried = IncidentTracker(SETTINGS)
    changes: list[IncidentChange] = []
    others: list[IncidentChange] = []
    for part, rows in zip(history, rows_of(history), strict=True):
        changes += plain.observe(rows, describe)
        others += tried.observe(rows, describe)
        tried = restarted(tried)
        if part.is_doubled:
            others += tried.observe(rows, describe)
            tried = restarted(tried)
    changes += plain.tick(math.inf)
    others += tried.tick(math.inf)
    assert others == changes
    check_order(changes)
    alerts = sum(score > 0.6 for part in history for score in part.scores)
    ended = [change.incident.rows for change in changes if change.kind == "closed"]
    assert sum(ended) <= alerts
    assert plain.open_incidents() == []


def closed_by(tracker: IncidentTracker, batches: list[ScoredRows]) -> dict[str, Incident]:
    changes = [change for rows in batches for change in tracker.observe(rows, describe)]
    changes += tracker.tick(math.inf)
    return {change.incident.id: change.incident for change in changes if change.kind == "closed"}


@hypothesis_settings(max_examples=60, deadline=None)
@given(history=st.lists(parts(in_order=True), max_size=10), size=st.integers(1, 9))
def test_incidents_do_not_depend_on_how_rows_are_batched(history: list[Part], size: int) -> None:
    scores = [score for part in history for score in part.scores]
    entities = [entity for part in history for entity in part.entities]
    times = [at for rows in rows_of(history) for at in rows.times.tolist()]
    whole = [batch(scores, times, entities)]
    starts = range(0, len(scores), size)
    pieces = [slice(start, start + size) for start in starts]
    parted = [batch(scores[piece], times[piece], entities[piece]) for piece in pieces]
    assert closed_by(IncidentTracker(SETTINGS), whole) == closed_by(
        IncidentTracker(SETTINGS), parted
    )


@hypothesis_settings(max_examples=30, deadline=None)
@given(history=st.lists(parts(), max_size=12))
def test_what_is_remembered_stays_within_its_bounds(history: list[Part]) -> None:
    bounds = TrackerBounds(streams=2, open=1, closed=1)
    tracker = IncidentTracker(SETTINGS, bounds)
    changes: list[IncidentChange] = []
    for rows in rows_of(history):
        changes += tracker.observe(rows, describe)
        stored = tracker.to_json()
        assert len(stored["streams"]) <= 2
        assert len(stored["incidents"]["open"]) <= 1
        assert len(stored["incidents"]["closed"]) <= 1
    check_order(changes + tracker.tick(math.inf))


def test_a_thousand_incidents_at_once_are_a_thousand() -> None:
    tracker = IncidentTracker(settings(incident_quiet_s=20))
    times = np.repeat(np.arange(1000) * 25.0, 3)
    entities = [f"e{i // 3}" for i in range(3000)]
    opened = tracker.observe(batch([HIGH] * 3000, times.tolist(), entities), describe)
    ids = [change.incident.id for change in opened if change.kind == "opened"]
    assert len(ids) == len(set(ids)) == 1000
    assert ids == sorted(ids)


def test_values_that_are_no_numbers_are_described_by_others() -> None:
    def nothing(rows: Floats) -> list[tuple[()]]:
        return [()] * len(rows)

    tracker = IncidentTracker(settings())
    rows = batch([math.inf, 0.9, math.nan, 0.9], cpu=math.nan)
    (opened,) = tracker.observe(rows, nothing)
    assert (opened.incident.features, opened.incident.grade) == ((), 1.0)
    json.dumps(tracker.to_json(), allow_nan=False)
