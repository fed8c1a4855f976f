"""A backtest: histories through the path of a live row, held against windows where there are some.

What it needs is in files, or in the registry; no platform runs for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from drift.incidents.backtest.history import History
from drift.incidents.backtest.judgement import EventJudgement, join_judgements, judge_incidents
from drift.incidents.backtest.labelled_windows import Windows
from drift.incidents.backtest.replay import HistoryReplay, OpenedIncident, replay_history
from drift.incidents.backtest.stretches import ModelSource
from drift.incidents.silences import Silence
from drift.settings import DriftSettings

_FIGURES = ("event_recall", "event_precision", "false_per_week", "median_delay_s")


class LabelledHistory(NamedTuple):
    """A series, and the windows in which something was wrong; None where nobody knows."""

    history: History
    windows: Windows | None


@dataclass(frozen=True)
class SeriesResult:
    """What came of one series; it is judged where it has windows."""

    replay: HistoryReplay
    windows: Windows | None
    judgement: EventJudgement | None

    def to_json(self) -> dict[str, Any]:
        """Return counts and figures; times are Unix seconds."""
        replay = self.replay
        return {
            "name": replay.name,
            "from": replay.period.first,
            "to": replay.period.last,
            "rows": replay.rows,
            "alerts": len(replay.alerts),
            "alert_rate": replay.alert_rate,
            "incidents": len(replay.incidents),
            **_figures(self.judgement),
        }

    def incidents_json(self) -> list[dict[str, Any]]:
        """Return the incidents as `GET /incidents` has them, and when each was opened."""
        return [self._incident_json(opened) for opened in self.replay.incidents]

    def _incident_json(self, opened: OpenedIncident) -> dict[str, Any]:
        values = msgspec.to_builtins(opened.incident)
        values["opened_at"] = opened.opened_at
        values["in_window"] = self._is_in_window(opened.opened_at)
        values["series"] = self.replay.name
        return values

    def _is_in_window(self, at: float) -> bool | None:
        if self.windows is None:
            return None
        return any(window.contains(at) for window in self.windows)


@dataclass(frozen=True)
class BacktestResult:
    """What came of all series; `title` says what they were run with."""

    title: str
    series: tuple[SeriesResult, ...]

    @property
    def judgement(self) -> EventJudgement | None:
        """Of the series that have windows, together; None where none has."""
        judgements = [result.judgement for result in self.series if result.judgement]
        return join_judgements(judgements) if judgements else None

    def to_json(self) -> dict[str, Any]:
        """Return what `vigil backtest --json` prints."""
        series = [result.to_json() for result in self.series]
        rows = sum(values["rows"] for values in series)
        alerts = sum(values["alerts"] for values in series)
        return {
            "title": self.title,
            "rows": rows,
            "alerts": alerts,
            "alert_rate": alerts / rows,
            "suppressed": self._suppressed(),
            "incidents": self._incidents_json(),
            **_figures(self.judgement),
            "series": series,
        }

    def _suppressed(self) -> dict[str, int]:
        totals = Counter[str]()
        for result in self.series:
            totals.update(result.replay.suppressed)
        return dict(totals)

    def _incidents_json(self) -> list[dict[str, Any]]:
        of_series = (result.incidents_json() for result in self.series)
        return list(chain.from_iterable(of_series))


def run_backtest(
    title: str,
    histories: Sequence[LabelledHistory],
    source: ModelSource,
    settings: DriftSettings,
    *,
    silences: Sequence[Silence] = (),
) -> BacktestResult:
    """Replay each series by itself, and judge it where it has windows.

    Raises DataError for a series that the models cannot learn from, or not score.
    """
    results: list[SeriesResult] = []
    for history, windows in histories:
        replay = replay_history(history, source, settings, silences)
        judgement = None if windows is None else judge_incidents(replay, windows)
        results.append(SeriesResult(replay, windows, judgement))
    return BacktestResult(title, tuple(results))


def _figures(judgement: EventJudgement | None) -> dict[str, Any]:
    if judgement is None:
        return dict.fromkeys(_FIGURES)
    return judgement.to_json()
