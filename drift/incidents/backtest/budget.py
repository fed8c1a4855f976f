"""The threshold of a model, by how many incidents a week may open in the rows it was fitted to.

A budget of rows cannot say how often people are disturbed: alerts of one series come one by one,
those of another in long runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import rank_filter

from drift.settings import DriftSettings
from train.model.threshold import Threshold, at_score
from train.table.table import Table
from vigil.arrays import Floats

MAX_ALERT_SHARE = 0.05  # of the rows, however few come in a week
_WEEK_S = 604_800.0


@dataclass(frozen=True)
class IncidentBudget:
    """At most `per_week` incidents, of `alerts` among the last `window_rows` rows of an entity."""

    per_week: float
    alerts: int
    window_rows: int
    quiet_s: float

    @classmethod
    def of_settings(cls, per_week: float, settings: DriftSettings) -> IncidentBudget:
        """Return the budget of incidents as these settings define one."""
        return cls(
            per_week,
            alerts=settings.incident_alerts,
            window_rows=settings.incident_window_rows,
            quiet_s=settings.incident_quiet_s,
        )

    def calibrate(
        self,
        scores: Floats,
        rows: Table,
        times: Floats,
    ) -> Threshold:
        """Return the lowest threshold within the budget, given the scores [n] of these rows.

        times [n] are Unix seconds. Where the rows are of less than a week, no incident opens in
        them.
        """
        strengths = self._strengths(scores, rows)
        apart_s = 2 * max(self.quiet_s, self.window_rows * _pace(rows, times))
        allowed = int(self.per_week * np.ptp(times) / _WEEK_S)
        limit = _peak_after(
            allowed,
            strengths,
            times,
            apart_s=apart_s,
        )
        least = float(np.quantile(scores, 1 - MAX_ALERT_SHARE, method="inverted_cdf"))
        return at_score(
            scores,
            max(limit, least),
            "incident_budget",
            self.per_week,
        )

    def _strengths(self, scores: Floats, rows: Table) -> Floats:
        """The threshold below which an incident opens at each row: that of the k-th alert of n."""
        strengths = np.empty_like(scores)
        for _, numbers in rows.by_entity():
            strengths[numbers] = rank_filter(
                scores[numbers],
                rank=self.window_rows - self.alerts,
                size=self.window_rows,
                mode="constant",
                cval=0.0,
                origin=(self.window_rows - 1) // 2,
            )
        return strengths


def _pace(rows: Table, times: Floats) -> float:
    """The usual time from a row of an entity to its next (s)."""
    gaps = np.concatenate(_gaps(rows, times))
    return float(np.median(gaps))


def _gaps(rows: Table, times: Floats) -> list[Floats]:
    """Times (s) from row to row, by entity."""
    return [np.diff(times[numbers]) for _, numbers in rows.by_entity()]


def _peak_after(
    peaks: int,
    strengths: Floats,
    times: Floats,
    *,
    apart_s: float,
) -> float:
    """The highest value that is left after so many peaks, with all that is near them, are gone."""
    left = strengths.copy()
    for _ in range(peaks):
        at = times[np.argmax(left)]
        left[_near(times, at, apart_s)] = 0.0
    return float(left.max())


def _near(
    times: Floats,
    at: float,
    apart_s: float,
) -> slice:
    """Rows, which are in the order of time, that are at most so far from a moment."""
    first, last = np.searchsorted(times, [at - apart_s, at + apart_s])
    return slice(int(first), int(last) + 1)
