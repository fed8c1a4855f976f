"""`vigil models`, `promote`, `rollback` and `recalibrate`."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from train.followed_registry import FollowedRegistry, local_registry
from train.registry import promotion
from train.registry.canary import Canary, parse_canary_steps
from train.registry.moves import champion_at, completed_moves
from vigil.errors import RegistryError
from vigil.json_types import JsonObject, Numbers
from vigil.service import ServiceOptions, service_options
from vigil.settings import HomeSettings
from vigil.terminal import (
    json_option,
    print_answer,
    print_listing,
    report_errors,
)

if TYPE_CHECKING:
    from train.registry.moves import Move
    from train.registry.versions import Version

_VERSION_COLUMNS = (
    "version",
    "aliases",
    "created",
    "trigger",
    "gate",
    "alert rate",
    "planted AUROC",
    "digest",
)
_MOVE_COLUMNS = ("at", "what", "from", "to", "by", "reason")


@click.group("models", invoke_without_command=True)
@click.option("--at", help="time (ISO 8601): the version that was champion then")
@json_option
@click.pass_context
def models_command(
    context: click.Context,
    at: str | None,
    as_json: bool,
) -> None:
    """Registered versions: aliases, metrics, digests; with --at the champion of that time."""
    if context.invoked_subcommand is not None:
        return
    if at:
        _show_champion_at(at=at, as_json=as_json)
    else:
        _show_versions(as_json=as_json)


@report_errors
def _show_versions(as_json: bool) -> None:
    registry = local_registry()
    versions = registry.versions()
    canary = registry.desired().canary
    document = {
        "models": list(map(_version_json, versions)),
        "canary": canary and _canary_json(canary),
    }
    rows = (_version_row(version, canary) for version in versions)
    print_listing(
        document,
        _VERSION_COLUMNS,
        rows,
        as_json=as_json,
    )


def _version_json(version: Version) -> JsonObject:
    return {
        **vars(version),
        "created": _iso(version.created),
    }


def _canary_json(canary: Canary) -> JsonObject:
    return json.loads(canary.to_json())


def _version_row(version: Version, canary: Canary | None) -> tuple[str, ...]:
    aliases = ", ".join(version.aliases)
    if canary and canary.version == version.version:
        aliases += " canary"
    return (
        version.version,
        aliases,
        _iso(version.created),
        version.tags.get("trigger", ""),
        version.tags.get("verdict", ""),
        _metric(version.metrics, "alert_rate"),
        _metric(version.metrics, "planted_auroc"),
        version.digest[:12],
    )


@report_errors
def _show_champion_at(at: str, as_json: bool) -> None:
    move = champion_at(local_registry(), _unix_time(at))
    if move is None:
        raise RegistryError(f"there was no champion at {at}")
    since = _iso(move.at)
    document = {
        "version": move.to,
        "digest": move.digest,
        "since": since,
        "reason": move.reason,
    }
    sentence = f"version {move.to} ({move.digest[:12]}), since {since}: {move.reason}"
    print_answer(document, sentence, as_json=as_json)


def _unix_time(at: str) -> float:
    try:
        moment = datetime.fromisoformat(at)
    except ValueError as error:
        raise RegistryError(
            f"--at {at!r} is not an ISO 8601 time, such as 2026-01-31T12:00:00Z"
        ) from error
    return moment.timestamp()  # of a time without zone it is this machine's


@models_command.command("history")
@json_option
@report_errors
def history_command(as_json: bool) -> None:
    """The promotion ledger: who moved what, when and why."""
    moves = completed_moves(local_registry())
    document = {"moves": list(map(_move_json, moves))}
    print_listing(
        document,
        _MOVE_COLUMNS,
        map(_move_row, moves),
        as_json=as_json,
    )


def _move_json(move: Move) -> JsonObject:
    return {
        **vars(move),
        "at": _iso(move.at),
        "gates": dict(move.gates),
    }


def _move_row(move: Move) -> tuple[str, ...]:
    return (
        _iso(move.at),
        move.kind,
        move.former or "none",
        move.to,
        move.actor,
        move.reason,
    )


@click.command("promote")
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
def promote_command(
    version: str,
    reason: str,
    plan: str | None,
    force: bool,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """Make VERSION the champion; returns when every replica serves it, with --canary once the
    canary has begun.

    A version that failed its gate is refused without --force. Where no service runs here and none
    is named, nobody is waited for: replicas follow the registry by themselves.
    """
    followed = FollowedRegistry(service, local_registry)
    if plan is None:
        # Who names a version by hand may change the features with it; replicas refuse that of an
        # alias moved by other means.
        promotion.promote_version(
            followed.registry,
            version,
            reason=reason,
            actor=getpass.getuser(),
            new_schema=True,
            force=force,
        )
        followed.wait_and_tell(as_json)
        return
    canary = promotion.start_canary(
        followed.registry,
        version,
        parse_canary_steps(plan),
        reason=reason,
        actor=getpass.getuser(),
        force=force,
    )
    followed.refresh_replicas()
    _tell_canary(canary, as_json)


def _tell_canary(canary: Canary, as_json: bool) -> None:
    document = {"canary": _canary_json(canary)}
    sentence = (
        f"version {canary.version} is a canary; the monitor promotes it at the end, "
        "or stops it: see `vigil models history`"
    )
    print_answer(document, sentence, as_json=as_json)


@click.command("rollback")
@click.option("--to", help="version to go back to (default: the one before the champion)")
@click.option("--reason", default="rolled back by hand")
@service_options
@json_option
@report_errors
def rollback_command(
    to: str | None,
    reason: str,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """Make a former champion champion again and end a canary; returns when every
    replica serves it."""
    followed = FollowedRegistry(service, local_registry)
    promotion.roll_back(
        followed.registry,
        reason=reason,
        actor=getpass.getuser(),
        to=to,
    )
    followed.wait_and_tell(as_json)


@click.command("recalibrate")
@click.option(
    "--since",
    type=float,
    default=0.0,
    help="captured rows from this Unix time on",
)
@click.option("--captured", help="folder or s3:// URL of captured rows (default: the home's)")
@click.option(
    "--alert-rate",
    type=click.FloatRange(
        0,
        0.5,
        min_open=True,
        max_open=True,
    ),
    help="alert budget (default: its own)",
)
@click.option(
    "--verdicts",
    "by_verdicts",
    is_flag=True,
    help="tell the incidents apart that people have confirmed and dismissed",
)
@service_options
@json_option
@report_errors
def recalibrate_command(
    since: float,
    captured: str | None,
    alert_rate: float | None,
    by_verdicts: bool,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """Register the champion's forest with a threshold fitted to the alert budget on
    captured rows, or to what people have said of incidents."""
    from train.judged import fetch_judged
    from train.recalibrate import recalibrate

    home = HomeSettings().open()
    judged = fetch_judged(service.require(home)) if by_verdicts else None
    version = recalibrate(
        local_registry(),
        home,
        since,
        alert_rate=alert_rate,
        captured=captured,
        judged=judged,
    )
    _tell_recalibrated(version, as_json)


def _tell_recalibrated(version: Version, as_json: bool) -> None:
    document = {
        "version": version.version,
        "digest": version.digest,
        "metrics": dict(version.metrics),
    }
    sentence = (
        f"version {version.version} has the champion's forest and a new threshold: "
        f"`vigil promote {version.version}` serves it"
    )
    print_answer(document, sentence, as_json=as_json)


def _iso(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _metric(metrics: Numbers, name: str) -> str:
    return f"{metrics[name]:.4f}" if name in metrics else ""
