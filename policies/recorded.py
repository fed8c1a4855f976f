"""Resources from files: an exported state, a preview, a recorded program, or rendered Kubernetes manifests.

- `pulumi stack export` and recorded programs: `{"deployment": {"resources": [{"urn", "type", "inputs", "outputs", ...}]}}`
- `pulumi preview --json`: `{"steps": [{"op", "newState": {...}}]}`
- a folder of YAML, as `vigil render` writes it
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pulumi_policy.deserialize import deserialize_properties
from pulumi_policy.proxy import unknown_checking_proxy

from policies.rule import Resource


class UnreadableFile(ValueError):
    """The file is none of the forms above; the message says which are."""


def read(path: Path) -> tuple[Resource, ...]:
    """The resources of a file or folder. Raises UnreadableFile."""
    if path.is_dir():
        files = sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])
        return tuple(
            manifest(each)
            for file in files
            for each in yaml.safe_load_all(file.read_text())
            if each
        )
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise UnreadableFile(
            f"{path} is not JSON: give an exported state, a preview or a folder of manifests ({error})"
        ) from error
    if "steps" in content:
        return from_states(
            step["newState"]
            for step in content["steps"]
            if step.get("newState") and step["op"] != "delete"
        )
    states = (content.get("deployment") or content).get("resources")
    if states is None:
        raise UnreadableFile(
            f"{path} holds neither deployment.resources nor steps: export it with `pulumi stack export`"
        )
    return from_states(state for state in states if not state.get("delete"))


def from_states(states: Iterable[Mapping[str, Any]]) -> tuple[Resource, ...]:
    """Resources of states as the engine writes them; what a provider added (outputs) lies over what was asked for (inputs)."""
    return tuple(_resource(state) for state in states if not state["type"].startswith("pulumi:"))


def _resource(state: Mapping[str, Any]) -> Resource:
    props = deserialize_properties({**(state.get("inputs") or {}), **(state.get("outputs") or {})})
    return Resource(
        type=state["type"],
        name=state["urn"].rsplit("::", 1)[-1],
        urn=state["urn"],
        props=unknown_checking_proxy(props),
        protect=bool(state.get("protect")),
        links=state.get("propertyDependencies") or {},
    )


def manifest(item: Mapping[str, Any]) -> Resource:
    """A Kubernetes object as the resource that Pulumi would make of it."""
    version = item["apiVersion"] if "/" in item["apiVersion"] else f"core/{item['apiVersion']}"
    type_, metadata = f"kubernetes:{version}:{item['kind']}", item.get("metadata") or {}
    name = "/".join(part for part in (metadata.get("namespace"), metadata.get("name")) if part)
    return Resource(
        type_,
        name,
        f"urn:pulumi:rendered::vigil::{type_}::{name}",
        unknown_checking_proxy(dict(item)),
    )
