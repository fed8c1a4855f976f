"""`vigil stream`: a table, or the built-in telemetry, as a live stream."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from serve.local.cli import data_option
from serve.stream.cli import consume
from train.spec_options import column_options, parse_columns
from train.table.schema import Columns
from vigil.json_types import JsonObject
from vigil.service import Service, ServiceOptions, service_options
from vigil.settings import HomeSettings
from vigil.terminal import json_option, print_figures, print_json, report_errors, say, show_progress

PROGRESS_STEPS = 10


@dataclass(frozen=True)
class StreamOptions:
    """What is streamed, how fast, and to whom."""

    data: str | None
    columns: Columns
    rate: float
    rows: int
    drift_after: int | None
    drift_kind: Any
    drift_size: float
    scenario: Path | None
    truth: Path | None
    to: str | None
    service: ServiceOptions
    as_json: bool


@click.group(invoke_without_command=True)
@data_option
@column_options
@click.option(
    "--rate",
    type=click.FloatRange(min=0.1),
    default=100.0,
    show_default=True,
    help="rows a second",
)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="rows to send",
)
@click.option("--drift-after", type=click.IntRange(min=0), help="inject drift from this row on")
@click.option(
    "--drift-kind",
    type=click.Choice(["shift", "scale", "mix"]),
    default="shift",
    show_default=True,
)
@click.option(
    "--drift-size",
    type=float,
    default=3.0,
    show_default=True,
    help="in standard deviations (shift), or a factor (scale)",
)
@click.option(
    "--scenario",
    type=click.Path(
        path_type=Path,
        dir_okay=False,
        exists=True,
    ),
    help="JSON list of events (docs/streams.md)",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path, dir_okay=False),
    help="file for what is true of each row, as JSON lines",
)
@click.option(
    "--to",
    help="file:DIR or kinesis:NAME: write records there instead of asking a service; "
    "csv:FILE: a table to train on, at once",
)
@service_options
@json_option
@click.pass_context
@report_errors
def stream(context: click.Context, **options: Any) -> None:
    """Replay a table, or the built-in telemetry, as a live stream; `consume` scores one."""
    if context.invoked_subcommand is not None:
        return
    chosen = _stream_options(options)
    replay = _replay(chosen)
    if chosen.to is None:
        _send(chosen, replay)
    elif chosen.to.startswith("csv:"):
        _write_table(chosen, Path(chosen.to.removeprefix("csv:")))
    else:
        figures = replay.write_to(chosen.to, chosen.rate, chosen.rows)
        print_figures(figures, as_json=chosen.as_json)


stream.add_command(consume)


def _stream_options(options: JsonObject) -> StreamOptions:
    names = {field.name for field in fields(StreamOptions)}
    others = {name: value for name, value in options.items() if name in names}
    return StreamOptions(columns=parse_columns(options), **others)


def _replay(options: StreamOptions) -> Any:
    from serve.local.scenario import Replay, Scenario, ScenarioEvent, read_events

    events = read_events(options.scenario) if options.scenario else []
    if options.drift_after is not None:
        drift = ScenarioEvent(
            "drift",
            options.drift_after,
            how=options.drift_kind,
            size=options.drift_size,
        )
        events.append(drift)
    table = _live_rows(options)
    return Replay(Scenario(table, events, _times(options, table)), options.truth)


def _times(options: StreamOptions, table: Any) -> Any:
    """The times to send: a log has those of the table, a service those that its model needs."""
    from serve.local.row_times import RowTimes, times_for

    if options.to is not None:
        return RowTimes.of(table, options.rows, time.time())
    target = options.service.require(HomeSettings().open())
    return times_for(target, table, options.rows)


def _live_rows(options: StreamOptions) -> Any:
    from serve.local.demo import live_rows

    return live_rows(options.data, options.columns, say)


def _write_table(options: StreamOptions, file: Path) -> None:
    from serve.local.telemetry import write_table

    write_table(_live_rows(options), options.rows, file)
    if options.as_json:
        print_json({"rows": options.rows, "file": str(file)})
    else:
        say(f"{options.rows} rows in {file}")


def _send(options: StreamOptions, replay: Any) -> None:
    """Send the rows to a service; exits with 1 when a request failed."""
    target = options.service.require(HomeSettings().open())
    tally = _send_with_progress(options, replay, target)
    replay.close()
    print_figures(tally.to_json(), as_json=options.as_json)
    if tally.failed:
        say(f"{tally.failed} of {tally.rows} requests failed")
        sys.exit(1)


def _send_with_progress(
    options: StreamOptions,
    replay: Any,
    target: Service,
) -> Any:
    from serve.local.simulate import Tally, send_rows

    tally = Tally()
    rows = options.rows
    marks = {rows * step // PROGRESS_STEPS for step in range(1, PROGRESS_STEPS)}
    with show_progress("streaming", total=PROGRESS_STEPS) as step:

        def is_finished(sent: int) -> bool:
            if sent in marks:
                step(f"{sent} rows sent, {tally.anomalies} anomalies, {tally.failed} failed")
            return sent >= rows

        sending = send_rows(
            target.url,
            replay.body,
            options.rate,
            tally=tally,
            stop=is_finished,
            headers=target.headers,
            times=replay.scenario.rate,
            name=replay.name,
        )
        asyncio.run(sending)
    return tally
