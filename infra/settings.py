"""The settings of an environment, checked together: from keys as a stack writes them."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError, model_validator
from pydantic_core import ErrorDetails

from infra.conflicts import find_conflicts
from infra.fields import ROOM_SETTINGS, PlatformFields
from infra.place_fields import PROJECT
from infra.stack_keys import MOVED_KEYS, ROOM_SECRETS, declared_keys
from vigil.errors import BadSettings
from vigil.json_types import Fields, JsonObject
from vigil.room_settings import RoomSettings, fields_from_keys


class PlatformSettings(PlatformFields):
    """One environment: its infrastructure, and what the rooms in it are told."""

    @property
    def zone_names(self) -> tuple[str, ...]:
        return tuple(f"{self.region}{letter}" for letter in self.zones)

    @property
    def image_ref(self) -> str:
        """The image that all pods of Vigil run."""
        registry = f"{self.account_id}.dkr.ecr.{self.region}.amazonaws.com"
        return self.image or f"{registry}/{self.name}/vigil:{self.image_tag}"

    @model_validator(mode="after")
    def _together(self) -> PlatformSettings:
        """What no key can tell alone."""
        conflicts = find_conflicts(self)
        if conflicts:
            raise ValueError("; ".join(conflicts))
        return self


def settings_from(environment: str, values: Fields) -> PlatformSettings:
    """Settings from keys as they are written in a stack file.

    Raises BadSettings with every mistake at once.
    """
    mistakes = list(_moved(values))
    rooms = _rooms(values, mistakes)
    with _collected(mistakes):
        fields = {
            "environment": environment,
            **rooms,
            **_own_values(values),
        }
        settings = PlatformSettings.model_validate(fields)
        if not mistakes:
            return settings
    raise BadSettings(*mistakes, about=f"wrong configuration of stack {environment!r}: ")


def _moved(values: Fields) -> Iterator[str]:
    for key in values:
        if key in MOVED_KEYS:
            yield f"{key}: is {PROJECT}:{MOVED_KEYS[key]} now"


def _rooms(values: Fields, mistakes: list[str]) -> dict[str, RoomSettings]:
    rooms: dict[str, RoomSettings] = {}
    for name, cls in ROOM_SETTINGS.items():
        with _collected(mistakes):
            rooms[name] = room_from(cls, values.get(name))
    return rooms


def _own_values(values: Fields) -> JsonObject:
    """Keys of the infrastructure itself, unknown ones among them."""
    return {key: values[key] for key in values.keys() - ROOM_SETTINGS.keys() - MOVED_KEYS.keys()}


def room_from(cls: type[RoomSettings], values: Any) -> RoomSettings:
    """The settings of a room from its object in a stack file; raises BadSettings."""
    if values is None:
        return cls.from_values()
    if not isinstance(values, Mapping):
        needed = "it must be an object with keys of docs/settings.md"
        raise BadSettings(f"{cls.room} = {values!r}: {needed}")
    fields = fields_from_keys(cls, values)
    refused = {name: reason for name in fields if (reason := _refusal(cls, name))}
    allowed = {name: fields[name] for name in fields.keys() - refused.keys()}
    return _room(cls, allowed, list(refused.values()))


def _room(cls: type[RoomSettings], fields: JsonObject, mistakes: list[str]) -> RoomSettings:
    """The settings of these fields; raises BadSettings with these mistakes, and theirs."""
    with _collected(mistakes):
        settings = cls.from_values(**fields)
        if not mistakes:
            return settings
    raise BadSettings(*mistakes)


def _refusal(cls: type[RoomSettings], name: str) -> str:
    """Why a stack may not set a field of a room; empty: it may, or there is none."""
    if name not in cls.model_fields:
        return ""
    if cls.is_internal(name):
        return f"{cls.key(name)}: the stack itself sets it"
    if cls.is_secret(name):
        return f"{cls.key(name)}: it is a secret: `{_set_secret(cls, name)}`"
    return ""


def _set_secret(cls: type[RoomSettings], name: str) -> str:
    """The command that sets a secret of a room."""
    return f"pulumi config set --secret {PROJECT}:{_secret_key(cls, name)} VALUE"


def _secret_key(cls: type[RoomSettings], name: str) -> str:
    keys = {secret: key for key, secret in ROOM_SECRETS.items()}
    return keys[cls, name]


@contextmanager
def _collected(mistakes: list[str]) -> Iterator[None]:
    """Add what is wrong to `mistakes` in place of raising it."""
    try:
        yield
    except BadSettings as error:
        mistakes.extend(error.mistakes)
    except ValidationError as error:
        mistakes.extend(map(_mistake, error.errors()))


def _mistake(error: ErrorDetails) -> str:
    """A line of one mistake: key, value, what is allowed."""
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:
        return message
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return f"{key}: no such key{_suggestion(key)}"
    return f"{key} = {error['input']!r}: {message}"


def _suggestion(key: str) -> str:
    near = difflib.get_close_matches(key, declared_keys(), 1)
    return f"; did you mean {near[0]}?" if near else ""
