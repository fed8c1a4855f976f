"""`vigil up`, `down`, `status`, `stream` and `demo`."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click

from serve.local import platform as local
from serve.local.follow import SettingsFollower, read_settings
from serve.local.status_view import status_lines, timestamp
from serve.settings import ServeSettings
from serve.stream.cli import consume
from vigil.errors import PlatformError
from vigil.home import Home, RunningPlatform
from vigil.room_settings import SETTINGS_FILE, SETTINGS_FILE_VARIABLE
from vigil.service import ServiceOptions, service_options
from vigil.settings import HomeSettings
from vigil.terminal import (
    json_option,
    print_json,
    print_table,
    printable,
    report_errors,
    say,
    show_progress,
)

data_option = click.option("--data", help="CSV, Parquet or .npz")
label_option = click.option("--label", help="column (array) of labels, 1 = anomaly")


def port_option(function: Any) -> Any:
    return click.option("--port", type=int, help="HTTP port (default 8000, or VIGIL_SERVE_PORT)")(
        function
    )


def config_option(function: Any) -> Any:
    return click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help=f"settings file (default: {SETTINGS_FILE} in the home); followed while the platform runs",
        expose_value=False,
        callback=_name_config,
    )(function)


def _name_config(context: click.Context, parameter: click.Parameter, file: Path | None) -> None:
    """Every process of the platform inherits the name."""
    if file is not None:
        os.environ[SETTINGS_FILE_VARIABLE] = str(file.absolute())


@click.command()
@data_option
@label_option
@port_option
@config_option
@click.option("-d", "--detach", is_flag=True, help="return once the service is ready")
@json_option
@report_errors
def up(data: str | None, label: str | None, port: int | None, detach: bool, as_json: bool) -> None:
    """Start the platform; with --data train a version first. Stays in front until Ctrl-C."""
    settings, home = _settings(port), HomeSettings().open().create()
    if data is not None:
        _check_file(data, label)
    if detach:
        platform = _detached(settings, home, data, label)
        if as_json:
            print_json(vars(platform))
        else:
            _urls(platform)
        return
    with local.running(settings, home, say, _trainer(home, data, label)) as platform:
        if as_json:
            print_json(vars(platform))
        else:
            _urls(platform)
            say("Ctrl-C stops it")
        _wait_for_signal(SettingsFollower(platform, home, settings, say))
        say("stopping")


@click.command()
@json_option
@report_errors
def down(as_json: bool) -> None:
    """Stop the platform of this home, and whatever is left of one that crashed."""
    home = HomeSettings().open()
    ran = home.record.exists()
    left = local.down(home)
    if as_json:
        print_json({"stopped": ran, "ended_by_force": left})
    else:
        click.echo("stopped" if ran else f"no platform runs in {home.root}")


@click.command()
@service_options
@json_option
@report_errors
def status(service: ServiceOptions, as_json: bool) -> None:
    """The parts of the platform, which replica serves which version, and what monitor and governor make of the data."""
    found = local.status(HomeSettings().open(), service)
    if as_json:
        print_json(found)
        return
    print_table(("part", "answers"), list(found["parts"].items()))
    rows = [
        (r["replica"], r["version"], str(r["digest"])[:12], timestamp(r["since"]), r["source"])
        for r in found["replicas"] or []
    ]
    print_table(("replica", "version", "digest", "since", "from"), rows)
    for line in status_lines(found):
        click.echo(printable(line))


@click.group(invoke_without_command=True)
@data_option
@label_option
@click.option(
    "--rate", type=click.FloatRange(min=0.1), default=100.0, show_default=True, help="rows a second"
)
@click.option(
    "--rows", type=click.IntRange(min=1), default=1000, show_default=True, help="rows to send"
)
@click.option("--drift-after", type=click.IntRange(min=0), help="inject drift from this row on")
@click.option(
    "--drift-kind", type=click.Choice(["shift", "scale", "mix"]), default="shift", show_default=True
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
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="JSON list of events (docs/streams.md)",
)
@click.option(
    "--truth",
    type=click.Path(path_type=Path, dir_okay=False),
    help="file for what is true of each row, as JSON lines",
)
@click.option(
    "--to",
    help="file:DIR or kinesis:NAME: write records there instead of asking a service; csv:FILE: a table to train on, at once",
)
@service_options
@json_option
@click.pass_context
@report_errors
def stream(
    ctx: click.Context,
    data: str | None,
    label: str | None,
    rate: float,
    rows: int,
    drift_after: int | None,
    drift_kind: Any,
    drift_size: float,
    scenario: Path | None,
    truth: Path | None,
    to: str | None,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """Replay a table, or the built-in telemetry, as a live stream; `consume` scores one."""
    if ctx.invoked_subcommand is not None:
        return
    from serve.local import demo, simulate
    from serve.local.scenario import Replay, Scenario, ScenarioEvent, read_events

    events = read_events(scenario) if scenario else []
    if drift_after is not None:
        events.append(ScenarioEvent("drift", drift_after, how=drift_kind, size=drift_size))
    replay = Replay(Scenario(demo.live_rows(data, label), events), truth)
    if to is not None and to.startswith("csv:"):
        file = Path(to.removeprefix("csv:"))
        simulate.write_table(demo.live_rows(data, label), rows, file)
        print_json({"rows": rows, "file": str(file)}) if as_json else say(f"{rows} rows in {file}")
        return
    if to is not None:
        written = replay.write_to(to, rate, rows)
        print_json(written) if as_json else print_table(("figure", "value"), list(written.items()))
        return
    target = service.require(HomeSettings().open())
    tally = simulate.Tally()
    with show_progress("streaming", total=10) as step:
        marks = {rows * k // 10 for k in range(1, 10)}

        def finished(sent: int) -> bool:
            if sent in marks:
                step(f"{sent} rows sent, {tally.anomalies} anomalies, {tally.failed} failed")
            return sent >= rows

        asyncio.run(
            simulate.send_rows(
                target.url,
                replay.body,
                rate,
                tally=tally,
                stop=finished,
                headers=target.headers,
                times=replay.scenario.rate,
                name=replay.name,
            )
        )
        replay.close()
    print_json(tally.to_json()) if as_json else print_table(
        ("figure", "value"), list(tally.to_json().items())
    )
    if tally.failed:
        say(f"{tally.failed} of {tally.rows} requests failed")
        sys.exit(1)


stream.add_command(consume)


@click.command()
@data_option
@label_option
@port_option
@config_option
@click.option("--exit", "leave", is_flag=True, help="stop at the end instead of staying up")
@json_option
@report_errors
def demo(data: str | None, label: str | None, port: int | None, leave: bool, as_json: bool) -> None:
    """The whole loop: train, serve, stream, drift, retrain, gate, swap."""
    from serve.local import demo as demos

    settings, home = _settings(port), HomeSettings().open().create()
    if data is not None:
        _check_file(data, label)
    os.environ.setdefault(
        "VIGIL_DRIFT_MAX_RETRAINS_PER_DAY", "100"
    )  # a demo may be repeated all day
    with local.running(
        settings, home, say, _trainer(home, data or demos.training_file(home), label)
    ) as platform:
        _urls(platform)
        summary = demos.play(platform, data, label, say)
        if as_json:
            print_json(summary)
        else:
            print_table(("figure", "value"), list(summary.items()))
        if not leave:
            _urls(platform)
            say("the platform stays up; Ctrl-C stops it")
            _wait_for_signal(SettingsFollower(platform, home, settings, say))
            say("stopping")


def _settings(port: int | None) -> ServeSettings:
    """Those of serving; what is wrong with any is told before anything starts."""
    return read_settings(port).serve


def _check_file(path: str, label: str | None) -> None:
    """A bad file should fail in a second, not after the platform has started."""
    from train.table.dataset import preview
    from train.table.schema import Columns

    preview(path, Columns(label))


def _trainer(home: Home, data: str | None, label: str | None) -> Any:
    """What happens between the start of Ray and the first request: train on `data` and promote what passes its gate."""
    if data is None:
        return None

    def prepare(platform: RunningPlatform) -> None:
        from serve.local.first_model import train_first_model

        train_first_model(platform, home, data, label)

    return prepare


def _detached(
    settings: ServeSettings, home: Home, data: str | None, label: str | None
) -> RunningPlatform:
    """Start `vigil up` in the background and wait until it is ready; its output goes to logs/up.log."""
    arguments = (
        ["up", "--port", str(settings.port)]
        + (["--data", data] if data else [])
        + (["--label", label] if label else [])
    )
    output = home.logs / "up.log"
    if (running := home.platform()) is not None:
        raise PlatformError(
            f"a platform runs already in {home.root} (pid {running.pid}, {running.url}): `vigil down` stops it"
        )
    with output.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "vigil", *arguments],
            stdout=out,
            stderr=out,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def ready() -> bool:
        if child.poll() is not None:
            raise PlatformError(
                f"the platform did not start: {_last_line(output)} (all of it: {output})"
            )
        platform = home.platform()
        return platform is not None and "running at" in output.read_text(errors="replace")

    local.wait_for(ready, local.START_TIMEOUT_S * 2, f"the platform is not ready, see {output}")
    platform = home.platform()
    assert platform is not None
    if not local.answers(f"{platform.url}/readyz"):
        say("no model is loaded yet: `vigil train --data P`, then `vigil promote V`")
    return platform


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


def _urls(platform: RunningPlatform) -> None:
    say(f"console        {platform.url}/")
    say(
        f"running at     {platform.url}  (API docs {platform.url}/docs, drift {platform.url}/drift)"
    )
    say(f"Ray dashboard  {platform.dashboard_url}  (token: cat {platform.token_path})")
    say(f"MLflow         {platform.tracking_uri}")


def _wait_for_signal(settings: SettingsFollower) -> None:
    """Until somebody says stop; meanwhile the settings file is followed."""
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: came.append(number))
    while not came:  # in steps: a signal that reaches another thread (Ray has many) does not end a wait of this one
        time.sleep(0.2)
        settings.look()
