"""What a change of the manifests will do to a running platform, before it does it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from infra.differences import ObjectPath, differing_paths
from infra.manifests.bindings import RAY_NAMESPACE
from infra.manifests.parts import names_of_manifest
from infra.manifests.ray_config import SETTINGS_MAP
from infra.ray_changes import (
    IN_PLACE,
    RayChange,
    ray_cluster_changes,
    ray_service_changes,
    settings_map_changes,
)
from infra.render import SETTINGS_JSON
from vigil.json_types import JsonObject
from vigil.room_settings import Effect

ROLLING_PODS = "rolling pods"
ROLLING_NODES = "rolling nodes"
# From harmless to not: what each effect means to who is served meanwhile.
EFFECTS = {
    Effect.IN_PROCESS.value: (
        "followed live: by the autoscaler, or by the next training; nothing restarts"
    ),
    IN_PLACE: "applied to what runs; nothing restarts",
    Effect.RECONFIGURE.value: (
        "replicas, or the monitor, take the new values in turn, without a restart"
    ),
    Effect.ROLLING.value: (
        "replicas, the monitor or stream consumers restart in turn; the others serve"
    ),
    ROLLING_PODS: "pods are replaced in turn",
    ROLLING_NODES: "Karpenter replaces nodes one by one; their pods move",
    Effect.SECOND_CLUSTER.value: (
        "a whole second cluster starts, traffic switches over, the first one goes"
    ),
    Effect.REPLACEMENT.value: (
        "deleted and made anew; refused by protected stacks where data is held"
    ),
}
_SETTINGS_MAP_KEY = f"ConfigMap/{RAY_NAMESPACE}/{SETTINGS_MAP}"
_HOLDS_DATA = ("Namespace/", "PersistentVolumeClaim/", "RayService/")
_PODS_IN_TURN = ("Deployment", "StatefulSet", "DaemonSet")
_NODE_CLASSES = ("EC2NodeClass", "NodeClass")
_REPLACED_BY_AWS = {  # settings whose change AWS cannot apply to what exists
    "vpc_cidr": "VPC and all that is in it",
    "zones": "subnets of the zones that go",
    "service_cidr": "EKS cluster",
    "region": "everything",
    "account_id": "everything",
    "environment": "everything",
    "target": "everything",
}
_WORKLOAD_EFFECTS: dict[ObjectPath, str] = {
    ("spec", "template"): ROLLING_PODS,
    ("spec", "selector"): Effect.REPLACEMENT,
}


@dataclass(frozen=True)
class RenderedChange:
    """One difference: where, what it does, what runs twice meanwhile, for how many seconds."""

    where: str
    effect: str
    what: str
    doubles: str = "nothing"
    seconds: int = 0

    def to_json(self) -> JsonObject:
        return {**asdict(self), "meaning": EFFECTS[self.effect]}

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of a table: effect, object, what, what runs twice, for how long."""
        return (
            self.effect,
            self.where,
            self.what,
            self.doubles,
            f"{self.seconds} s" if self.seconds else "",
        )

    @property
    def order(self) -> tuple[int, str, str]:
        """Where it stands in a list: the gravest comes first."""
        return -list(EFFECTS).index(self.effect), self.where, self.what


def compare_renderings(old: Mapping[str, str], new: Mapping[str, str]) -> list[RenderedChange]:
    """Every difference between two renderings (path -> text), the gravest first."""
    changes = list(_settings_changes(_settings_of(old), _settings_of(new)))
    before = _objects_of(old)
    after = _objects_of(new)
    for key in sorted(before.keys() | after.keys()):
        found = _changes(key, before.get(key), after.get(key))
        changes.extend(found)
    return sorted(changes, key=lambda change: change.order)


def _settings_of(files: Mapping[str, str]) -> JsonObject:
    return json.loads(files.get(SETTINGS_JSON, "{}"))


def _objects_of(files: Mapping[str, str]) -> dict[str, JsonObject]:
    """The objects of a rendering, by KIND/NAMESPACE/NAME."""
    objects = {}
    for path in files.keys() - {SETTINGS_JSON}:
        manifest = yaml.load(files[path], yaml.CSafeLoader)  # it is the safe one
        key = "/".join(names_of_manifest(manifest))
        objects[key] = manifest
    return objects


def _settings_changes(old: JsonObject, new: JsonObject) -> Iterator[RenderedChange]:
    """What the manifests do not show: AWS."""
    keys = old.keys() & new.keys() & _REPLACED_BY_AWS.keys()
    for key in sorted(keys):
        if not _is_kept(key, old[key], new[key]):
            what = f"{old[key]} -> {new[key]}: {_REPLACED_BY_AWS[key]}"
            yield RenderedChange(f"settings/{key}", Effect.REPLACEMENT, what)


def _is_kept(
    key: str,
    old: Any,
    new: Any,
) -> bool:
    """Whether nothing is replaced: zones may be added."""
    return old == new or (key == "zones" and set(old) <= set(new))


def _changes(
    key: str,
    old: JsonObject | None,
    new: JsonObject | None,
) -> Iterator[RenderedChange]:
    if old == new:
        return
    if old is None:
        yield RenderedChange(key, IN_PLACE, "is new")
    elif new is None:
        yield _removal(key)
    else:
        yield from _object_changes(key, old, new)


def _removal(key: str) -> RenderedChange:
    effect = Effect.REPLACEMENT if key.startswith(_HOLDS_DATA) else IN_PLACE
    return RenderedChange(key, effect, "is removed")


def _object_changes(
    key: str,
    old: JsonObject,
    new: JsonObject,
) -> Iterator[RenderedChange]:
    kind = key.partition("/")[0]
    if kind == "RayService":
        yield from _at(key, ray_service_changes(old, new))
    elif kind == "RayCluster":
        yield from _at(key, ray_cluster_changes(old, new))
    elif key == _SETTINGS_MAP_KEY:
        yield from _at(key, settings_map_changes(old, new))
    else:
        for path in differing_paths(old, new):
            yield RenderedChange(key, _plain_effect(kind, path), ".".join(path))


def _at(key: str, changes: Iterator[RayChange]) -> Iterator[RenderedChange]:
    for change in changes:
        yield RenderedChange(key, **asdict(change))


def _plain_effect(kind: str, path: ObjectPath) -> str:
    """The effect of a change of an object that is not Ray's."""
    if kind in _PODS_IN_TURN:
        return _workload_effect(path)
    if kind == "StorageClass":
        return Effect.REPLACEMENT
    if kind == "PersistentVolumeClaim":
        return _claim_effect(path)
    if kind == "Job" and path[:2] == ("spec", "template"):
        return Effect.REPLACEMENT
    return ROLLING_NODES if _makes_new_nodes(kind, path) else IN_PLACE


def _makes_new_nodes(kind: str, path: ObjectPath) -> bool:
    return kind in _NODE_CLASSES or (kind == "NodePool" and "template" in path)


def _workload_effect(path: ObjectPath) -> str:
    return _WORKLOAD_EFFECTS.get(path[:2], IN_PLACE)


def _claim_effect(path: ObjectPath) -> str:
    """A claim can grow, and change in nothing else."""
    grows = path[:1] != ("spec",) or "requests" in path
    return IN_PLACE if grows else Effect.REPLACEMENT
