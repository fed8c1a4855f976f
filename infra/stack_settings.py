"""Reads the settings of a stack: from its files, or from the program that Pulumi runs.

The only reader of `pulumi.Config`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from infra.place_fields import PROJECT
from infra.settings import PlatformSettings, settings_from
from infra.stack_keys import OPTIONAL_SECRETS, SECRET_KEYS, declared_keys, needed_secrets
from vigil.errors import BadSettings
from vigil.json_types import JsonObject

if TYPE_CHECKING:
    import pulumi

ROOT = Path(__file__).parent.parent
_PREFIX = f"{PROJECT}:"


def read_files(environment: str, root: Path = ROOT) -> PlatformSettings:
    """The settings of a stack from its files alone: no Pulumi, no secrets."""
    file = root / f"Pulumi.{environment}.yaml"
    if not file.is_file():
        raise BadSettings(f"there is no {file.name}; environments here: {_environments(root)}")
    config = _config_of(file)
    plain = [key for key in _own_keys(config) if key not in SECRET_KEYS]
    return settings_from(environment, {key: config[f"{_PREFIX}{key}"] for key in plain})


def _config_of(file: Path) -> JsonObject:
    """The section `config` of a stack's file; raises BadSettings where there can be none."""
    try:
        content = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadSettings(f"{file.name} is no YAML: {error}") from error
    config = content
    if isinstance(content, dict):
        config = content.get("config") or {}
    if isinstance(config, dict):
        return config
    raise BadSettings(f"{file.name}: `config` must have keys such as {_PREFIX}image")


def _environments(root: Path) -> str:
    names = [path.suffixes[0][1:] for path in root.glob("Pulumi.*.yaml")]
    return ", ".join(sorted(names))


def _own_keys(names: Iterable[str]) -> list[str]:
    """Keys of this project, without its name."""
    return [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]


def read_config() -> PlatformSettings:
    """The settings of the stack that Pulumi runs."""
    import pulumi

    config = pulumi.Config(PROJECT)
    # A key that is misspelt would otherwise be ignored, and its default used.
    unknown = [key for key in _keys_of_stack() if key not in declared_keys()]
    values = dict(_declared_values(config))
    values |= {key: config.get(key) for key in unknown}
    return settings_from(pulumi.get_stack(), values)


def _declared_values(config: pulumi.Config) -> Iterator[tuple[str, Any]]:
    for key, kind in declared_keys().items():
        if key in SECRET_KEYS:
            continue
        text = config.get(key)
        if text is not None:
            yield key, _parse(text, kind)


def _parse(text: str, kind: str) -> Any:
    """A value that Pulumi hands over as text.

    pydantic turns scalars into their type; lists and objects are YAML.
    """
    if kind in ("array", "object"):
        return yaml.safe_load(text)
    return text


def _keys_of_stack() -> list[str]:
    """Every key of this project that the stack sets.

    `pulumi.Config` itself can only be asked for keys one knows.
    """
    from pulumi.runtime.config import CONFIG, get_config_env

    keys = get_config_env() | CONFIG.get()
    return _own_keys(keys)


def read_secrets(settings: PlatformSettings) -> JsonObject:
    """The secrets that these settings need, as secret Outputs.

    Raises BadSettings that names all that are not set, and all that the stack file holds as plain
    text.
    """
    import pulumi

    config = pulumi.Config(PROJECT)
    keys = _keys_to_read(settings, config)
    if complaints := [*_complaints(config, keys)]:
        raise BadSettings(". ".join(complaints))
    return {key: config.get_secret(key) for key in keys}


def _complaints(config: pulumi.Config, keys: list[str]) -> Iterator[str]:
    missing = [key for key in keys if not config.get(key)]
    plain = [key for key in SECRET_KEYS if config.get(key) and not _is_encrypted(key)]
    if missing:
        yield f"not set: {_set_commands(missing)}"
    if plain:
        yield f"stored as plain text: {_set_commands(plain)}"


def _keys_to_read(settings: PlatformSettings, config: pulumi.Config) -> list[str]:
    """Secrets that are needed, and optional ones that are set.

    A cluster that kept its state in Redis removes it when it goes, with the password.
    """
    needed = needed_secrets(settings)
    optional = [key for key in _optional_keys(config) if key not in needed]
    return [*needed, *optional]


def _optional_keys(config: pulumi.Config) -> list[str]:
    return [key for key in OPTIONAL_SECRETS if config.get(key)]


def _set_commands(keys: list[str]) -> str:
    return "; ".join(f"`pulumi config set --secret {_PREFIX}{key} VALUE`" for key in keys)


def _is_encrypted(key: str) -> bool:
    from pulumi.runtime.config import get_config_secret_keys_env, is_config_secret

    name = f"{_PREFIX}{key}"
    return is_config_secret(name) or name in get_config_secret_keys_env()
