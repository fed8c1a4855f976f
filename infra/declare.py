"""`python -m infra.declare` writes what the settings are into Pulumi.yaml and docs/settings.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from infra.fields import PROJECT, ROOM_SETTINGS
from infra.settings import PlatformSettings
from infra.stack_keys import ROOM_SECRETS, SECRET_KEYS, declared_keys
from infra.stack_settings import ROOT
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
    "grafanaPassword": "password of Grafana's admin (required with monitoring)",
    "metricsKey": (
        "API key with which Prometheus asks for /metrics; its hash is among apiKeys "
        "(required with monitoring)"
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
`train/settings.py` and
`infra/fields.py`; a test fails when it is stale.

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

"""


def project_config() -> dict[str, dict[str, Any]]:
    """The section `config` of Pulumi.yaml."""
    fields = {to_camel(name): field for name, field in PlatformSettings.model_fields.items()}
    found = {}
    for key, kind in declared_keys().items():
        told: dict[str, Any] = {"description": _about(key, fields), "type": kind}
        if kind == "array":
            told["items"] = {"type": "string"}
        found[f"{PROJECT}:{key}"] = told | {"default": _default(key, kind, fields)}
    return found


def _about(key: str, fields: dict[str, FieldInfo]) -> str:
    if key in SECRET_KEYS:
        return _SECRET_DESCRIPTIONS[key]
    told = fields[key].description or ""
    return f"{told}: an object, docs/settings.md has its keys" if key in ROOM_SETTINGS else told


def _default(key: str, kind: str, fields: dict[str, FieldInfo]) -> Any:
    if kind == "object":
        return {}
    if key in SECRET_KEYS:
        return ""
    default = fields[key].default
    # A project's keys have no type for numbers with a fraction: they are texts.
    return str(default) if isinstance(default, float) else json.loads(json.dumps(default))


def pulumi_yaml(text: str) -> str:
    """Pulumi.yaml with the section `config` as the settings declare it."""
    head, _, _ = text.partition(_CONFIG_SECTION)
    lines = [head, _CONFIG_SECTION]
    for key, told in project_config().items():
        lines.append(f"  {key}:\n")
        lines.extend(f"    {name}: {_flow(name, value)}\n" for name, value in told.items())
    return "".join(lines)


def _flow(name: str, value: Any) -> str:
    """A value on one line of YAML; kinds are plain words."""
    plain = {"type": str(value), "items": "{type: string}"}
    return plain.get(name) or json.dumps(value, ensure_ascii=False)


def settings_md() -> str:
    """docs/settings.md."""
    parts = [_PAGE_HEAD]
    for name, cls in ROOM_SETTINGS.items():
        parts.append(f"\n## {name}\n\n{_first_line(cls)}\n\n")
        parts.append(
            "| key | environment | type | default | bounds | effect | description |\n"
            "|---|---|---|---|---|---|---|\n"
        )
        parts.extend(_row(cls, field) for field in cls.model_fields)
    parts.append(
        "\n## The stack itself\n\nKeys of infrastructure: `pulumi config set vigil:KEY VALUE`.\n\n"
    )
    parts.append("| key | type | default | bounds | description |\n|---|---|---|---|---|\n")
    for name, field in PlatformSettings.model_fields.items():
        if name not in ("environment", *ROOM_SETTINGS):
            default = json.dumps(field.default, default=str)
            parts.append(
                _line(
                    f"`{to_camel(name)}`",
                    _type(field),
                    f"`{default}`",
                    _bounds(field),
                    field.description,
                )
            )
    parts.append(_SECRETS_HEAD)
    parts.append("| key | reaches | description |\n|---|---|---|\n")
    for key in SECRET_KEYS:
        cls, field = ROOM_SECRETS.get(key, (None, ""))
        reaches = (
            f"`{cls.variable(field)}`, as a file in the pods that need it" if cls else "a Secret"
        )
        parts.append(_line(f"`{key}`", reaches, _SECRET_DESCRIPTIONS[key]))
    return "".join(parts)


def _row(cls: type[RoomSettings], name: str) -> str:
    field = cls.model_fields[name]
    secret = cls.is_secret(name)
    internal = cls.is_internal(name)
    default = "" if secret else f"`{json.dumps(field.default, default=str)}`"
    effect = (
        f"{cls.effect_of(name)}{'; a stack sets it itself' if internal else ''}"
        f"{'; a secret' if secret else ''}"
    )
    names = f"`{cls.key(name)}`", f"`{cls.variable(name)}`"
    return _line(*names, _type(field), default, _bounds(field), effect, field.description)


def _line(*cells: str | None) -> str:
    return "| " + " | ".join((cell or "").replace("|", "\\|") for cell in cells) + " |\n"


def _type(field: FieldInfo) -> str:
    told = field.annotation
    name = told.__name__ if isinstance(told, type) and "[" not in str(told) else str(told)
    return (
        name.replace("typing.", "")
        .replace("pathlib.", "")
        .replace("NoneType", "None")
        .replace("SecretStr", "text")
    )


def _bounds(field: FieldInfo) -> str:
    return ", ".join(filter(None, map(_bound, field.metadata)))


def _bound(one: Any) -> str:
    pattern = getattr(one, "pattern", None)
    if pattern is not None:
        return f"`{pattern}`"
    pairs = ((sign, getattr(one, name, None)) for name, sign in _BOUND_SIGNS.items())
    return ", ".join(f"{sign} {value}" for sign, value in pairs if value is not None)


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
        if not file.is_file() or file.read_text() != text:
            file.write_text(text)
            click.echo(f"wrote {file.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
