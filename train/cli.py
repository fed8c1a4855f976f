"""`vigil train`, `models`, `promote` and `rollback`."""

from __future__ import annotations

import getpass
import os
import re
import time
from datetime import UTC, datetime

import click

from train.errors import RegistryError
from train.home import Platform
from train.settings import HomeSettings, TrainSettings
from train.terminal import command, json_option, show, steps, table

CONVERGE_S = 20.0


def _plain_key(ctx: click.Context, option: click.Parameter, key: str | None) -> str | None:
    if key is not None and not re.fullmatch(r"[\w.:-]{1,100}", key):
        raise click.BadParameter("letters, digits and _ . : - only, at most 100")
    return key


@click.command()
@click.option("--data", required=True, help="CSV, Parquet or .npz")
@click.option("--label", help="column (array) of labels, 1 = anomaly")
@click.option("--captured", help="folder of captured live rows to train on as well")
@click.option("--since", type=float, default=0.0, help="captured rows from this Unix time on")
@click.option("--trigger", type=click.Choice(["manual", "schedule", "drift"]), default="manual")
@click.option("--key", callback=_plain_key, help="idempotency key: a second job with it returns the first one's version")
@json_option
@command
def train(data: str, label: str | None, captured: str | None, since: float, trigger: str, key: str | None, as_json: bool) -> None:
    """Fit, judge and register one model version; it becomes the challenger."""
    # A job that is nearly done should outlive a restart of the MLflow server.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "6")
    from train.data import read
    from train.job import JobSpec, connected, open_registry, run

    read(data, label=label)  # a bad file fails before Ray is started
    settings, home = TrainSettings(), HomeSettings().open().create()
    platform = home.platform()
    with steps("training", total=6) as step:
        registry = open_registry(home, settings)
        step("starting Ray" if platform is None else "connecting to Ray")
        with connected(platform.ray_address if platform else None):
            result = run(JobSpec(data, label, captured, since, trigger, key), settings, registry, home, step)
    if as_json:
        show(result.to_json())
        return
    click.echo(f"version {result.version.version} is registered as challenger (run {result.version.run_id})")
    click.echo(
        f"`vigil promote {result.version.version}` makes it champion"
        if result.verdict["passed"]
        else "it failed the gate; see above"
    )


@click.command()
@json_option
@command
def models(as_json: bool) -> None:
    """Registered versions: aliases, metrics, digests."""
    from train.job import open_registry

    found = open_registry(HomeSettings().open(), TrainSettings()).versions()
    if as_json:
        show({"models": [{**vars(v), "created": datetime.fromtimestamp(v.created, UTC).isoformat()} for v in found]})
        return
    columns = ("version", "aliases", "created", "trigger", "gate", "alert rate", "planted AUROC", "digest")
    table(columns, [
        (v.version, ", ".join(v.aliases), f"{datetime.fromtimestamp(v.created, UTC):%Y-%m-%d %H:%M}Z", v.tags.get("trigger", ""),
         v.tags.get("verdict", ""), _number(v.metrics.get("alert_rate")), _number(v.metrics.get("planted_auroc")), v.digest[:12])
        for v in found
    ])  # fmt: skip


@click.command()
@click.argument("version")
@click.option("--reason", default="promoted by hand")
@json_option
@command
def promote(version: str, reason: str, as_json: bool) -> None:
    """Make VERSION the champion; returns when every replica serves it."""
    _move(version, reason, as_json)


@click.command()
@click.option("--reason", default="rolled back by hand")
@json_option
@command
def rollback(reason: str, as_json: bool) -> None:
    """Make the former champion champion again; returns when every replica serves it."""
    _move(None, reason, as_json)


def _move(version: str | None, reason: str, as_json: bool) -> None:
    from train.job import open_registry

    home = HomeSettings().open()
    registry = open_registry(home, TrainSettings())
    actor = getpass.getuser()
    moved = (
        registry.rollback(reason=reason, actor=actor)
        if version is None
        else registry.promote(version, reason=reason, actor=actor)
    )
    platform = home.platform()
    replicas = _converge(platform, moved.version) if platform else []
    if as_json:
        show({"version": moved.version, "digest": moved.digest, "replicas": replicas})
    else:
        where = f"on {len(replicas)} replicas" if platform else "; no platform runs here"
        click.echo(f"version {moved.version} is champion {where}")


def _converge(platform: Platform, version: str) -> list[str]:
    """Wait until every replica serves `version`; raises RegistryError that names those that lag."""
    deadline = time.monotonic() + CONVERGE_S
    lagging = ["no replica has reported"]
    while time.monotonic() < deadline:
        try:
            replicas = platform.get("/drift", timeout_s=5)["replicas"]
        except OSError as error:
            replicas, lagging = [], [f"the service does not answer: {error}"]
        if replicas:
            lagging = [r["replica"] for r in replicas if r["version"] != version]
            if not lagging:
                return [r["replica"] for r in replicas]
        time.sleep(0.2)
    raise RegistryError(
        f"version {version} is champion, but not served everywhere after {CONVERGE_S:.0f} s: {', '.join(lagging)}"
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
