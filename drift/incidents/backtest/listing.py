"""Rows of the tables in which `vigil backtest` shows its results to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from drift.incidents.backtest.backtest import BacktestResult, SeriesResult
from drift.incidents.backtest.judgement import EventJudgement

INCIDENT_COLUMNS = ("series", "onset", "end", "rows", "grade", "peak", "what", "in a window")
SERIES_COLUMNS = ("series", "rows", "alerts", "incidents", "false", "windows found", "false a week")
_UNKNOWN = "-"
_YES_OR_NO = {
    None: _UNKNOWN,
    True: "yes",
    False: "no",
}
_MAX_NAMED = 2
_Row = tuple[str, ...]


def figure_rows(results: Sequence[BacktestResult]) -> list[_Row]:
    """Return each figure, of all results side by side."""
    columns = [_figures(result.to_json()) for result in results]
    return [(name, *(column[name] for column in columns)) for name in columns[0]]


def _figures(result: Mapping[str, Any]) -> dict[str, str]:
    return {
        "rows": _count(result["rows"]),
        "rows that alert": _count(result["alerts"]),
        "incidents": _count(len(result["incidents"])),
        "event recall": _share(result["event_recall"]),
        "event precision": _share(result["event_precision"]),
        "false incidents a week": _share(result["false_per_week"]),
        "median delay": _minutes(result["median_delay_s"]),
    }


def series_row(series: SeriesResult) -> _Row:
    """Return the figures of one series, in the order of `SERIES_COLUMNS`."""
    replay = series.replay
    return (
        replay.name,
        _count(replay.rows),
        _count(len(replay.alerts)),
        _count(len(replay.incidents)),
        *_judgement_cells(series.judgement),
    )


def _judgement_cells(judgement: EventJudgement | None) -> _Row:
    if judgement is None:
        return (_UNKNOWN, _UNKNOWN, _UNKNOWN)
    return (
        _count(judgement.false_incidents),
        judgement.found_of_all,
        _share(judgement.false_per_week),
    )


def incident_rows(series: SeriesResult) -> list[_Row]:
    """Return the incidents of a series, in the order of `INCIDENT_COLUMNS`."""
    return [_incident_row(values) for values in series.incidents_json()]


def _incident_row(incident: Mapping[str, Any]) -> _Row:
    return (
        incident["series"],
        _moment(incident["onset"]),
        _moment(incident["last_seen"]),
        _count(incident["rows"]),
        _share(incident["grade"]),
        _share(incident["peak_score"]),
        _what(incident),
        _YES_OR_NO[incident["in_window"]],
    )


def _what(incident: Mapping[str, Any]) -> str:
    """The first entities, and the first features."""
    features = ", ".join(map(_deviation, incident["features"][:_MAX_NAMED]))
    entities = ", ".join(incident["entities"][:_MAX_NAMED])
    return f"{entities}: {features}" if entities else features


def _deviation(feature: Mapping[str, Any]) -> str:
    name = feature["feature"]
    observed = feature["observed"]
    expected = feature["expected"]
    return f"{name} {observed:.4g} (expected {expected:.4g})"


def _count(value: int) -> str:
    return f"{value:,}"


def _share(value: float | None) -> str:
    return _UNKNOWN if value is None else f"{value:.2f}"


def _minutes(seconds: float | None) -> str:
    return _UNKNOWN if seconds is None else f"{seconds / 60:.0f} min"


def _moment(at: float) -> str:
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime("%Y-%m-%d %H:%M")
