"""`vigil train`, `models`, `promote`, `rollback` and `recalibrate`."""

from __future__ import annotations

import getpass
import json
import os
import re
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from train.registry import promotion
from train.registry.canary import parse_canary_steps
from train.settings import TrainSettings
from vigil.errors import PlatformError, RegistryError
from vigil.home import Home
from vigil.service import KEY_REFUSED, Service, ServiceOptions, Unanswered, service_options
from vigil.settings import HomeSettings
from vigil.terminal import (
    ProgressSteps,
    json_option,
    print_json,
    print_table,
    report_errors,
    show_progress,
)

if TYPE_CHECKING:
    from train.registry.versions import Registry
    from train.spec import JobResult, JobSpec

CONVERGE_S = 20.0
FOLLOW = (
    "; nobody was waited for: replicas follow the registry by themselves within their poll period "
    "(VIGIL_URL and VIGIL_API_KEY name a service to wait for)"
)


def _plain_key(ctx: click.Context, option: click.Parameter, key: str | None) -> str | None:
    if key is not None and not re.fullmatch(r"[\w.:-]{1,100}", key):
        raise click.BadParameter("letters, digits and _ . : - only, at most 100")
    return key


@click.command()
@click.option(
    "--data", required=True, help="CSV, Parquet or .npz: a file, folder or glob, local or s3://"
)
@click.option("--label", help="column (array) of labels, 1 = anomaly")
@click.option("--time", help="column of times, which must rise")
@click.option(
    "--entity",
    help="column that says whose row it is: time rises, and a transform looks back, within one",
)
@click.option(
    "--columns", help="features to learn from, with commas between (default: all other columns)"
)
@click.option("--schema", help="file of the schema: written if it is not there, else enforced")
@click.option(
    "--over-time",
    default="",
    help="transform, as diff:1,mean:10,sd:10 (also min, max), of the rows before",
)
@click.option(
    "--tune",
    type=click.FloatRange(min=0, min_open=True),
    is_flag=False,
    flag_value=120.0,
    default=None,
    metavar="SECONDS",
    help="search trees, max_samples, max_features and, with labels, a transform for so long (default of the option: 120)",
)
@click.option("--captured", help="folder or s3:// URL of captured live rows to train on as well")
@click.option("--since", type=float, default=0.0, help="captured rows from this Unix time on")
@click.option(
    "--trigger", type=click.Choice(["manual", "schedule", "volume", "drift"]), default="manual"
)
@click.option(
    "--key",
    callback=_plain_key,
    help="idempotency key: a second job with it returns the first one's version",
)
@json_option
@report_errors
def train(
    data: str,
    label: str | None,
    time: str | None,
    entity: str | None,
    columns: str | None,
    schema: str | None,
    over_time: str,
    tune: float | None,
    captured: str | None,
    since: float,
    trigger: str,
    key: str | None,
    as_json: bool,
) -> None:
    """Fit, judge and register one model version; it becomes the challenger."""
    # A job that is nearly done should outlive a restart of the MLflow server.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "6")
    from train.spec import JobSpec
    from train.table.dataset import preview
    from train.table.schema import Columns

    features = tuple(name.strip() for name in columns.split(",")) if columns else None
    roles = Columns(label, time, entity, features, schema)
    settings, home = TrainSettings(), HomeSettings().open().create()
    if settings.jobs_url is None:
        preview(
            data, roles
        )  # a bad file fails before anything is started; another machine may have other files
    with show_progress("training", total=6) as step:
        result = _train(
            JobSpec(data, label, captured, since, trigger, key, roles, over_time, tune or 0.0),
            settings,
            home,
            step,
        )
    if as_json:
        print_json(result.to_json())
        return
    click.echo(
        f"version {result.version.version} is registered as challenger (run {result.version.run_id})"
    )
    click.echo(
        f"`vigil promote {result.version.version}` makes it champion"
        if result.verdict["passed"]
        else "it failed the gate; see above"
    )


def _train(spec: JobSpec, settings: TrainSettings, home: Home, step: ProgressSteps) -> JobResult:
    """In a Ray job where a platform runs or a job server is named, unless this is that job; else here, with a Ray of its own."""
    from train.connect import connected, inside_job, open_registry
    from train.job import run_job
    from train.submit import READY_S, Jobs, train_in_job

    registry, platform = open_registry(home, settings), home.platform()
    if settings.jobs_url is not None and not inside_job():
        return train_in_job(
            Jobs(settings.jobs_url, READY_S), spec, settings.environment, registry, step
        )
    if platform is not None and not inside_job():
        return train_in_job(
            Jobs(platform.dashboard_url, READY_S),
            spec.absolute(),
            settings.environment,
            registry,
            step,
        )
    step("starting Ray" if platform is None else "connecting to Ray")
    with connected(platform.ray_address if platform else None):
        return run_job(spec, settings, registry, home, step)


@click.group(invoke_without_command=True)
@click.option("--at", help="time (ISO 8601): the version that was champion then")
@json_option
@click.pass_context
def models(context: click.Context, at: str | None, as_json: bool) -> None:
    """Registered versions: aliases, metrics, digests; with --at the champion of that time."""
    if context.invoked_subcommand is None:
        _champion_at(at=at, as_json=as_json) if at else _versions(as_json=as_json)


@report_errors
def _versions(as_json: bool) -> None:
    registry = _registry()
    found, canary = registry.versions(), registry.desired().canary
    if as_json:
        listed = [{**vars(v), "created": _iso(v.created)} for v in found]
        print_json({"models": listed, "canary": json.loads(canary.to_json()) if canary else None})
        return
    columns = (
        "version",
        "aliases",
        "created",
        "trigger",
        "gate",
        "alert rate",
        "planted AUROC",
        "digest",
    )
    print_table(
        columns,
        [
            (
                v.version,
                ", ".join(v.aliases)
                + (" canary" if canary and canary.version == v.version else ""),
                _iso(v.created),
                v.tags.get("trigger", ""),
                v.tags.get("verdict", ""),
                _number(v.metrics.get("alert_rate")),
                _number(v.metrics.get("planted_auroc")),
                v.digest[:12],
            )
            for v in found
        ],
    )


@report_errors
def _champion_at(at: str, as_json: bool) -> None:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as error:
        raise RegistryError(
            f"--at {at!r} is not an ISO 8601 time, such as 2026-01-31T12:00:00Z"
        ) from error
    found = promotion.champion_at(
        _registry(), (moment if moment.tzinfo else moment.astimezone()).timestamp()
    )
    if found is None:
        raise RegistryError(f"there was no champion at {at}")
    if as_json:
        print_json(
            {
                "version": found.to,
                "digest": found.digest,
                "since": _iso(found.at),
                "reason": found.reason,
            }
        )
    else:
        click.echo(
            f"version {found.to} ({found.digest[:12]}), since {_iso(found.at)}: {found.reason}"
        )


@models.command()
@json_option
@report_errors
def history(as_json: bool) -> None:
    """The promotion ledger: who moved what, when and why."""
    moves = promotion.completed_moves(_registry())
    if as_json:
        print_json(
            {
                "moves": [
                    {**vars(move), "at": _iso(move.at), "gates": dict(move.gates)} for move in moves
                ]
            }
        )
    else:
        print_table(
            ("at", "what", "from", "to", "by", "reason"),
            [(_iso(m.at), m.kind, m.former or "none", m.to, m.actor, m.reason) for m in moves],
        )


@click.command()
@click.argument("version")
@click.option("--reason", default="promoted by hand")
@click.option(
    "--canary",
    "plan",
    help='answer only a share of the requests first: "5:60,25:60" is 5 % for 60 s, then 25 %',
)
@click.option("--force", is_flag=True, help="also a version that failed its gate")
@service_options
@json_option
@report_errors
def promote(
    version: str, reason: str, plan: str | None, force: bool, service: ServiceOptions, as_json: bool
) -> None:
    """Make VERSION the champion; returns when every replica serves it, with --canary once the canary has begun.

    A version that failed its gate is refused without --force. Where no service runs here and none is named, nobody is waited
    for: replicas follow the registry by themselves.
    """
    moving = _Moving(service)
    if plan is None:
        # Who names a version by hand may change the features with it; replicas refuse that of an alias moved by other means.
        promotion.promote_version(
            moving.registry,
            version,
            reason=reason,
            actor=getpass.getuser(),
            new_schema=True,
            force=force,
        )
        moving.tell(as_json)
        return
    canary = promotion.start_canary(
        moving.registry,
        version,
        parse_canary_steps(plan),
        reason=reason,
        actor=getpass.getuser(),
        force=force,
    )
    moving.hurry()
    if as_json:
        print_json({"canary": json.loads(canary.to_json())})
    else:
        click.echo(
            f"version {version} is a canary; the monitor promotes it at the end, or stops it: see `vigil models history`"
        )


@click.command()
@click.option("--to", help="version to go back to (default: the one before the champion)")
@click.option("--reason", default="rolled back by hand")
@service_options
@json_option
@report_errors
def rollback(to: str | None, reason: str, service: ServiceOptions, as_json: bool) -> None:
    """Make a former champion champion again and end a canary; returns when every replica serves it."""
    moving = _Moving(service)
    promotion.roll_back(moving.registry, reason=reason, actor=getpass.getuser(), to=to)
    moving.tell(as_json)


@click.command()
@click.option("--since", type=float, default=0.0, help="captured rows from this Unix time on")
@click.option("--captured", help="folder or s3:// URL of captured rows (default: the home's)")
@click.option(
    "--alert-rate",
    type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    help="alert budget (default: its own)",
)
@json_option
@report_errors
def recalibrate(
    since: float, captured: str | None, alert_rate: float | None, as_json: bool
) -> None:
    """Register the champion's forest with a threshold fitted to the alert budget on captured rows."""
    from train.recalibrate import recalibrate as run

    made = run(_registry(), HomeSettings().open(), since, alert_rate, captured)
    if as_json:
        print_json({"version": made.version, "digest": made.digest, "metrics": dict(made.metrics)})
    else:
        click.echo(
            f"version {made.version} has the champion's forest and a new threshold: `vigil promote {made.version}` serves it"
        )


def _registry() -> Registry:
    from train.connect import open_registry

    return open_registry(HomeSettings().open(), TrainSettings())


class _Moving:
    """The registry in which a model is moved, and the service that follows it, where one is known.

    Raises PlatformError for a service elsewhere whose registry nobody has named: the local one is not it.
    """

    def __init__(self, named: ServiceOptions) -> None:
        self._elsewhere = TrainSettings().tracking_uri is not None
        if named.url is not None and not self._elsewhere:
            raise PlatformError(
                f"{named.url} is a service elsewhere: name its registry as well, with VIGIL_TRAIN_TRACKING_URI"
            )
        self.registry = _registry()
        self._service = named.find(HomeSettings().open())

    def hurry(self) -> None:
        """Have the replicas look at the registry now; they would anyway within their poll period."""
        if self._service is not None:
            with suppress(Unanswered):
                self._service.post("/models/refresh")

    def tell(self, as_json: bool) -> None:
        """Wait until every replica serves the champion, and say so, or why nobody was waited for."""
        champion = self.registry.champion()
        assert champion is not None
        self.hurry()
        replicas, where = self._served(champion.version)
        if as_json:
            print_json(
                {"version": champion.version, "digest": champion.digest, "replicas": replicas}
            )
        else:
            click.echo(f"version {champion.version} is champion{where}")

    def _served(self, version: str) -> tuple[list[str], str]:
        """The replicas that serve it, all of them, and what to say of that."""
        if self._service is None:
            return [], FOLLOW if self._elsewhere else "; no platform runs here"
        try:
            replicas = _converge(self._service, version)
        except Unanswered as error:
            return [], f"{FOLLOW}; {error.message}"
        return replicas, f" on {len(replicas)} replicas"


def _converge(service: Service, version: str) -> list[str]:
    """Wait until every replica serves `version`.

    Raises RegistryError that names those that lag, and Unanswered where the service wants another key.
    """
    deadline = time.monotonic() + CONVERGE_S
    lagging = ["no replica has reported"]
    while time.monotonic() < deadline:
        try:
            replicas = service.get("/drift", timeout_s=5)["replicas"]
        except Unanswered as error:
            if error.code in KEY_REFUSED:
                raise
            replicas, lagging = [], [error.message]
        if replicas:
            lagging = [r["replica"] for r in replicas if r["version"] != version]
            if not lagging:
                return [r["replica"] for r in replicas]
        time.sleep(0.2)
    raise RegistryError(
        f"version {version} is champion, but not served everywhere after {CONVERGE_S:.0f} s: {', '.join(lagging)}"
    )


def _iso(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
