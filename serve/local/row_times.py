"""Times of rows that are sent again and again, for a model that knows hours."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from serve.model.row_format import RowFormat
from train.table.table import Table
from train.table.unix_times import LEAST_DATE_S, unix_seconds
from vigil.arrays import Floats
from vigil.service import Service, Unanswered

WEEK_S = 7 * 24 * 3600.0


@dataclass(frozen=True)
class RowTimes:
    """When the rows of a table are of that follow each other again and again (Unix seconds).

    They are those of the table [n]; each pass is later, and all are earlier than they were, by
    whole weeks: an hour stays the hour of the week that it is.
    """

    seconds: Floats
    pass_s: float
    earlier_s: float

    @classmethod
    def of(
        cls,
        table: Table,
        rows: int,
        now: float,
    ) -> RowTimes | None:
        """Return those of the first `rows` rows that are sent, of which none is after `now`.

        None where the table has no times, or its times are no dates.
        """
        if table.times is None:
            return None
        seconds = unix_seconds(table.times)
        if seconds.min() < LEAST_DATE_S:
            return None
        span = float(seconds.max() - seconds.min())
        pass_s = WEEK_S * (math.floor(span / WEEK_S) + 1)
        latest = float(seconds.max()) + pass_s * ((rows - 1) // len(seconds))
        weeks_ahead = math.ceil((latest - now) / WEEK_S)
        return cls(seconds, pass_s, earlier_s=WEEK_S * max(weeks_ahead, 0))

    def at(self, i: int) -> float:
        """Return when row `i` is of that is sent."""
        number, row = divmod(i, len(self.seconds))
        return float(self.seconds[row]) + number * self.pass_s - self.earlier_s


def times_for(
    service: Service,
    table: Table,
    rows: int,
) -> RowTimes | None:
    """Return the times to send with rows, None where the model that is served needs none."""
    try:
        row_format = RowFormat.from_wire(service.get("/readyz"))
    except Unanswered:
        return None
    return RowTimes.of(table, rows, time.time()) if row_format.needs_time else None
