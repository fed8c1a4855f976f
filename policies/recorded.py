"""Resources from files: an exported state, a preview, a recorded program, or manifests.

- `pulumi stack export` and recorded programs:
  `{"deployment": {"resources": [{"urn", "type", "inputs", "outputs", ...}]}}`
- `pulumi preview --json`: `{"steps": [{"op", "newState": {...}}]}`
- a manifest, or a folder of manifests, as `vigil render` writes it
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pulumi_policy.deserialize import deserialize_properties
from pulumi_policy.proxy import unknown_checking_proxy

from policies.manifest_files import FileOutcome, read_manifests
from policies.subjects import Resource
from vigil.json_types import Fields

RecordedState = Mapping[str, Any]
_YAML_SUFFIXES = (".yaml", ".yml")
_FORMS = "give an exported state, a preview, a manifest or a folder of manifests"


class UnreadableFile(ValueError):
    """The file is none of the forms above; the message says which are."""


@dataclass(frozen=True)
class Recording:
    """What there is to judge, and what became of each file that was looked at."""

    resources: tuple[Resource, ...]
    files: tuple[FileOutcome, ...]


def read_recording(path: Path) -> Recording:
    """Return the resources of a file or a folder. Raises UnreadableFile."""
    if path.is_dir() or path.suffix.lower() in _YAML_SUFFIXES:
        return _of_manifests(path)
    content = _read_json(path)
    if "kind" in content:
        return _of_manifests(path)
    states = _states(content, path)
    resources = resources_of_states(states)
    outcome = _outcome(path, len(resources))
    return Recording(resources, (outcome,))


def _outcome(path: Path, objects: int) -> FileOutcome:
    if objects:
        return FileOutcome(str(path), "judged", objects)
    return FileOutcome(str(path), "skipped", reason="it has no resources")


def _of_manifests(path: Path) -> Recording:
    objects, files = read_manifests(path)
    return Recording(tuple(map(resource_of_manifest, objects)), tuple(files))


def _read_json(file: Path) -> RecordedState:
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UnreadableFile(f"{file} is not JSON: {_FORMS} ({error})") from error
    except OSError as error:
        raise UnreadableFile(f"{file} cannot be read: {error.strerror}") from error
    if isinstance(content, Mapping):
        return content
    raise UnreadableFile(f"{file} holds no JSON object: {_FORMS}")


def _states(content: RecordedState, file: Path) -> list[RecordedState]:
    try:
        return list(_present_states(content))
    except (AttributeError, LookupError, TypeError) as error:
        hint = "export it with `pulumi stack export`"
        neither = "holds neither deployment.resources nor steps"
        raise UnreadableFile(f"{file} {neither}: {hint}") from error


def _present_states(content: RecordedState) -> Iterator[RecordedState]:
    """Yield the states of what is there, or will be; each has a type and a URN."""
    for state in _all_states(content):
        names = {key: str(state[key]) for key in ("type", "urn")}
        if not state.get("delete"):
            yield {**state, **names}


def _all_states(content: RecordedState) -> Iterator[RecordedState]:
    if "steps" not in content:
        yield from (content.get("deployment") or content)["resources"]
        return
    for step in content["steps"]:
        if step["op"] != "delete" and step.get("newState"):
            yield step["newState"]


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


def resource_of_manifest(manifest: Fields) -> Resource:
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


def _manifest_name(metadata: Fields) -> str:
    parts = (metadata.get("namespace"), metadata.get("name"))
    return "/".join(part for part in parts if part)
