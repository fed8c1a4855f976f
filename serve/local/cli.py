"""`vigil up`, `down`, `status` and `demo`."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from serve.local.deploy import apply_serve_config
from serve.local.detach import start_in_background
from serve.local.follow import AllSettings, SettingsFollower, read_settings
from serve.local.parts import is_answering
from serve.local.platform import running_platform, stop_platform
from serve.local.status import platform_status
from serve.local.status_view import status_lines, timestamp
from serve.settings import ServeSettings
from train.settings import TrainSettings
from train.spec import JobSpec
from train.spec_options import parse_spec, table_options
from vigil.home import Home, RunningPlatform
from vigil.json_types import Fields, JsonObject
from vigil.room_settings import SETTINGS_FILE, SETTINGS_FILE_VARIABLE
from vigil.service import ServiceOptions, service_options
from vigil.settings import HomeSettings
from vigil.terminal import (
    json_option,
    print_answer,
    print_figures,
    print_json,
    print_table,
    printable,
    report_errors,
    say,
)

FOLLOW_INTERVAL_S = 0.2
DEMO_RETRAINS_PER_DAY = "100"  # a demo may be repeated all day
_Option = Callable[[Any], Any]

data_option: _Option = click.option("--data", help="CSV, Parquet or .npz")
port_option: _Option = click.option(
    "--port",
    type=int,
    help="HTTP port (default 8000, or VIGIL_SERVE_PORT)",
)


def _name_settings_file(
    context: click.Context, parameter: click.Parameter, file: Path | None
) -> None:
    """Every process of the platform inherits the name."""
    if file is not None:
        os.environ[SETTINGS_FILE_VARIABLE] = str(file.absolute())


config_option: _Option = click.option(
    "--config",
    type=click.Path(
        path_type=Path,
        dir_okay=False,
        exists=True,
    ),
    help=f"settings file (default: {SETTINGS_FILE} in the home); followed while the platform runs",
    expose_value=False,
    callback=_name_settings_file,
)
require_gate_option: _Option = click.option(
    "--require-gate",
    is_flag=True,
    help="stop when the version that --data makes fails its gate, also where it is the first",
)


@click.command()
@data_option
@table_options
@port_option
@config_option
@require_gate_option
@click.option(
    "-d",
    "--detach",
    is_flag=True,
    help="return once the service is ready",
)
@json_option
@report_errors
def up(
    data: str | None,
    port: int | None,
    require_gate: bool,
    detach: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Start the platform; with --data train a version first. Stays in front until Ctrl-C."""
    told = read_settings(port)
    settings = told.serve
    home = HomeSettings().open().create()
    first_job = _first_job(data, options, told.train)
    if detach:
        arguments = _arguments_of_up(settings, first_job, require_gate=require_gate)
        _up_in_background(home, arguments, as_json=as_json)
        return
    prepare = _first_training(home, first_job, require_gate=require_gate)
    with running_platform(
        settings,
        home,
        say,
        prepare=prepare,
    ) as platform:
        _show_platform(platform, as_json=as_json)
        if not as_json:
            say("Ctrl-C stops it")
        _follow_settings_until_signal(platform, home, settings)
        say("stopping")


def _arguments_of_up(
    settings: ServeSettings,
    first_job: JobSpec | None,
    *,
    require_gate: bool,
) -> list[str]:
    """Arguments of `vigil up` that start the same platform in front."""
    arguments = ["--port", str(settings.port)]
    if first_job:
        arguments += first_job.table_arguments()
    if require_gate:
        arguments.append("--require-gate")
    return arguments


def _up_in_background(
    home: Home,
    arguments: list[str],
    *,
    as_json: bool,
) -> None:
    platform = start_in_background(home, arguments)
    if not is_answering(f"{platform.url}/readyz"):
        say("no model is loaded yet: `vigil train --data P`, then `vigil promote V`")
    _show_platform(platform, as_json=as_json)


@click.command()
@json_option
@report_errors
def down(as_json: bool) -> None:
    """Stop the platform of this home, and whatever is left of one that crashed."""
    home = HomeSettings().open()
    has_run = home.record.exists()
    ended_by_force = stop_platform(home)
    document = {"stopped": has_run, "ended_by_force": ended_by_force}
    sentence = "stopped" if has_run else f"no platform runs in {home.root}"
    print_answer(document, sentence, as_json=as_json)


@click.command()
@service_options
@json_option
@report_errors
def status(service: ServiceOptions, as_json: bool) -> None:
    """The parts of the platform, which replica serves which version, and what monitor and governor
    make of the data."""
    state = platform_status(HomeSettings().open(), service)
    if as_json:
        print_json(state)
        return
    print_table(("part", "answers"), list(state["parts"].items()))
    rows = [_replica_row(replica) for replica in state["replicas"] or []]
    print_table(("replica", "version", "digest", "since", "from"), rows)
    for line in status_lines(state):
        click.echo(printable(line))


def _replica_row(replica: JsonObject) -> tuple[Any, ...]:
    return (
        replica["replica"],
        replica["version"],
        str(replica["digest"])[:12],
        timestamp(replica["since"]),
        replica["source"],
    )


@click.command()
@data_option
@table_options
@port_option
@config_option
@require_gate_option
@click.option(
    "--exit",
    "leave",
    is_flag=True,
    help="stop at the end instead of staying up",
)
@json_option
@report_errors
def demo(
    data: str | None,
    port: int | None,
    require_gate: bool,
    leave: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """The whole loop: train, serve, stream, drift, retrain, gate, swap."""
    from serve.local.demo import play, training_file

    told = read_settings(port)
    settings = told.serve
    home = HomeSettings().open().create()
    first_job = _first_job(data, options, told.train) or JobSpec(data=training_file(home))
    os.environ.setdefault("VIGIL_DRIFT_MAX_RETRAINS_PER_DAY", DEMO_RETRAINS_PER_DAY)
    prepare = _first_training(home, first_job, require_gate=require_gate)
    with running_platform(
        settings,
        home,
        say,
        prepare=prepare,
    ) as platform:
        _say_addresses(platform)
        figures = play(
            platform,
            data,
            first_job.columns,
            say=say,
            imputing=first_job.imputing,
        )
        print_figures(figures, as_json=as_json)
        if not leave:
            _stay_up(platform, home, settings)


def _stay_up(
    platform: RunningPlatform,
    home: Home,
    settings: ServeSettings,
) -> None:
    _say_addresses(platform)
    say("the platform stays up; Ctrl-C stops it")
    _follow_settings_until_signal(platform, home, settings)
    say("stopping")


def _first_job(
    data: str | None,
    options: Fields,
    settings: TrainSettings,
) -> JobSpec | None:
    """The training on `data` before anything is served.

    A bad file should fail in a second, not after the platform has started.
    """
    job = parse_spec({**options, "data": data or ""})
    if data is None:
        return None
    from train.preview import preview_job

    preview_job(job, settings.max_samples)
    return job


def _first_training(
    home: Home,
    first_job: JobSpec | None,
    *,
    require_gate: bool,
) -> Callable[[RunningPlatform], None] | None:
    """What happens between the start of Ray and the first request: the training of `first_job`,
    and the promotion of what passes its gate or is the first."""
    if first_job is None:
        return None

    def prepare(platform: RunningPlatform) -> None:
        from serve.local.first_model import train_first_model

        train_first_model(
            platform,
            home,
            first_job,
            require_gate=require_gate,
        )

    return prepare


def _show_platform(platform: RunningPlatform, *, as_json: bool) -> None:
    if as_json:
        print_json(vars(platform))
    else:
        _say_addresses(platform)


def _say_addresses(platform: RunningPlatform) -> None:
    url = platform.url
    say(f"console        {url}/")
    say(f"running at     {url}  (API docs {url}/docs, drift {url}/drift)")
    if platform.grpc is not None:
        say(f"gRPC           {platform.grpc}")
    say(f"Ray dashboard  {platform.dashboard_url}  (token: cat {platform.token_path})")
    say(f"MLflow         {platform.tracking_uri}")


def _follow_settings_until_signal(
    platform: RunningPlatform, home: Home, settings: ServeSettings
) -> None:
    def apply(changed: AllSettings) -> None:
        apply_serve_config(
            platform,
            changed.serve,
            changed.drift,
            home=home,
        )

    follower = SettingsFollower(settings, apply=apply, tell=say)
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: signals.append(number))
    # In steps: a signal that reaches another thread (Ray has many) ends no wait of this one.
    while not signals:
        time.sleep(FOLLOW_INTERVAL_S)
        follower.look()
