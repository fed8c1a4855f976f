"""A picture of a backtest: scores, thresholds, incidents and labelled windows over time."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from drift.incidents.backtest.backtest import BacktestResult, SeriesResult
from drift.incidents.backtest.history import TimeRange
from drift.incidents.backtest.replay import OpenedIncident, ScoreCurve
from vigil.errors import DataError

MAX_PANELS = 24
MAX_POINTS = 2000  # of a curve: more cannot be seen
_WIDTH = 10.0  # inches, of a panel
_HEIGHT = 2.6
_DOTS_AN_INCH = 110
_INCIDENT_COLOR = "tab:red"
_WINDOW_COLOR = "tab:green"


def save_picture(results: Sequence[BacktestResult], file: Path) -> None:
    """Write a PNG: a row of panels for each of the first series, a column for each result.

    Raises DataError when the file cannot be written.
    """
    figure = draw_backtests(results)
    try:
        figure.savefig(
            file,
            format="png",
            dpi=_DOTS_AN_INCH,
        )
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error}") from error


def draw_backtests(results: Sequence[BacktestResult]) -> Figure:
    """Return the figure of results that are of the same series."""
    columns = len(results)
    rows = min(MAX_PANELS, len(results[0].series))
    figure = Figure(
        figsize=(_WIDTH * columns, _HEIGHT * rows),
        layout="constrained",
    )
    panels = figure.subplots(rows, columns, squeeze=False)
    for row, column in itertools.product(range(rows), range(columns)):
        result = results[column]
        _draw_series(panels[row][column], result.series[row], result.title)
    return figure


def _draw_series(
    panel: Any,
    series: SeriesResult,
    title: str,
) -> None:
    _draw_curve(panel, thin_curve(series.replay.curve))
    for window in series.windows or ():
        if window.overlaps(series.replay.period):
            _shade(panel, window, _WINDOW_COLOR)
    for opened in series.replay.incidents:
        _draw_incident(panel, opened)
    panel.set_title(f"{series.replay.name} ({title}): {_caption(series)}", fontsize=9)


def _draw_curve(panel: Any, curve: ScoreCurve) -> None:
    times = list(map(_moment, curve.times))
    panel.plot(times, curve.scores, linewidth=0.6)
    panel.plot(
        times,
        curve.thresholds,
        color="black",
        linestyle="--",
        linewidth=0.8,
    )
    locator = AutoDateLocator()
    panel.xaxis.set_major_locator(locator)
    panel.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    panel.set_ylabel("anomaly score")
    panel.grid(alpha=0.25)


def _draw_incident(panel: Any, opened: OpenedIncident) -> None:
    incident = opened.incident
    _shade(panel, TimeRange(incident.onset, incident.last_seen), _INCIDENT_COLOR)
    panel.axvline(
        _moment(opened.opened_at),
        color=_INCIDENT_COLOR,
        linewidth=1.2,
    )


def _shade(
    panel: Any,
    period: TimeRange,
    color: str,
) -> None:
    panel.axvspan(
        _moment(period.first),
        _moment(period.last),
        color=color,
        alpha=0.2,
        linewidth=0,
    )


def _caption(series: SeriesResult) -> str:
    incidents = f"{len(series.replay.incidents)} incidents"
    judgement = series.judgement
    if judgement is None:
        return incidents
    windows = f"{judgement.found_of_all} windows found"
    return f"{incidents}, {judgement.false_incidents} false; {windows}"


def thin_curve(curve: ScoreCurve, most: int = MAX_POINTS) -> ScoreCurve:
    """Return at most `most` points: of each part of the curve the one with the highest score."""
    rows = len(curve.scores)
    if rows <= most:
        return curve
    edges = np.linspace(0, rows, most + 1).astype(int)
    parts = itertools.starmap(slice, itertools.pairwise(edges))
    peaks = [part.start + int(np.argmax(curve.scores[part])) for part in parts]
    return ScoreCurve(*(values[peaks] for values in curve))


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
