"""`vigil settings`: every value, where it came from, and what changing it does."""

from __future__ import annotations

from typing import Any

import click

from drift.settings import DriftSettings
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil.room_settings import RoomSettings
from vigil.terminal import json_option, print_json, print_table, report_errors

SETTINGS: tuple[type[RoomSettings], ...] = (ServeSettings, DriftSettings, TrainSettings)


@click.command()
@click.argument("room", required=False, type=click.Choice([cls.room for cls in SETTINGS]))
@click.option("--changed", is_flag=True, help="only what is not the default")
@json_option
@report_errors
def settings(room: str | None, changed: bool, as_json: bool) -> None:
    """Settings with their values, where each came from, and what changing it does (docs/settings.md)."""
    asked = [cls for cls in SETTINGS if room in (None, cls.room)]
    found = [one for cls in asked for one in rows(cls) if not changed or one["from"] != "default"]
    if as_json:
        print_json({"settings": found})
        return
    columns = ("key", "value", "from", "effect")
    print_table(columns, [[one[column] for column in columns] for one in found])


def rows(cls: type[RoomSettings]) -> list[dict[str, Any]]:
    """One for each field; of a secret it is told whether it is set."""
    told, origins = cls(), cls.origins()
    values = told.model_dump(mode="json")
    return [
        {
            "key": cls.key(name),
            "variable": cls.variable(name),
            "value": _shown(cls, name, getattr(told, name), values[name]),
            "from": str(origins[name]),
            "effect": cls.effect_of(name).value,
        }
        for name in cls.model_fields
    ]


def _shown(cls: type[RoomSettings], name: str, value: Any, as_json: Any) -> Any:
    if not cls.is_secret(name):
        return as_json
    return "set" if value.get_secret_value() else "not set"
