"""Incidents held against labelled windows: event recall and precision, delay, false ones a week.

A window is found when an incident opens in it, and an incident is true when it opens in a window.
One that was open before finds nothing: people had been told of something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from drift.incidents.backtest.history import TimeRange
from drift.incidents.backtest.labelled_windows import Windows
from drift.incidents.backtest.replay import HistoryReplay
from vigil.arrays import Floats

_WEEK_S = 604_800.0


@dataclass(frozen=True)
class JudgedWindow:
    """A labelled window, and after how many seconds an incident opened in it; None: never."""

    window: TimeRange
    delay_s: float | None


@dataclass(frozen=True)
class EventJudgement:
    """How well incidents match the windows of one or more series."""

    windows: tuple[JudgedWindow, ...]
    incidents: int
    false_incidents: int
    weeks: float

    @property
    def delays(self) -> list[float]:
        """Seconds from the begin of each window that was found to its incident."""
        return [window.delay_s for window in self.windows if window.delay_s is not None]

    @property
    def windows_found(self) -> int:
        return len(self.delays)

    @property
    def found_of_all(self) -> str:
        """How many of the windows were found, in words."""
        return f"{self.windows_found} of {len(self.windows)}"

    @property
    def event_recall(self) -> float | None:
        """Share of the windows that were found; None without windows."""
        return _ratio(self.windows_found, len(self.windows))

    @property
    def event_precision(self) -> float | None:
        """Share of the incidents that are true; None without incidents."""
        return _ratio(self.incidents - self.false_incidents, self.incidents)

    @property
    def false_per_week(self) -> float | None:
        """False incidents a series and week."""
        return _ratio(self.false_incidents, self.weeks)

    @property
    def median_delay_s(self) -> float | None:
        return float(np.median(self.delays)) if self.delays else None

    def to_json(self) -> dict[str, Any]:
        return {
            "event_recall": self.event_recall,
            "event_precision": self.event_precision,
            "false_per_week": self.false_per_week,
            "median_delay_s": self.median_delay_s,
            "false_incidents": self.false_incidents,
            "weeks": self.weeks,
            "windows": len(self.windows),
            "windows_found": self.windows_found,
        }


def judge_incidents(replay: HistoryReplay, windows: Windows) -> EventJudgement:
    """Hold the incidents of a replay against the windows that reach into its period."""
    opened = [incident.opened_at for incident in replay.incidents]
    return judge_moments(np.array(opened), windows, replay.period)


def judge_moments(
    moments: Floats,
    windows: Windows,
    period: TimeRange,
) -> EventJudgement:
    """Hold the moments [n] at which people are told something against windows."""
    judged = [window for window in windows if window.overlaps(period)]
    in_windows = sum((window.mask(moments) for window in judged), np.zeros(len(moments)))
    return EventJudgement(
        windows=tuple(_judge_window(window, moments) for window in judged),
        incidents=len(moments),
        false_incidents=int((in_windows == 0).sum()),
        weeks=(period.last - period.first) / _WEEK_S,
    )


def _judge_window(window: TimeRange, moments: Floats) -> JudgedWindow:
    inside = moments[window.mask(moments)]
    return JudgedWindow(window, _delay_s(window, inside))


def _delay_s(window: TimeRange, inside: Floats) -> float | None:
    """Time to the first of the moments inside a window; None without any."""
    return float(inside.min() - window.first) if len(inside) else None


def join_judgements(judgements: Sequence[EventJudgement]) -> EventJudgement:
    """Return the judgement of all series together."""
    windows: list[JudgedWindow] = []
    for judgement in judgements:
        windows += judgement.windows
    return EventJudgement(
        windows=tuple(windows),
        incidents=sum(judgement.incidents for judgement in judgements),
        false_incidents=sum(judgement.false_incidents for judgement in judgements),
        weeks=sum(judgement.weeks for judgement in judgements),
    )


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
