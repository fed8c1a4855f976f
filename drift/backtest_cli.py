"""`vigil backtest`: the incidents that a detector would have opened over history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from train.spec_options import column_options, parse_columns
from vigil.json_types import without_none
from vigil.settings import HomeSettings
from vigil.terminal import json_option, print_json, print_table, printable, report_errors, say

if TYPE_CHECKING:  # their libraries take their time to be imported
    from drift.incidents.backtest.backtest import BacktestResult, LabelledHistory
    from drift.incidents.backtest.history import History, TimeRange
    from drift.incidents.backtest.labelled_windows import WindowFile
    from drift.incidents.backtest.variant import BacktestVariant
    from train.model.bundle import ModelBundle
    from train.table.schema import Columns

_Options = dict[str, Any]
_MAX_LISTED = 50
_VARIANT_OPTIONS = (
    "version",
    "over_time",
    "probation",
    "refit_hours",
    "margin",
    "incident_budget",
)
_SHARE = click.FloatRange(
    min=0,
    max=1,
    min_open=True,
    max_open=True,
)


@click.command()
@click.option("--data", required=True, help="CSV, Parquet or .npz: a file, folder or glob")
@column_options
@click.option("--version", help="version of the registry (default: models are fitted to the rows)")
@click.option(
    "--probation",
    type=_SHARE,
    help="share of the rows before the first that is judged (default: 0.2; with --version 0)",
)
@click.option(
    "--over-time",
    help="transform of the rows (default: zscore:288,sd:24,min:24,max:24; or none)",
)
@click.option(
    "--refit-hours",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    help="without --version: fit anew on all rows so far after so long; 0: never",
)
@click.option(
    "--margin",
    type=click.FloatRange(min=0, max=1),
    default=0.07,
    show_default=True,
    help="without --version: a row alerts from so far above the score that 5 % of the rows that a "
    "model is fitted to exceed; 0, and no incident budget: the alert budget of rows counts",
)
@click.option(
    "--incident-budget",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="without --version: the threshold is raised until no more incidents a week would have "
    "opened in the rows that a model is fitted to; 0: it is not",
)
@click.option(
    "--windows",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON list of [first, last] times in which something was wrong, or lists by file name",
)
@click.option("--from", "first", help="leave out rows before this time")
@click.option("--to", "last", help="leave out rows after this time")
@click.option(
    "--interval",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="seconds from row to row, where there is no column of times",
)
@click.option(
    "--compare",
    multiple=True,
    metavar="NAME=VALUE",
    help="also with this setting, version or option, side by side (may be repeated)",
)
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="draw scores, incidents and windows into this PNG",
)
@json_option
@report_errors
def backtest(
    as_json: bool,
    picture: Path | None,
    **options: Any,
) -> None:
    """Replay history: score, alert, group and suppress its rows, as the platform does live.

    No platform runs for it. Without --version the first rows (--probation) train the model.
    """
    variants = _variants(options)
    # A version may say what stands for missing values; without one, rows are learnt from too.
    takes_missing = all(variant.version is not None for variant in variants)
    columns = _columns(options, variants[0].version)
    histories = _read_histories(options, columns, takes_missing)
    results = [_run(variant, histories) for variant in variants]
    if picture is not None:
        _draw(results, picture)
    if as_json:
        _print_as_json(results)
    else:
        _print(results)


def _columns(options: _Options, version: str | None) -> Columns:
    """The roles of columns; the version, where there is one, knows its categories."""
    columns = parse_columns(options)
    categories = _load_version(version).categories if version else None
    return columns if categories is None else replace(columns, categories=categories.declared)


def _read_histories(
    options: _Options,
    columns: Columns,
    allow_missing: bool,
) -> list[LabelledHistory]:
    """The series of --data, and the windows of each."""
    from drift.incidents.backtest.history import read_histories

    windows = _read_windows(options)
    histories = read_histories(
        options["data"],
        columns,
        options["interval"],
        each_file=windows is not None and windows.is_by_name,
        allow_missing=allow_missing,
    )
    period = _period(options)
    return [_label(history.within(period), windows) for history in histories]


def _read_windows(options: _Options) -> WindowFile | None:
    from drift.incidents.backtest.labelled_windows import WindowFile

    file = options["windows"]
    return WindowFile(file) if file else None


def _label(history: History, windows: WindowFile | None) -> LabelledHistory:
    from drift.incidents.backtest.backtest import LabelledHistory
    from drift.incidents.backtest.labelled_windows import windows_of_labels

    if windows is None:
        return LabelledHistory(history, windows_of_labels(history))
    return LabelledHistory(history, windows.of(history.name))


def _period(options: _Options) -> TimeRange:
    """From --from to --to, or without an end."""
    from drift.incidents.backtest.history import TimeRange
    from drift.incidents.backtest.labelled_windows import parse_moment

    first = options["first"] or "-inf"
    last = options["last"] or "inf"
    return TimeRange(parse_moment(first), parse_moment(last))


def _variants(options: _Options) -> list[BacktestVariant]:
    """What the options say, and what --compare makes of that."""
    from drift.incidents.backtest.variant import BacktestVariant

    given = {name: options[name] for name in _VARIANT_OPTIONS}
    named = without_none(given)
    variant = BacktestVariant(**named)
    changes = options["compare"]
    return [variant, variant.changed(changes)] if changes else [variant]


def _run(variant: BacktestVariant, histories: Sequence[LabelledHistory]) -> BacktestResult:
    from drift.incidents.backtest.backtest import run_backtest
    from drift.incidents.backtest.maintenance import maintenance_of

    settings = variant.drift_settings
    series = [labelled.history for labelled in histories]
    return run_backtest(
        variant.title,
        histories,
        variant.source(_load_version),
        settings,
        silences=maintenance_of(settings.maintenance_calendar, series),
    )


def _load_version(version: str) -> ModelBundle:
    from train.connect import open_registry
    from train.settings import TrainSettings

    home = HomeSettings().open()
    registry = open_registry(home, TrainSettings())
    return registry.fetch(registry.get(version), home.cache)


def _draw(results: Sequence[BacktestResult], file: Path) -> None:
    from drift.incidents.backtest.picture import save_picture

    save_picture(results, file)
    say(f"drawn into {file}")


def _print_as_json(results: Sequence[BacktestResult]) -> None:
    """The first result, and below `compared` the other."""
    first, *others = [result.to_json() for result in results]
    if others:
        first["compared"] = others[0]
    print_json(first)


def _print(results: Sequence[BacktestResult]) -> None:
    """The incidents of each result, and its figures beside those of the other."""
    from drift.incidents.backtest.listing import figure_rows

    for result in results:
        click.echo(printable(f"incidents, {result.title}:"))
        _print_incidents(result)
        _print_series(result)
    titles = [result.title for result in results]
    print_table(("figure", *titles), figure_rows(results))


def _print_incidents(result: BacktestResult) -> None:
    from drift.incidents.backtest.listing import INCIDENT_COLUMNS, incident_rows

    rows: list[tuple[str, ...]] = []
    for series in result.series:
        rows += incident_rows(series)
    print_table(INCIDENT_COLUMNS, rows[:_MAX_LISTED])
    if len(rows) > _MAX_LISTED:
        click.echo(f"and {len(rows) - _MAX_LISTED} more: --json lists all")


def _print_series(result: BacktestResult) -> None:
    from drift.incidents.backtest.listing import SERIES_COLUMNS, series_row

    if len(result.series) > 1:
        print_table(SERIES_COLUMNS, [series_row(series) for series in result.series])
