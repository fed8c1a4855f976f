"""Maintenance in the time of a history: the calendar of the settings, as silences."""

from __future__ import annotations

from collections.abc import Sequence

from drift.incidents.backtest.history import History
from drift.incidents.calendar import calendar_windows, fetch_calendar
from drift.incidents.silences import Silence
from vigil.errors import DataError


def maintenance_of(source: str, histories: Sequence[History]) -> tuple[Silence, ...]:
    """Return the events of the calendar at `source` in the time of the histories; "" has none.

    Raises DataError when it cannot be read, CalendarRefused when it is none.
    """
    if not source:
        return ()
    periods = [history.period for history in histories]
    first = min(period.first for period in periods)
    last = max(period.last for period in periods)
    return calendar_windows(_fetch(source), first, last)


def _fetch(source: str) -> bytes:
    try:
        return fetch_calendar(source)
    except OSError as error:
        raise DataError(f"the calendar {source} cannot be read: {error}") from error
