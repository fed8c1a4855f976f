"""What a setting is: declared once, with what changing it does.

Its value comes from arguments, the environment, secrets or a file. The rooms declare theirs by
`setting()`; whoever passes settings on (a Serve configuration, a stack, `vigil settings`) asks the
fields, and knows no names.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

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

from vigil.errors import BadSettings
from vigil.json_types import Fields, JsonObject

_T = TypeVar("_T")
ROOM_NAMES = ("serve", "drift", "train")
DEFAULT_MODEL_NAME = "vigil"
SETTINGS_FILE = "vigil.yaml"
SETTINGS_FILE_VARIABLE = "VIGIL_CONFIG"
# A folder with one file for each secret: a mounted Secret, which follows it.
SECRETS_VARIABLE = "VIGIL_SECRETS"

# Whether only what is given counts: a replica, or a stack, asks no environment.
_only_given: ContextVar[bool] = ContextVar("only_given", default=False)


class Effect(StrEnum):
    """What a change of a setting does to a platform that runs, from harmless to not."""

    IN_PROCESS = "in-process"
    RECONFIGURE = "reconfigure"
    ROLLING = "rolling restart"
    SECOND_CLUSTER = "second cluster"
    REPLACEMENT = "replacement"


LIVE_EFFECTS = (Effect.IN_PROCESS, Effect.RECONFIGURE)
_RESTART_EFFECTS = tuple(effect for effect in Effect if effect not in LIVE_EFFECTS)


@dataclass(frozen=True)
class Origin:
    """Where a value came from, and what it is called there.

    `kind` is "environment", "secret", "file" or "default".
    """

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
    """Declare a field of a room's settings.

    `internal`: the platform itself knows it (where its parts are), and a stack cannot say
    otherwise. `secret`: it is never in a file that is rendered, in arguments or in what is shown.
    """
    metadata = {"effect": effect.value, "secret": secret, "internal": internal}
    return Field(
        default=default,
        description=description,
        json_schema_extra=metadata,
        **bounds,
    )


class RoomSettings(BaseSettings):
    """Base of ServeSettings, DriftSettings and TrainSettings.

    What is given wins over the environment (`VIGIL_SERVE_MAX_ROWS`), that over a file of a secret,
    that over the settings file (`serve: {maxRows: 5}` in vigil.yaml), and that over the default.
    Raises BadSettings with every mistake.
    """

    room: ClassVar[str]

    def __init__(self, **values: Any) -> None:
        with _translate_validation_errors(type(self)):
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
        if _only_given.get():
            return (init_settings,)
        return init_settings, env_settings, _SecretFiles(cls), _SettingsFile(cls)

    @classmethod
    def from_values(cls, **values: Any) -> Self:
        """From these values alone, whatever environment and files of this process say."""
        token = _only_given.set(True)
        try:
            return cls(**values)
        finally:
            _only_given.reset(token)

    @classmethod
    def effect_of(cls, name: str) -> Effect:
        return Effect(cls._metadata(name)["effect"])

    @classmethod
    def is_secret(cls, name: str) -> bool:
        return cls._metadata(name)["secret"]

    @classmethod
    def is_internal(cls, name: str) -> bool:
        return cls._metadata(name)["internal"]

    @classmethod
    def _metadata(cls, name: str) -> JsonObject:
        metadata = cls.model_fields[name].json_schema_extra
        assert isinstance(metadata, dict), "declared without setting()"
        return metadata

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
            if not cls.is_secret(name) and cls.effect_of(name) in effects
        ]

    def json_values(self, *effects: Effect) -> JsonObject:
        """The values of the fields with these effects as JSON, without secrets."""
        return self.model_dump(mode="json", include=set(self.names(*effects)))

    def values_at_start(self) -> JsonObject:
        """What a process is started with: a change restarts it."""
        return self.json_values(*_RESTART_EFFECTS)

    def live_values(self) -> JsonObject:
        """What a process takes while it runs."""
        return self.json_values(*LIVE_EFFECTS)

    def with_live_values(self, config: Fields) -> Self:
        """These settings with other values of what may change while the process runs.

        Raises BadSettings.
        """
        names = self.names(*LIVE_EFFECTS)
        changes = {name: value for name, value in config.items() if name in names}
        return self.from_values(**(dict(self) | changes))

    @classmethod
    def read_secret(cls, name: str) -> SecretStr:
        """A secret as it is now: it may have been changed since the process began.

        Empty where nobody has set it.
        """
        value = EnvSettingsSource(cls)().get(name) or _SecretFiles(cls)().get(name) or ""
        return SecretStr(str(value))

    @classmethod
    def origins(cls) -> dict[str, Origin]:
        """Where the value of each field comes from, in this process."""
        environment = EnvSettingsSource(cls)()
        secrets = _SecretFiles(cls)()
        file = _SettingsFile(cls)()

        def origin(name: str) -> Origin:
            if name in environment:
                return Origin("environment", cls.variable(name))
            if name in secrets:
                return Origin("secret", str(_secrets_folder() / cls.variable(name)))
            if name in file:
                return Origin("file", str(settings_path()))
            return Origin("default")

        return {name: origin(name) for name in cls.model_fields}


def read_all_settings(readers: Iterable[Callable[[], _T]]) -> list[_T]:
    """What each reader gives; raises BadSettings with the mistakes of all of them."""
    settings: list[_T] = []
    mistakes: dict[str, None] = {}  # in their order, each once
    for reader in readers:
        try:
            settings.append(reader())
        except BadSettings as error:
            mistakes |= dict.fromkeys(error.mistakes)
    if mistakes:
        raise BadSettings(*mistakes)
    return settings


def settings_path() -> Path:
    """The settings file of this process: that of VIGIL_CONFIG, else vigil.yaml in the home.

    It need not exist.
    """
    named = os.environ.get(SETTINGS_FILE_VARIABLE)
    if named:
        return Path(named)
    home = os.environ.get("VIGIL_HOME") or ".vigil"
    return Path(os.path.expanduser(home)) / SETTINGS_FILE  # noqa: PTH111 - it never raises


def _secrets_folder() -> Path:
    return Path(os.environ.get(SECRETS_VARIABLE) or "/nonexistent")


class _WholeSource(PydanticBaseSettingsSource):
    """A source of settings that is read as a whole, not field by field."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError


class _SecretFiles(_WholeSource):
    """Secrets by files that are named as their variables, in the folder of VIGIL_SECRETS."""

    def __call__(self) -> JsonObject:
        cls: Any = self.settings_cls
        secrets = [name for name in cls.model_fields if cls.is_secret(name)]
        files = {name: _secrets_folder() / cls.variable(name) for name in secrets}
        return {
            name: file.read_text("utf-8").strip() for name, file in files.items() if file.is_file()
        }


class _SettingsFile(_WholeSource):
    """The room's object in the settings file.

    Keys that are none are passed on, and refused with the others that are wrong.
    """

    def __call__(self) -> JsonObject:
        cls: Any = self.settings_cls
        objects = read_settings_file(settings_path())
        return fields_from_keys(cls, objects.get(cls.room, {}))


def fields_from_keys(cls: type[RoomSettings], values: Fields) -> JsonObject:
    """camelCase keys as field names.

    One that names no field is passed on with its room, to be refused: it may look like one.
    """
    names = {to_camel(name): name for name in cls.model_fields}
    return {names.get(key, f"{cls.room}.{key}"): value for key, value in values.items()}


def read_settings_file(file: Path) -> dict[str, JsonObject]:
    """The objects of a settings file by room; nothing where there is none. Raises BadSettings."""
    if not file.is_file():
        if os.environ.get(SETTINGS_FILE_VARIABLE) is not None:
            raise BadSettings(f"{SETTINGS_FILE_VARIABLE}: there is no file {file}")
        return {}
    content = _read_yaml(file)
    if not _is_object_of_objects(content):
        raise BadSettings(f"{file}: it must have an object each for {', '.join(ROOM_NAMES)}")
    unknown = [str(name) for name in content if name not in ROOM_NAMES]
    if unknown:
        raise BadSettings(f"{file}: {', '.join(unknown)}: the objects are {', '.join(ROOM_NAMES)}")
    return {room: values or {} for room, values in content.items()}


def _read_yaml(file: Path) -> Any:
    """The content of a file; an empty object where it has none."""
    try:
        return yaml.safe_load(file.read_text("utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadSettings(f"{file} is not YAML: {error}") from error


def _is_object_of_objects(content: Any) -> bool:
    """Whether each value is an object, or nothing."""
    return isinstance(content, dict) and all(
        isinstance(values or {}, dict) for values in content.values()
    )


@contextmanager
def _translate_validation_errors(cls: type[RoomSettings]) -> Iterator[None]:
    """What pydantic refuses in the block is BadSettings: names, values, what is allowed."""
    try:
        yield
    except ValidationError as error:
        from_environment = {} if _only_given.get() else EnvSettingsSource(cls)()
        raise BadSettings(
            *(
                _mistake(cls, _Refusal(one["loc"], one["msg"], one["input"]), from_environment)
                for one in error.errors()
            )
        ) from error
    except SettingsError as error:  # a variable that must be JSON
        raise BadSettings(f"{cls.room}: {error}") from error


class _Refusal(NamedTuple):
    """One error of pydantic."""

    location: tuple[int | str, ...]
    message: str
    value: Any


def _mistake(cls: type[RoomSettings], refusal: _Refusal, from_environment: Fields) -> str:
    message = refusal.message.removeprefix("Value error, ")
    if not refusal.location:
        return f"{cls.room}: {message}"
    name = str(refusal.location[0])
    if name not in cls.model_fields:
        return _unknown_key(cls, name.removeprefix(f"{cls.room}."))
    shown_name = cls.variable(name) if name in from_environment else cls.key(name)
    shown_value = "a secret" if cls.is_secret(name) else _without_password(repr(refusal.value))
    return f"{shown_name} = {shown_value}: {message}"


def _without_password(text: str) -> str:
    """The text, with the password of a URL in it replaced."""
    return re.sub(r"(://[^:/@\s]*:)[^@\s]*@", r"\1****@", text)


def _unknown_key(cls: type[RoomSettings], name: str) -> str:
    keys = {to_camel(field).lower(): to_camel(field) for field in cls.model_fields}
    similar = difflib.get_close_matches(name.lower(), keys, 1)
    hint = f"docs/settings.md lists the keys of {cls.room}"
    if similar:
        hint = f"did you mean {cls.room}.{keys[similar[0]]}?"
    return f"{cls.room}.{name}: no such key; {hint}"
