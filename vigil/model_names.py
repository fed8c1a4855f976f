"""The registered model that the rooms name: one for all of them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from vigil.errors import BadSettings
from vigil.room_settings import ROOM_NAMES, read_settings_file, settings_path


def check_given_model_names() -> None:
    """Raise BadSettings where environment and settings file give the rooms different models.

    A room that is given none does not count: a command may need only one of them.
    """
    check_model_names(_given_model_names())


def check_model_names(names: Mapping[str, str]) -> None:
    """Raise BadSettings unless all names are the same; `names` are by what gives them."""
    if len(set(names.values())) > 1:
        shown = "; ".join(f"{given_by} = {name!r}" for given_by, name in names.items())
        raise BadSettings(f"{shown}: they must name one model")


def _given_model_names() -> dict[str, str]:
    objects = read_settings_file(settings_path())
    names: dict[str, str] = {}
    for room in ROOM_NAMES:
        variable = f"VIGIL_{room}_MODEL_NAME".upper()
        if variable in os.environ:
            names[variable] = os.environ[variable]
        elif "modelName" in objects.get(room, {}):
            names[f"{room}.modelName"] = str(objects[room]["modelName"])
    return names
