"""A calendar of maintenance: recurring events, last known good, and what is refused."""

from __future__ import annotations

import datetime
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from drift.incidents.calendar import (
    CalendarRefused,
    MaintenanceCalendar,
    calendar_windows,
    fetch_calendar,
)

DAY_S = 86_400.0


def at(*parts: int) -> float:
    return datetime.datetime(*parts, tzinfo=datetime.UTC).timestamp()  # type: ignore[arg-type]


def calendar(*events: str) -> bytes:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:test"]
    for number, event in enumerate(events):
        lines += ["BEGIN:VEVENT", f"UID:{number}", *event.split(), "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""]).encode()


WEEKLY = calendar(
    "SUMMARY:patch DTSTART;TZID=Europe/Berlin:20260316T020000 "
    "DTEND;TZID=Europe/Berlin:20260316T040000 RRULE:FREQ=WEEKLY EXDATE;TZID=Europe/Berlin:"
    "20260323T020000"
)


def test_a_recurring_event_follows_the_clock_of_its_zone_and_its_exceptions() -> None:
    windows = calendar_windows(WEEKLY, at(2026, 3, 1), at(2026, 4, 2))
    assert [(window.since, window.until) for window in windows] == [
        (at(2026, 3, 16, 1), at(2026, 3, 16, 3)),
        (at(2026, 3, 30, 0), at(2026, 3, 30, 2)),  # summer time
    ]
    assert windows[0].reason == "patch"
    assert len({window.id for window in windows}) == 2


def test_days_times_without_a_zone_and_cancelled_events() -> None:
    content = calendar(
        "DTSTART;VALUE=DATE:20260401",
        "DTSTART:20260402T120000 DURATION:PT30M",
        "DTSTART:20260403T120000Z DURATION:PT30M STATUS:CANCELLED",
    )
    windows = calendar_windows(content, at(2026, 3, 1), at(2026, 5, 1))
    assert [(window.since, window.until) for window in windows] == [
        (at(2026, 4, 1), at(2026, 4, 2)),
        (at(2026, 4, 2, 12), at(2026, 4, 2, 12, 30)),
    ]


def test_a_window_that_has_begun_already_counts() -> None:
    windows = calendar_windows(WEEKLY, at(2026, 3, 16, 2), at(2026, 3, 17))
    assert [window.since for window in windows] == [at(2026, 3, 16, 1)]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"\xff\xfe\0",
        calendar("DTSTART:yesterday"),
        calendar("DTSTART:19700101T000000Z DURATION:PT1S RRULE:FREQ=SECONDLY"),
    ],
)
def test_what_is_no_calendar_is_refused(content: bytes) -> None:
    with pytest.raises(CalendarRefused):
        calendar_windows(content, at(2026, 3, 1), at(2026, 5, 1))


def test_the_last_known_good_stays_and_the_error_is_said() -> None:
    answers: list[bytes | OSError] = [WEEKLY, OSError("no route"), b"<html>", WEEKLY]

    def fetch(source: str) -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    followed = MaintenanceCalendar("https://calendar.example/vigil.ics", fetch)
    now = at(2026, 3, 10)
    assert followed.read(now)
    windows = followed.windows
    assert len(windows) == followed.status.windows > 1
    for sentence in ("it cannot be read: no route", "it is no iCalendar that can be read"):
        assert not followed.read(now + DAY_S)
        assert (followed.status.error or "").startswith(sentence)
        assert followed.windows == windows
        assert followed.status.read_at == now
    assert followed.read(now + 2 * DAY_S)
    assert followed.status.error is None


def test_it_is_fetched_from_a_file_or_by_http(tmp_path: Path) -> None:
    file = tmp_path / "maintenance.ics"
    file.write_bytes(WEEKLY)
    assert fetch_calendar(str(file)) == WEEKLY
    with pytest.raises(OSError, match="No such file"):
        fetch_calendar(str(tmp_path / "none.ics"))

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/vigil.ics"
            self.send_response(200 if found else 404)
            self.end_headers()
            self.wfile.write(WEEKLY)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert fetch_calendar(f"{url}/vigil.ics") == WEEKLY
        with pytest.raises(OSError, match="404"):
            fetch_calendar(f"{url}/none.ics")
        server.shutdown()


def test_a_file_that_is_too_long_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "long.ics"
    file.write_bytes(b" " * 2_000_001)
    with pytest.raises(CalendarRefused, match="more than"):
        fetch_calendar(str(file))
