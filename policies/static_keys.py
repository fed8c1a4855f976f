"""AWS keys that were written down: in an environment, a Secret, a ConfigMap or a chart's values."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from policies.cel import SECRETS_ARE_ENCODED, Cel, as_cel
from policies.pods import Container, each_container
from policies.resource_types import HELM_RELEASE, KUBE_CONFIG_MAP, KUBE_SECRETS, POD_TYPES
from policies.rule import Violation, rule
from policies.subjects import Context, Props, Resource, props_at

_KEY_NAMES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_KEY_VALUE = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b")
_CEL_NAMES = as_cel(_KEY_NAMES)
_CEL_VALUE = as_cel(_KEY_VALUE.pattern)


@rule(
    *POD_TYPES,
    each=each_container,
    message="{} is in its environment: remove it and give the service account a Pod Identity",
    fix="Delete the key; associate an IAM role with the service account"
    " (aws.eks.PodIdentityAssociation).",
    severity="critical",
    cel=Cel(
        found=f"it.env.filter(e, e.name in {_CEL_NAMES}"
        f' || e.?value.orValue("").matches({_CEL_VALUE})).map(e, e.name).join(", ")'
    ),
)
def no_static_keys_in_env(container: Container, _: Context) -> Violation:
    """No container is handed AWS keys."""
    return ", ".join(name for name, value in container.env.items() if _is_key(name, str(value)))


def _is_key(name: str, value: str) -> bool:
    return name in _KEY_NAMES or _KEY_VALUE.search(value) is not None


@dataclass(frozen=True)
class StoredText:
    """One text that a Secret, ConfigMap or Helm release holds, decoded."""

    key: str
    text: str


def each_stored_text(resource: Resource) -> Iterator[tuple[str, StoredText]]:
    """Yield (place, text) of everything that a Secret, ConfigMap or Helm release holds."""
    if resource.kind == "Release":
        yield from _leaves(props_at(resource.props, "values"), "values")
        return
    for part in ("data", "stringData", "binaryData"):
        is_encoded = resource.kind == "Secret" and part == "data"
        yield from _entries(props_at(resource.props, part), is_encoded=is_encoded)


def _entries(part: Props, *, is_encoded: bool) -> Iterator[tuple[str, StoredText]]:
    for key, value in part.items():
        text = str(value)
        if is_encoded:
            text = base64.b64decode(text, validate=False).decode(errors="replace")
        yield key, StoredText(key, text)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, StoredText]]:
    """Yield every text below a value of a chart, with its path."""
    if isinstance(value, str):
        yield path, StoredText(path.rsplit(".", 1)[-1], value)
    for key in _keys(value):
        yield from _leaves(value[key], f"{path}.{key}")


def _keys(value: Any) -> Any:
    """Return keys or positions of a collection, which the SDK may have wrapped; none of a leaf."""
    if hasattr(value, "items"):
        return list(value)
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return ()
    return range(len(value))


@rule(
    KUBE_SECRETS,
    KUBE_CONFIG_MAP,
    HELM_RELEASE,
    each=each_stored_text,
    message="it holds a static AWS key: remove it and use Pod Identity",
    fix="Delete the key in IAM as well: whoever could read the stack's state has it.",
    severity="critical",
    without_cel=SECRETS_ARE_ENCODED,
)
def no_static_keys_stored(stored: StoredText, _: Context) -> Violation:
    """No Secret, ConfigMap or chart value holds AWS keys."""
    names_key = any(name in stored.text for name in _KEY_NAMES)
    return names_key or _is_key(stored.key.upper(), stored.text)
