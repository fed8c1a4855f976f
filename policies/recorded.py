"""Resources from files: an exported state, a preview, a recorded program, or rendered manifests.

- `pulumi stack export` and recorded programs:
  `{"deployment": {"resources": [{"urn", "type", "inputs", "outputs", ...}]}}`
- `pulumi preview --json`: `{"steps": [{"op", "newState": {...}}]}`
- a folder of YAML, as `vigil render` writes it
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pulumi_policy.deserialize import deserialize_properties
from pulumi_policy.proxy import unknown_checking_proxy

from policies.subjects import Resource

RecordedState = Mapping[str, Any]


class UnreadableFile(ValueError):
    """The file is none of the forms above; the message says which are."""


def read_resources(path: Path) -> tuple[Resource, ...]:
    """Return the resources of a file or folder. Raises UnreadableFile."""
    if path.is_dir():
        return tuple(map(resource_of_manifest, _manifests(path)))
    return resources_of_states(_states(_read_json(path), path))


def _manifests(folder: Path) -> Iterator[dict[str, Any]]:
    for file in sorted([*folder.rglob("*.yaml"), *folder.rglob("*.yml")]):
        yield from filter(None, yaml.safe_load_all(file.read_text()))


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        forms = "give an exported state, a preview or a folder of manifests"
        raise UnreadableFile(f"{file} is not JSON: {forms} ({error})") from error


def _states(content: Any, file: Path) -> list[RecordedState]:
    if "steps" in content:
        steps = [step for step in content["steps"] if step["op"] != "delete"]
        return [step["newState"] for step in steps if step.get("newState")]
    states = (content.get("deployment") or content).get("resources")
    if states is None:
        hint = "export it with `pulumi stack export`"
        raise UnreadableFile(f"{file} holds neither deployment.resources nor steps: {hint}")
    return [state for state in states if not state.get("delete")]


def resources_of_states(states: Iterable[RecordedState]) -> tuple[Resource, ...]:
    """Return the resources of states as the engine writes them.

    What a provider added (outputs) lies over what was asked for (inputs).
    """
    return tuple(_resource(state) for state in states if not state["type"].startswith("pulumi:"))


def _resource(state: RecordedState) -> Resource:
    props = deserialize_properties({**(state.get("inputs") or {}), **(state.get("outputs") or {})})
    return Resource(
        type=state["type"],
        name=state["urn"].rsplit("::", 1)[-1],
        urn=state["urn"],
        props=unknown_checking_proxy(props),
        protect=bool(state.get("protect")),
        links=state.get("propertyDependencies") or {},
    )


def resource_of_manifest(manifest: Mapping[str, Any]) -> Resource:
    """Return a Kubernetes object as the resource that Pulumi would make of it."""
    version = manifest["apiVersion"]
    group = version if "/" in version else f"core/{version}"
    type_ = f"kubernetes:{group}:{manifest['kind']}"
    name = _manifest_name(manifest.get("metadata") or {})
    return Resource(
        type_,
        name,
        urn=f"urn:pulumi:rendered::vigil::{type_}::{name}",
        props=unknown_checking_proxy(dict(manifest)),
    )


def _manifest_name(metadata: Mapping[str, Any]) -> str:
    parts = (metadata.get("namespace"), metadata.get("name"))
    return "/".join(part for part in parts if part)
