"""`python -m infra.declare` writes what the settings are into Pulumi.yaml and docs/settings.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from infra.fields import ROOM_SETTINGS
from infra.place_fields import PROJECT
from infra.replacing import replace_each
from infra.settings import PlatformSettings
from infra.stack_keys import ROOM_SECRETS, SECRET_KEYS, declared_keys
from infra.stack_settings import ROOT
from vigil.json_types import JsonObject
from vigil.room_settings import RoomSettings

_CONFIG_SECTION = "config:\n"
_SECRET_DESCRIPTIONS = {
    "rayToken": "token that the Ray clusters and their clients share",
    "apiKeys": (
        "keys.json of `vigil keys`: hashes of the API keys "
        "(required without serve.oidcIssuer, and with monitoring)"
    ),
    "mlflowPassword": "password of MLflow's admin, which Vigil's pods use",
    "mlflowSecretKey": "key that MLflow's web pages sign their forms with",
    "redisPassword": "AUTH token of Redis (required with gcsFaultTolerance redis)",
    "incidentsPassword": "password of the PostgreSQL of drift.incidentsUrl, on target kubernetes",
    "grafanaPassword": "password of Grafana's admin (required with monitoring)",
    "metricsKey": (
        "API key with which Prometheus asks for /metrics and Grafana for incidents; its hash is "
        "among apiKeys (required with monitoring)"
    ),
    "alertReceiverSecret": (
        "URL of the alertReceiver, or PagerDuty's routing key (required with an alertReceiver)"
    ),
    "githubToken": (
        "token that may dispatch the workflow that retrains (required with drift.backend github)"
    ),
    "notify": "URLs of whom is told of incidents, separated by commas: see drift.notify",
    "notifySecret": "what CloudEvents about incidents are signed with",
    "streamWebhookSecret": (
        "what a webhook's messages are signed with "
        "(required with a webhook among serve.streamSinks)"
    ),
}
_OBJECT_NOTE = ": an object, docs/settings.md has its keys"
_PLAIN_TYPES = {
    "typing.": "",
    "pathlib.": "",
    "NoneType": "None",
    "SecretStr": "text",
}
_BOUND_SIGNS = {
    "ge": ">=",
    "gt": ">",
    "le": "<=",
    "lt": "<",
    "min_length": "at least",
    "max_length": "at most",
}
_PAGE_HEAD = """# Settings

Written by `make settings` from the fields of `serve/settings.py`, `drift/settings.py`, \
`train/settings.py`,
`infra/place_fields.py` and `infra/fields.py`; a test fails when it is stale.

A setting of a room has three names: its key in a stack (`pulumi config set --path \
vigil:serve.maxRows 100`) and, without
`vigil:`, in the settings file of a machine (`vigil.yaml` in the home, or `vigil up --config \
FILE`); and its environment variable.
What is given on the command line wins over the environment, that over the file, that over the \
default; in a stack only the
stack counts. `vigil settings` shows each value, where it came from and its effect.

What a change does to a platform that runs:

| effect | means |
|---|---|
| in-process | followed live: by Serve's autoscaler, or by the next training, or read anew \
each time |
| reconfigure | replicas (or the monitor) take it in turn, without a restart \
(Serve's `user_config`) |
| rolling restart | replicas, the monitor or stream consumers restart in turn (Serve's `args`) |
| second cluster | on a cluster a second RayCluster takes over; on one machine at the next \
`vigil up` |
| replacement | what holds it is made anew |

On a machine `vigil up` follows the file and takes what has changed within a second. On a \
cluster a `pulumi up` does; training
reads its settings from a ConfigMap that reaches pods about a minute later.
"""
_SECRETS_HEAD = """
## Secrets

`pulumi config set --secret vigil:KEY`; none is ever in a render, an export or an argument.

| key | reaches | description |
|---|---|---|
"""
_ROOM_COLUMNS = """\
| key | environment | type | default | bounds | effect | description |
|---|---|---|---|---|---|---|
"""
_STACK_HEAD = """
## The stack itself

Keys of infrastructure: `pulumi config set vigil:KEY VALUE`.

| key | type | default | bounds | description |
|---|---|---|---|---|
"""


def project_config() -> dict[str, JsonObject]:
    """The section `config` of Pulumi.yaml."""
    return {f"{PROJECT}:{key}": _declaration(key, kind) for key, kind in declared_keys().items()}


def _declaration(key: str, kind: str) -> JsonObject:
    items = {"items": {"type": "string"}} if kind == "array" else {}
    return {
        "description": _describe(key),
        "type": kind,
        **items,
        "default": _default(key, kind),
    }


def _field(key: str) -> FieldInfo:
    return {to_camel(name): field for name, field in PlatformSettings.model_fields.items()}[key]


def _describe(key: str) -> str:
    if key in SECRET_KEYS:
        return _SECRET_DESCRIPTIONS[key]
    description = _field(key).description or ""
    return f"{description}{_OBJECT_NOTE}" if key in ROOM_SETTINGS else description


def _default(key: str, kind: str) -> Any:
    if kind == "object":
        return {}
    return "" if key in SECRET_KEYS else _as_json(_field(key).default)


def _as_json(default: Any) -> Any:
    """A default; a project's keys have no type for numbers with a fraction: they are texts."""
    if isinstance(default, float):
        return str(default)
    return json.loads(json.dumps(default))


def pulumi_yaml(text: str) -> str:
    """Pulumi.yaml with the section `config` as the settings declare it."""
    head, _, _ = text.partition(_CONFIG_SECTION)
    return head + _CONFIG_SECTION + "".join(_config_lines())


def _config_lines() -> Iterator[str]:
    for key, declaration in project_config().items():
        yield f"  {key}:\n"
        yield from _declaration_lines(declaration)


def _declaration_lines(declaration: JsonObject) -> Iterator[str]:
    for name, value in declaration.items():
        yield f"    {name}: {_flow(name, value)}\n"


def _flow(name: str, value: Any) -> str:
    """A value on one line of YAML; kinds are plain words."""
    plain = {"type": str(value), "items": "{type: string}"}
    return plain.get(name) or json.dumps(value, ensure_ascii=False)


def settings_md() -> str:
    """docs/settings.md."""
    parts = (_rooms(), _stack(), _secrets())
    return _PAGE_HEAD + "".join(chain.from_iterable(parts))


def _rooms() -> Iterator[str]:
    for name, cls in ROOM_SETTINGS.items():
        yield f"\n## {name}\n\n{_first_line(cls)}\n\n"
        yield _ROOM_COLUMNS
        for field in cls.model_fields:
            yield _room_row(cls, field)


def _room_row(cls: type[RoomSettings], name: str) -> str:
    field = cls.model_fields[name]
    default = "" if cls.is_secret(name) else f"`{json.dumps(field.default, default=str)}`"
    names = (f"`{cls.key(name)}`", f"`{cls.variable(name)}`")
    what = (_type(field), default, _bounds(field))
    return _line(*names, *what, _effect(cls, name), field.description)


def _effect(cls: type[RoomSettings], name: str) -> str:
    parts: list[str] = [cls.effect_of(name)]
    if cls.is_internal(name):
        parts.append("a stack sets it itself")
    if cls.is_secret(name):
        parts.append("a secret")
    return "; ".join(parts)


def _stack() -> Iterator[str]:
    yield _STACK_HEAD
    for name, field in PlatformSettings.model_fields.items():
        if name not in ("environment", *ROOM_SETTINGS):
            yield _stack_row(name, field)


def _stack_row(name: str, field: FieldInfo) -> str:
    default = f"`{json.dumps(field.default, default=str)}`"
    what = (_type(field), default, _bounds(field))
    return _line(f"`{to_camel(name)}`", *what, field.description)


def _secrets() -> Iterator[str]:
    yield _SECRETS_HEAD
    for key in SECRET_KEYS:
        yield _line(f"`{key}`", _reach(key), _SECRET_DESCRIPTIONS[key])


def _reach(key: str) -> str:
    """Where a secret is read."""
    if key not in ROOM_SECRETS:
        return "a Secret"
    cls, name = ROOM_SECRETS[key]
    return f"`{cls.variable(name)}`, as a file in the pods that need it"


def _line(*cells: str | None) -> str:
    escaped = [(cell or "").replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |\n"


def _type(field: FieldInfo) -> str:
    return replace_each(_annotation_name(field.annotation), _PLAIN_TYPES)


def _annotation_name(annotation: Any) -> str:
    is_plain = isinstance(annotation, type) and "[" not in str(annotation)
    return annotation.__name__ if is_plain else str(annotation)


def _bounds(field: FieldInfo) -> str:
    return ", ".join(filter(None, map(_bound, field.metadata)))


def _bound(constraint: Any) -> str:
    pattern = getattr(constraint, "pattern", None)
    return ", ".join(_limits(constraint)) if pattern is None else f"`{pattern}`"


def _limits(constraint: Any) -> Iterator[str]:
    for name, sign in _BOUND_SIGNS.items():
        value = getattr(constraint, name, None)
        if value is not None:
            yield f"{sign} {value}"


def _first_line(cls: type[RoomSettings]) -> str:
    return (cls.__doc__ or "").strip().splitlines()[0]


def generated_files(root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """Each file with its text."""
    project = root / "Pulumi.yaml"
    yield project, pulumi_yaml(project.read_text())
    yield root / "docs" / "settings.md", settings_md()


def main() -> None:
    """Write the files that are stale."""
    for file, text in generated_files():
        if _is_stale(file, text):
            _write(file, text)


def _write(file: Path, text: str) -> None:
    file.write_text(text)
    click.echo(f"wrote {file.relative_to(ROOT)}")


def _is_stale(file: Path, text: str) -> bool:
    return not file.is_file() or file.read_text() != text


if __name__ == "__main__":
    main()
