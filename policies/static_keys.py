"""AWS keys that were written down: in an environment, a Secret, a ConfigMap or the values of a chart."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from typing import Any

from policies.pods import PODS, Container, Env, containers
from policies.rule import Context, Found, Resource, Subjects, rule

KEY_NAMES = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"}
KEY_VALUE = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")


@rule(
    *PODS,
    each=containers,
    message="{} is in its environment: remove it and give the service account a Pod Identity",
    fix="Delete the key; associate an IAM role with the service account (aws.eks.PodIdentityAssociation).",
    severity="critical",
)
def no_static_keys_in_env(container: Container, _: Context) -> Found:
    """No container is handed AWS keys."""
    found = Env(container.props)
    return ", ".join(
        name for name, value in found.items() if name in KEY_NAMES or KEY_VALUE.search(str(value))
    )


def entries(resource: Resource) -> Subjects:
    """(key, text) of everything that a Secret, ConfigMap or Helm release holds, decoded."""
    if resource.kind == "Release":
        yield from _leaves(resource.props.get("values") or {})
        return
    for part in ("data", "stringData", "binaryData"):
        for key, value in (resource.props.get(part) or {}).items():
            text = str(value)
            if resource.kind == "Secret" and part == "data":
                text = base64.b64decode(text, validate=False).decode(errors="replace")
            yield key, (key, text)


def _leaves(value: Any, path: str = "values") -> Iterator[tuple[str, tuple[str, str]]]:
    if hasattr(value, "items"):
        for key in value:
            yield from _leaves(value[key], f"{path}.{key}")
    elif isinstance(value, str):
        yield path, (path.rsplit(".", 1)[-1], value)
    elif hasattr(value, "__len__"):
        for number in range(len(value)):
            yield from _leaves(value[number], f"{path}.{number}")


@rule(
    "kubernetes:core/*:Secret",
    "kubernetes:core/*:ConfigMap",
    "kubernetes:helm.sh/*:Release",
    each=entries,
    message="it holds a static AWS key: remove it and use Pod Identity",
    fix="Delete the key in IAM as well: whoever could read the stack's state has it.",
    severity="critical",
)
def no_static_keys_stored(entry: tuple[str, str], _: Context) -> Found:
    """No Secret, ConfigMap or chart value holds AWS keys."""
    key, text = entry
    return (
        key.upper() in KEY_NAMES
        or bool(KEY_VALUE.search(text))
        or any(name in text for name in KEY_NAMES)
    )
