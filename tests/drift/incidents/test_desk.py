"""The incident desk: what it keeps, and what becomes of it when it dies or its database is away."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from drift.incidents.desk import IncidentDesk
from drift.incidents.incident import FeatureDeviation, ScoredRows
from drift.incidents.windows import DriftEpisode
from drift.settings import DriftSettings
from serve.metrics import DriftMetrics
from vigil.arrays import Floats

NAMES = ("cpu", "net")
DEVIATION = FeatureDeviation("cpu", 9.0, 1.0, "up")
AT = 1_795_946_400.0


def describe(rows: Floats) -> list[tuple[FeatureDeviation, ...]]:
    return [(DEVIATION,) for _ in rows]


def alerting(count: int, at: float = AT, entity: str = "host-1") -> ScoredRows:
    """So many rows that alert, a second apart."""
    return ScoredRows(
        version="1",
        threshold=0.6,
        names=NAMES,
        rows=np.full((count, 2), 9.0),
        scores=np.full(count, 0.8),
        times=at + np.arange(count, dtype=float),
        arrived=at + count,
        entities=[entity] * count,
        requests=[f"r{at}"] * count,
    )


class Desk(IncidentDesk):
    """A desk over a folder, which leads."""

    def __init__(self, folder: Path) -> None:
        self.now = AT
        super().__init__(DriftSettings(home=folder), folder, DriftMetrics(), lambda: self.now)
        self.follow_lease(True)

    def take(self, rows: ScoredRows) -> None:
        self.observe(rows, describe)
        self.save()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_rows_that_alert_become_one_incident_that_is_listed(desk: Desk) -> None:
    desk.take(alerting(50))
    page = desk.store.page()
    (incident,) = page.incidents
    assert (incident.state, incident.rows, incident.entities) == ("open", 50, ("host-1",))
    assert incident.features == (DEVIATION,)
    assert desk.store.incident(incident.id) == incident


def test_who_takes_over_goes_on_with_what_is_open(desk: Desk, tmp_path: Path) -> None:
    desk.take(alerting(5))
    other = Desk(tmp_path)
    other.take(alerting(5, AT + 10))
    (incident,) = other.store.page().incidents
    assert incident.rows == 10
    # The former writes nothing any more, and does not know what the other has done.
    desk.take(alerting(5, AT + 5000, "host-2"))
    assert len(other.store.page().incidents) == 1


def test_a_quiet_incident_is_closed_by_time_alone(desk: Desk) -> None:
    desk.take(alerting(5))
    desk.tick(AT + 10_000)
    assert [incident.state for incident in desk.store.page().incidents] == ["closed"]


def test_an_episode_of_drift_is_one_incident(desk: Desk) -> None:
    desk.begin_episode(DriftEpisode(id="e1", since=AT, severity=3.0, version="1"), AT + 60)
    desk.take(alerting(50, AT + 61))
    (incident,) = desk.store.page().incidents
    assert (incident.kind, incident.episode) == ("drift", "e1")
    desk.keep_episode("e1", AT + 100)
    desk.save()
    assert desk.store.page(state="open").incidents
    desk.keep_episode(None, AT + 200)
    desk.save()
    assert not desk.store.page(state="open").incidents


def test_what_a_database_refuses_is_stored_later(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    desk.take(alerting(5))
    with sqlite3.connect(tmp_path / "incidents.db") as database:
        database.execute("ALTER TABLE incidents RENAME TO away")
        desk.take(alerting(5, AT + 10))
        assert "incidents wait for their database" in caplog.text
        database.execute("ALTER TABLE away RENAME TO incidents")
    desk.tick(AT + 20)
    (incident,) = desk.store.page().incidents
    assert incident.rows == 10


def test_a_take_over_that_fails_half_way_is_tried_again_as_a_whole(tmp_path: Path) -> None:
    Desk(tmp_path).take(alerting(5))
    with sqlite3.connect(tmp_path / "incidents.db") as database:
        # The last that it reads: whoever is to be told must not be forgotten for it.
        database.execute("ALTER TABLE incidents RENAME TO away")
        settings = DriftSettings.from_values(
            home=str(tmp_path), notify="cloudevents+http://127.0.0.1:9/"
        )
        desk = IncidentDesk(settings, tmp_path, DriftMetrics(), lambda: AT)
        desk.follow_lease(True)
        database.execute("ALTER TABLE away RENAME TO incidents")
    desk.follow_lease(True)
    assert desk.board.open == 1
    assert [channel.channel for channel in desk.channels()] == ["cloudevents-1"]
    desk.close()


def test_who_takes_over_follows_the_calendar_that_it_has_read_meanwhile(tmp_path: Path) -> None:
    calendar = tmp_path / "maintenance.ics"
    calendar.write_text(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\n"
        f"DTSTART:{datetime.fromtimestamp(AT - 60, UTC):%Y%m%dT%H%M%SZ}\r\n"
        f"DTEND:{datetime.fromtimestamp(AT + 60, UTC):%Y%m%dT%H%M%SZ}\r\n"
        "SUMMARY:new disks\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    settings = DriftSettings(home=tmp_path, maintenance_calendar=str(calendar))
    desk = IncidentDesk(settings, tmp_path, DriftMetrics(), lambda: AT)
    desk.read_calendar(AT)
    desk.follow_lease(True)
    assert desk.silenced(alerting(3)).all()
    desk.close()
