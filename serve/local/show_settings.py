"""`vigil settings`: every value, where it came from, and what changing it does."""

from __future__ import annotations

from operator import itemgetter

import click

from drift.settings import DriftSettings
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil.json_types import JsonObject
from vigil.room_settings import RoomSettings
from vigil.terminal import json_option, print_listing, report_errors

_ROOM_SETTINGS: tuple[type[RoomSettings], ...] = (ServeSettings, DriftSettings, TrainSettings)
_COLUMNS = ("key", "value", "from", "effect")


@click.command()
@click.argument("room", required=False, type=click.Choice([each.room for each in _ROOM_SETTINGS]))
@click.option("--changed", is_flag=True, help="only what is not the default")
@json_option
@report_errors
def settings(
    room: str | None,
    changed: bool,
    as_json: bool,
) -> None:
    """Settings with their values, where each came from, and what changing it does
    (docs/settings.md)."""
    shown: list[JsonObject] = []
    for room_settings in _ROOM_SETTINGS:
        if room in (None, room_settings.room):
            shown += _describe_fields(room_settings)
    if changed:
        shown = [field for field in shown if field["from"] != "default"]
    rows = map(itemgetter(*_COLUMNS), shown)
    print_listing(
        {"settings": shown},
        _COLUMNS,
        rows,
        as_json=as_json,
    )


def _describe_fields(room: type[RoomSettings]) -> list[JsonObject]:
    """One object for each field; of a secret it says whether it is set."""
    values = room()
    origins = room.origins()
    as_json = values.model_dump(mode="json")
    return [
        {
            "key": room.key(name),
            "variable": room.variable(name),
            "value": _is_set(values, name) if room.is_secret(name) else as_json[name],
            "from": str(origins[name]),
            "effect": room.effect_of(name).value,
        }
        for name in room.model_fields
    ]


def _is_set(values: RoomSettings, name: str) -> str:
    secret = getattr(values, name).get_secret_value()
    if secret:
        return "set"
    return "not set"
