"""What a setting is: declared once, with what changing it does, and read from arguments, environment, secrets and a file.

The rooms declare theirs by `setting()`; whoever passes settings on (a Serve configuration, a stack, `vigil settings`) asks the
fields, and knows no names.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import yaml
from pydantic import Field, SecretStr, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsError,
)

from vigil.errors import VigilError

_T = TypeVar("_T")
ROOM_NAMES = ("serve", "drift", "train")
SETTINGS_FILE, SETTINGS_FILE_VARIABLE = "vigil.yaml", "VIGIL_CONFIG"
SECRETS_VARIABLE = (
    "VIGIL_SECRETS"  # a folder with one file for each secret: a mounted Secret, which follows it
)

# Whether only what is given counts: a replica, or a stack, asks no environment.
_alone: ContextVar[bool] = ContextVar("alone", default=False)


class Effect(StrEnum):
    """What a change of a setting does to a platform that runs, from harmless to not."""

    IN_PROCESS = "in-process"
    RECONFIGURE = "reconfigure"
    ROLLING = "rolling restart"
    SECOND_CLUSTER = "second cluster"
    REPLACEMENT = "replacement"


LIVE_EFFECTS = (Effect.IN_PROCESS, Effect.RECONFIGURE)


class BadSettings(VigilError):
    """Settings that are refused; the message names each, its value, and what is allowed. `lines` are its mistakes."""

    status = 422

    def __init__(self, message: str, *, lines: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.lines = tuple(lines) or (message,)


@dataclass(frozen=True)
class Origin:
    """Where a value came from: `kind` is "environment", "secret", "file" or "default", `name` what it is called there."""

    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


def setting(
    default: Any,
    effect: Effect,
    description: str,
    *,
    secret: bool = False,
    internal: bool = False,
    **bounds: Any,
) -> Any:
    """A field of a room's settings.

    `internal`: the platform itself knows it (where its parts are), and a stack cannot say otherwise. `secret`: it is never in
    a file that is rendered, in arguments or in what is shown.
    """
    more = {"effect": effect.value, "secret": secret, "internal": internal}
    return Field(default=default, description=description, json_schema_extra=more, **bounds)


def metadata(field: FieldInfo, key: str) -> Any:
    """One of effect, secret and internal of a field."""
    told = field.json_schema_extra
    assert isinstance(told, dict), "declared without setting()"
    return told[key]


class RoomSettings(BaseSettings):
    """Base of ServeSettings, DriftSettings and TrainSettings.

    What is given wins over the environment (`VIGIL_SERVE_MAX_ROWS`), that over a file of a secret, that over the settings file
    (`serve: {maxRows: 5}` in vigil.yaml), and that over the default.
    """

    room: ClassVar[str]

    def __init__(self, **values: Any) -> None:
        with _explain_refusals(type(self)):
            super().__init__(**values)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        if _alone.get():
            return (init_settings,)
        return init_settings, env_settings, _SecretFiles(cls), _File(cls)

    @classmethod
    def from_values(cls, **values: Any) -> Self:
        """From these values alone, whatever environment and files of this process say."""
        with without_environment():
            return cls(**values)

    @classmethod
    def effect_of(cls, name: str) -> Effect:
        return Effect(metadata(cls.model_fields[name], "effect"))

    @classmethod
    def is_secret(cls, name: str) -> bool:
        return bool(metadata(cls.model_fields[name], "secret"))

    @classmethod
    def is_internal(cls, name: str) -> bool:
        return bool(metadata(cls.model_fields[name], "internal"))

    @classmethod
    def variable(cls, name: str) -> str:
        """The environment variable of a field."""
        return f"VIGIL_{cls.room}_{name}".upper()

    @classmethod
    def key(cls, name: str) -> str:
        """Its name in a stack and in the settings file: serve.maxRows."""
        return f"{cls.room}.{to_camel(name)}"

    @classmethod
    def names(cls, *effects: Effect) -> list[str]:
        """The fields of these effects that are no secrets."""
        return [
            name
            for name in cls.model_fields
            if cls.effect_of(name) in effects and not cls.is_secret(name)
        ]

    def json_values(self, *effects: Effect) -> dict[str, Any]:
        """The values of the fields with these effects as JSON, without secrets."""
        return self.model_dump(mode="json", include=set(self.names(*effects)))

    def values_at_start(self) -> dict[str, Any]:
        """What a process is started with: a change restarts it."""
        return self.json_values(*(effect for effect in Effect if effect not in LIVE_EFFECTS))

    def live_values(self) -> dict[str, Any]:
        """What a process takes while it runs."""
        return self.json_values(*LIVE_EFFECTS)

    def with_live_values(self, config: Mapping[str, Any]) -> Self:
        """These settings with other values of what may change while the process runs; raises BadSettings."""
        known = {name: value for name, value in config.items() if name in self.names(*LIVE_EFFECTS)}
        return self.from_values(**(dict(self) | known))

    @classmethod
    def read_secret(cls, name: str) -> SecretStr:
        """A secret as it is now: it may have been changed since the process began. Empty where nobody has set it."""
        found = EnvSettingsSource(cls)().get(name) or _SecretFiles(cls)().get(name) or ""
        return SecretStr(str(found))

    @classmethod
    def origins(cls) -> dict[str, Origin]:
        """Where the value of each field comes from, in this process."""
        file = settings_path()
        by_source = (
            (EnvSettingsSource(cls)(), lambda name: Origin("environment", cls.variable(name))),
            (
                _SecretFiles(cls)(),
                lambda name: Origin("secret", str(_secrets_folder() / cls.variable(name))),
            ),
            (_File(cls)(), lambda name: Origin("file", str(file))),
        )
        found = {}
        for name in cls.model_fields:
            told = (origin(name) for values, origin in by_source if name in values)
            found[name] = next(told, Origin("default"))
        return found


def read_all_settings(readers: Iterable[Callable[[], _T]]) -> list[_T]:
    """What each reader gives; raises BadSettings with the mistakes of all of them."""
    found: list[_T] = []
    lines: list[str] = []
    for reader in readers:
        try:
            found.append(reader())
        except BadSettings as error:
            lines.extend(line for line in error.lines if line not in lines)
    if lines:
        raise BadSettings("; ".join(lines), lines=lines)
    return found


@contextmanager
def without_environment() -> Iterator[None]:
    """Within the block settings are made of what is given and of defaults."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def settings_path() -> Path:
    """The settings file of this process: that of VIGIL_CONFIG, else vigil.yaml in the home. It need not exist."""
    named = os.environ.get(SETTINGS_FILE_VARIABLE)
    home = os.environ.get("VIGIL_HOME") or ".vigil"
    return Path(named) if named else Path(home).expanduser() / SETTINGS_FILE


def _secrets_folder() -> Path:
    return Path(os.environ.get(SECRETS_VARIABLE) or "/nonexistent")


class _SecretFiles(PydanticBaseSettingsSource):
    """Secrets by files that are named as their variables, in the folder of VIGIL_SECRETS."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # of sources that are asked field by field

    def __call__(self) -> dict[str, Any]:
        cls: Any = self.settings_cls
        secrets = [name for name in cls.model_fields if cls.is_secret(name)]
        files = {name: _secrets_folder() / cls.variable(name) for name in secrets}
        return {name: file.read_text().strip() for name, file in files.items() if file.is_file()}


class _File(PydanticBaseSettingsSource):
    """The room's object in the settings file. Keys that are none are passed on, and refused with the others that are wrong."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # of sources that are asked field by field

    def __call__(self) -> dict[str, Any]:
        cls: Any = self.settings_cls
        return fields_from_keys(cls, _read_settings_file(settings_path()).get(cls.room, {}))


def fields_from_keys(cls: type[RoomSettings], values: Mapping[str, Any]) -> dict[str, Any]:
    """camelCase keys as field names. One that names no field is passed on with its room, to be refused: it may look like one."""
    names = {to_camel(name): name for name in cls.model_fields}
    return {names.get(key, f"{cls.room}.{key}"): value for key, value in values.items()}


def _read_settings_file(file: Path) -> dict[str, dict[str, Any]]:
    """The objects of a settings file by room; nothing where there is none. Raises BadSettings."""
    named = os.environ.get(SETTINGS_FILE_VARIABLE) is not None
    if not file.is_file():
        if named:
            raise BadSettings(f"{SETTINGS_FILE_VARIABLE}: there is no file {file}")
        return {}
    try:
        found = yaml.safe_load(file.read_text()) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadSettings(f"{file} is not YAML: {error}") from error
    if not isinstance(found, dict) or any(
        not isinstance(one or {}, dict) for one in found.values()
    ):
        raise BadSettings(f"{file}: it must have an object each for {', '.join(ROOM_NAMES)}")
    if odd := [str(name) for name in found if name not in ROOM_NAMES]:
        raise BadSettings(f"{file}: {', '.join(odd)}: the objects are {', '.join(ROOM_NAMES)}")
    return {room: one or {} for room, one in found.items()}


@contextmanager
def _explain_refusals(cls: type[RoomSettings]) -> Iterator[None]:
    """What pydantic refuses in the block is BadSettings with all mistakes: name, value, what is allowed."""
    try:
        yield
    except ValidationError as error:
        asked = {} if _alone.get() else EnvSettingsSource(cls)()
        lines = [_mistake(cls, dict(one), by_environment=set(asked)) for one in error.errors()]
        raise BadSettings("; ".join(lines), lines=lines) from error
    except SettingsError as error:  # a variable that must be JSON
        raise BadSettings(f"{cls.room}: {error}", lines=[f"{cls.room}: {error}"]) from error


def _mistake(cls: type[RoomSettings], one: dict[str, Any], by_environment: set[str]) -> str:
    message = str(one["msg"]).removeprefix("Value error, ")
    if not one["loc"]:
        return f"{cls.room}: {message}"
    name = str(one["loc"][0])
    if name not in cls.model_fields:
        name = name.removeprefix(f"{cls.room}.")
        keys = {to_camel(known).lower(): to_camel(known) for known in cls.model_fields}
        near = [keys[one] for one in difflib.get_close_matches(name.lower(), keys, 1)]
        hint = (
            f"; did you mean {cls.room}.{near[0]}?"
            if near
            else f"; docs/settings.md lists the keys of {cls.room}"
        )
        return f"{cls.room}.{name}: no such key{hint}"
    shown = cls.variable(name) if name in by_environment else cls.key(name)
    value = "a secret" if cls.is_secret(name) else repr(one["input"])
    return f"{shown} = {value}: {message}"
