"""A calendar of maintenance: events of an iCalendar file or URL (RFC 5545) are silences.

What was read last stays where the calendar cannot be reached, or does not parse.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from itertools import islice, takewhile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import icalendar
import msgspec
import recurring_ical_events
from httpx import Response

from drift.incidents.names import bounded_name
from drift.incidents.silences import MAX_REASON, Silence
from vigil import http
from vigil.errors import VigilError
from vigil.timestamps import unix_seconds_of

MAX_CALENDAR_BYTES = 2_000_000
MAX_WINDOWS = 1000
FETCH_TIMEOUT_S = 10.0
PAST_S = 2 * 86_400.0
AHEAD_S = 35 * 86_400.0
CALENDAR = "calendar"
_TOO_OFTEN = {"SECONDLY", "MINUTELY"}

Fetch = Callable[[str], bytes]
_Moment = datetime.date | datetime.datetime


class CalendarRefused(VigilError):
    """What was read is no calendar of maintenance."""

    status = 422


class CalendarStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What people see of the calendar.

    read_at: when it could be read last (Unix seconds); error: why it cannot be now
    """

    source: str = ""
    read_at: float | None = None
    windows: int = 0
    error: str | None = None


class MaintenanceCalendar:
    """Follows the calendar of the settings; `read` may take seconds, and is for a thread.

    fetch: gives the content of a file or URL
    """

    def __init__(self, source: str, fetch: Fetch | None = None) -> None:
        self.status = CalendarStatus(source=source)
        self.windows: tuple[Silence, ...] = ()
        self._fetch = fetch or fetch_calendar

    def read(self, now: float) -> bool:
        """Read the calendar; return whether it could be read: else the windows are as before."""
        source = self.status.source
        try:
            content = self._fetch(source)
            self.windows = calendar_windows(content, now - PAST_S, now + AHEAD_S)
        except (OSError, CalendarRefused) as error:
            self._note(error=_sentence(error))
            return False
        count = len(self.windows)
        self._note(
            error=None,
            read_at=now,
            windows=count,
        )
        return True

    def _note(self, **changes: Any) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)


def _sentence(error: Exception) -> str:
    if isinstance(error, CalendarRefused):
        return error.message
    return f"it cannot be read: {error}"


def fetch_calendar(source: str) -> bytes:
    """Return the content of an iCalendar file or http(s) URL. Raises OSError or CalendarRefused."""
    content = _content(source)
    if len(content) > MAX_CALENDAR_BYTES:
        raise CalendarRefused(f"it has more than {MAX_CALENDAR_BYTES} bytes")
    return content


def _content(source: str) -> bytes:
    if urlsplit(source).scheme in ("http", "https"):
        return _download(source)
    return _read_file(Path(source).expanduser())


def _download(url: str) -> bytes:
    with http.open_response(
        "GET",
        url,
        timeout_s=FETCH_TIMEOUT_S,
        follow_redirects=True,
    ) as response:
        http.check_status(response)
        return _first_bytes(response)


def _first_bytes(response: Response) -> bytes:
    """The body, as far as it is read to see that it is too long."""
    body = b""
    for part in response.iter_bytes():
        body += part
        if len(body) > MAX_CALENDAR_BYTES:
            break
    return body


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_CALENDAR_BYTES + 1)


def calendar_windows(
    content: bytes,
    since: float,
    until: float,
) -> tuple[Silence, ...]:
    """Return the events between these times (Unix seconds) as silences, recurring ones each time.

    A time without a zone is UTC; a day lasts from midnight to midnight; what is cancelled is none.
    Raises CalendarRefused when it is no iCalendar, or has an event that recurs every minute.
    """
    try:
        calendar = icalendar.Calendar.from_ical(content)
        _check_rules(calendar)
        windows = islice(_events(calendar, since, until), MAX_WINDOWS)
        return tuple(windows)
    except CalendarRefused:
        raise
    except Exception as error:  # the libraries raise whatever a property makes them
        raise CalendarRefused(f"it is no iCalendar that can be read: {error}") from error


def _check_rules(calendar: Any) -> None:
    for event in calendar.walk("VEVENT"):
        rule = event.get("RRULE") or {}
        often = _TOO_OFTEN.intersection(rule.get("FREQ", ()))
        if often:
            raise CalendarRefused(f"the event {_title(event)!r} recurs {often.pop().lower()}")


def _events(
    calendar: Any,
    since: float,
    until: float,
) -> Iterator[Silence]:
    """Events in the order of their begin."""
    first = datetime.datetime.fromtimestamp(since, datetime.UTC)
    recurring = recurring_ical_events.of(calendar)
    following = map(_window, recurring.after(first))
    before = takewhile(lambda window: window.since < until, following)
    return (window for window in before if window.until > window.since)


def _window(event: Any) -> Silence:
    """An event as a silence; one that is cancelled has no length."""
    since = _seconds(event.start)
    until = _seconds(event.end)
    if str(event.get("STATUS", "")).upper() == "CANCELLED":
        until = since
    uid = bounded_name(str(event.get("UID", "")))
    return Silence(
        id=f"{CALENDAR}:{uid}:{since:.0f}",
        since=since,
        until=until,
        reason=_title(event),
        by=CALENDAR,
    )


def _title(event: Any) -> str:
    title = str(event.get("SUMMARY", ""))
    return bounded_name(title)[:MAX_REASON]


def _seconds(moment: _Moment) -> float:
    """A date or time as Unix seconds."""
    if not isinstance(moment, datetime.datetime):
        midnight = datetime.time()
        moment = datetime.datetime.combine(moment, midnight)
    return unix_seconds_of(moment)
