"""`vigil incidents`, `vigil silence` and `vigil rules`: what people are told of, and their answers.

They ask the service, and import nothing of the monitor.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

import click

from vigil.errors import BadSettings
from vigil.json_types import Fields, JsonObject, without_none
from vigil.naming import name_first
from vigil.service import Service, ServiceOptions, service_options
from vigil.settings import HomeSettings
from vigil.terminal import (
    json_option,
    print_answer,
    print_json,
    print_listing,
    print_table,
    printable,
    report_errors,
    say,
)
from vigil.timestamps import iso_time, to_unix_seconds

_COLUMNS = ("id", "state", "onset", "rows", "peak", "grade", "entities", "features", "verdict")
_SILENCE_COLUMNS = ("id", "from", "to", "entity", "reason", "by")
_RULE_COLUMNS = ("id", "incident", "holds back", "until", "by", "reason")
_DEVIATION_COLUMNS = ("feature", "observed", "expected", "direction")
_MAX_NAMES = 3


@click.group("incidents", invoke_without_command=True)
@click.option("--state", type=click.Choice(["open", "closed"]), help="only those")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
)
@click.option("--next", "cursor", help="the page after: what the one before gave as `next`")
@service_options
@json_option
@click.pass_context
@report_errors
def incidents_command(
    context: click.Context,
    state: str | None,
    limit: int,
    cursor: str | None,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """Incidents, the latest first; `show`, `confirm` and `dismiss` take the id of one."""
    if context.invoked_subcommand is not None:
        return
    given = {"state": state, "limit": limit, "next": cursor}
    query = urlencode(without_none(given))
    page = _service(service).get(f"/incidents?{query}")
    rows = map(_incident_row, page["incidents"])
    print_listing(
        page,
        _COLUMNS,
        rows,
        as_json=as_json,
    )
    if page["next"] and not as_json:
        say(f"more: vigil incidents --next {page['next']}")


@incidents_command.command("show")
@click.argument("incident_id")
@service_options
@json_option
@report_errors
def show_incident(
    incident_id: str,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """One incident: what was observed and expected, and what people have said."""
    incident = _service(service).get(_incident_path(incident_id))
    if as_json:
        print_json(incident)
        return
    print_table(_COLUMNS, [_incident_row(incident)])
    print_table(_DEVIATION_COLUMNS, [_deviation_row(each) for each in incident["features"]])
    for verdict in incident.get("verdicts", ()):
        click.echo(printable(_verdict_sentence(verdict)))


@incidents_command.command("confirm")
@click.argument("incident_id")
@click.option("--reason", default="", help="kept with the verdict")
@service_options
@json_option
@report_errors
def confirm_incident(
    incident_id: str,
    reason: str,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """Say that an incident was one: a label for precision, recall and retraining."""
    _judge(service, incident_id, {"verdict": "confirm", "reason": reason}, as_json)


@incidents_command.command("dismiss")
@click.argument("incident_id")
@click.option("--reason", default="", help="kept with the verdict, and with the rule")
@click.option("--rule", is_flag=True, help="hold back incidents like this one from now on")
@click.option("--features", help="of the rule, separated by commas (default: the leading ones)")
@click.option("--every-entity", is_flag=True, help="the rule is for all entities")
@click.option("--until", help="the rule ends then (ISO 8601; default: never)")
@service_options
@json_option
@report_errors
def dismiss_incident(
    incident_id: str,
    reason: str,
    rule: bool,
    features: str | None,
    every_entity: bool,
    until: str | None,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """Say that an incident was none, and maybe never again."""
    body: JsonObject = {"verdict": "dismiss", "reason": reason}
    if rule:
        body["rule"] = _rule_body(features, every_entity, until)
    _judge(service, incident_id, body, as_json)


def _rule_body(
    features: str | None,
    every_entity: bool,
    until: str | None,
) -> JsonObject:
    body: JsonObject = {"until": until}
    if features:
        body["features"] = [name.strip() for name in features.split(",")]
    if every_entity:
        body["entity"] = None
    return body


def _judge(
    service: ServiceOptions,
    incident_id: str,
    body: Any,
    as_json: bool,
) -> None:
    judged = _service(service).post(f"{_incident_path(incident_id)}/verdict", body=body)
    if as_json:
        print_json(judged)
        return
    click.echo(printable(f"{incident_id}: {judged['incident']['verdict']}"))
    rule = judged.get("rule")
    if rule:
        click.echo(printable(f"rule {rule['id']} holds back {rule['sentence']}"))


@click.group("silence")
def silence_command() -> None:
    """Times in which rows open no incident: maintenance, for an entity or for all."""


@silence_command.command("add")
@click.option("--from", "since", help="ISO 8601, UTC where it has no zone (default: now)")
@click.option(
    "--to",
    "until",
    required=True,
    help="ISO 8601",
)
@click.option("--entity", help="whose rows (default: everybody's)")
@click.option("--reason", default="", help="kept with the silence")
@service_options
@json_option
@report_errors
def add_silence(
    since: str | None,
    until: str,
    entity: str | None,
    reason: str,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """Silence an entity, or all."""
    body = {
        "from": _checked_time("--from", since) if since else datetime.now(UTC).isoformat(),
        "to": _checked_time("--to", until),
        "entity": entity,
        "reason": reason,
    }
    silence = _service(service).post("/silences/add", body=body)
    _show_silence(silence, as_json)


@silence_command.command("list")
@service_options
@json_option
@report_errors
def list_silences(service: ServiceOptions, as_json: bool) -> None:
    """All silences, by their begin, also those of the calendar."""
    listed = _service(service).get("/silences")
    rows = map(_silence_row, listed["silences"])
    print_listing(
        listed,
        _SILENCE_COLUMNS,
        rows,
        as_json=as_json,
    )
    calendar = listed["calendar"]
    if calendar["error"] and not as_json:
        say(f"the calendar {calendar['source']} holds as it was read last: {calendar['error']}")


@silence_command.command("remove")
@click.argument("silence_id")
@service_options
@json_option
@report_errors
def remove_silence(
    silence_id: str,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """Take a silence back."""
    silence = _service(service).post("/silences/remove", body={"id": silence_id})
    _show_silence(silence, as_json)


def _show_silence(silence: Fields, as_json: bool) -> None:
    rows = map(_silence_row, [silence])
    print_listing(
        silence,
        _SILENCE_COLUMNS,
        rows,
        as_json=as_json,
    )


@click.group("rules")
def rules_command() -> None:
    """Dismissal rules: what is held back, and why."""


@rules_command.command("list")
@service_options
@json_option
@report_errors
def list_rules(service: ServiceOptions, as_json: bool) -> None:
    """All rules, the latest last."""
    listed = _service(service).get("/rules")
    print_listing(
        listed,
        _RULE_COLUMNS,
        map(_rule_row, listed["rules"]),
        as_json=as_json,
    )


@rules_command.command("remove")
@click.argument("rule_id")
@service_options
@json_option
@report_errors
def remove_rule(
    rule_id: str,
    service: ServiceOptions,
    as_json: bool,
) -> None:
    """Undo a rule: what it holds back now is announced."""
    rule = _service(service).post("/rules/remove", body={"id": rule_id})
    removed = printable(f"removed {rule['id']}: {rule['sentence']}")
    print_answer(rule, removed, as_json=as_json)


def _service(options: ServiceOptions) -> Service:
    return options.require(HomeSettings().open())


def _incident_path(incident_id: str) -> str:
    return f"/incidents/{quote(incident_id, safe='')}"


def _checked_time(option: str, text: str) -> str:
    """The text, if it is a time: a typing error should not travel."""
    try:
        to_unix_seconds(text)
    except ValueError as error:
        raise BadSettings(f"{option} {text!r} is no time: give ISO 8601") from error
    return text


def _incident_row(incident: Fields) -> Sequence[object]:
    names = [feature["feature"] for feature in incident["features"]]
    return (
        incident["id"],
        incident["state"],
        iso_time(incident["onset"], "seconds"),
        incident["rows"],
        f"{incident['peak_score']:.3f}",
        f"{incident['grade']:.2f}",
        name_first(incident["entities"], _MAX_NAMES, incident.get("entity_count")),
        name_first(names, _MAX_NAMES) or incident.get("title", ""),
        incident.get("verdict") or incident.get("held_by") or "",
    )


def _deviation_row(deviation: Fields) -> Sequence[object]:
    return (
        deviation["feature"],
        f"{deviation['observed']:g}",
        f"{deviation['expected']:g}",
        deviation["direction"],
    )


def _verdict_sentence(verdict: Fields) -> str:
    reason = f": {verdict['reason']}" if verdict["reason"] else ""
    at = iso_time(verdict["at"], "seconds")
    return f"{at} {verdict['by']}: {verdict['verdict']}{reason}"


def _silence_row(silence: Fields) -> Sequence[object]:
    return (
        silence["id"],
        iso_time(silence["since"], "seconds"),
        iso_time(silence["until"], "seconds"),
        silence["entity"] or "all",
        silence["reason"],
        silence["by"],
    )


def _rule_row(rule: Fields) -> Sequence[object]:
    until = rule["until"]
    return (
        rule["id"],
        rule["incident"],
        rule["sentence"],
        "for good" if until is None else iso_time(until, "seconds"),
        rule["by"],
        rule["reason"],
    )
