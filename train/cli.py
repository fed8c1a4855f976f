"""`vigil train`."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from train.job_log import JobLog, inside_job, is_followed
from train.settings import TrainSettings
from train.spec import JobResult, JobSpec
from train.spec_options import parse_spec, spec_options
from vigil.home import Home
from vigil.settings import HomeSettings
from vigil.terminal import json_option, print_json, report_errors, show_progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from train.progress import Listener

_STEPS = 6
_MLFLOW_RETRIES = "6"
_JOB_POLL_INTERVAL_S = 0.3  # a person waits; a retraining looks every second


@click.command("train")
@spec_options
@click.option("--require-gate", is_flag=True, help="exit 1 when the version fails its gate")
@json_option
@report_errors
def train_command(
    as_json: bool,
    require_gate: bool,
    **options: Any,
) -> None:
    """Fit, judge and register one model version; it becomes the challenger."""
    # A job that is nearly done should outlive a restart of the MLflow server.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _MLFLOW_RETRIES)
    spec = parse_spec(options)
    settings = TrainSettings()
    home = HomeSettings().open().create()
    _preview(spec, settings)
    with _progress() as listener:
        result = train_version(
            spec,
            settings,
            home,
            listener,
        )
    if as_json:
        print_json(result.to_json())
    else:
        _print_result(result)
    if require_gate and not result.verdict["passed"]:
        sys.exit(1)


def _preview(spec: JobSpec, settings: TrainSettings) -> None:
    """A bad file fails before anything is started; another machine may have other files."""
    from train.preview import preview_job

    if settings.jobs_url is None:
        # Captured rows may be those that a short table lacks.
        min_rows = settings.max_samples if spec.captured is None else None
        preview_job(spec, min_rows)


@contextmanager
def _progress() -> Iterator[Listener]:
    """Progress for people or, where it is followed, for the process that submitted the job."""
    if is_followed():
        yield JobLog()
    else:
        with show_progress("training", total=_STEPS) as steps:
            yield steps


def _print_result(result: JobResult) -> None:
    version = result.version
    click.echo(f"version {version.version} is registered as challenger (run {version.run_id})")
    if result.verdict["passed"]:
        click.echo(f"`vigil promote {version.version}` makes it champion")
    else:
        click.echo("it failed the gate; see above")


def train_version(
    spec: JobSpec,
    settings: TrainSettings,
    home: Home,
    listener: Listener,
) -> JobResult:
    """Train in a Ray job where a platform runs or a job server is named, else in this process.

    Inside such a job it is this process. One without a platform has a Ray of its own.
    """
    platform = home.platform()
    url = settings.jobs_url or (platform.dashboard_url if platform else None)
    if url is not None and not inside_job():
        return _train_in_job(
            spec,
            settings,
            home,
            listener,
            url=url,
        )
    listener("starting Ray" if platform is None else "connecting to Ray")
    return _train_here(
        spec,
        settings,
        home,
        listener,
        address=platform.ray_address if platform else None,
    )


def _train_in_job(
    spec: JobSpec,
    settings: TrainSettings,
    home: Home,
    listener: Listener,
    *,
    url: str,
) -> JobResult:
    """Train in a job of the job server at `url`, and wait for it."""
    from train.connect import open_registry
    from train.submit import JOB_SERVER_TIMEOUT_S, Jobs, train_in_job

    submitted = spec if settings.jobs_url else spec.absolute()
    server = Jobs(url, JOB_SERVER_TIMEOUT_S, poll_interval_s=_JOB_POLL_INTERVAL_S)
    return train_in_job(
        server,
        submitted,
        settings.environment,
        open_registry(home, settings),
        listener,
    )


def _train_here(
    spec: JobSpec,
    settings: TrainSettings,
    home: Home,
    listener: Listener,
    *,
    address: str | None,
) -> JobResult:
    """Train in this process, on the Ray at `address` or one of its own.

    While Ray starts, the registry is opened and libraries are imported: MLflow, and a database of
    its own that is new, take as long as Ray.
    """
    from train.connect import connected, open_registry
    from train.preload import TO_FIT, preload

    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(open_registry, home, settings)
        preload(TO_FIT)
        with connected(address):
            from train.job import run_job

            return run_job(
                spec,
                settings,
                opening.result(),
                home,
                listener,
            )
