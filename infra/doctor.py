"""What a change of the rendered manifests will do to a running platform, before it does it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import yaml

from drift.settings import DriftSettings
from infra.manifests.bindings import RAY_NAMESPACE
from infra.manifests.ray_config import SETTINGS_MAP
from infra.render import SETTINGS_JSON
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil.room_settings import SETTINGS_FILE, Effect, fields_from_keys

# From harmless to not: what each effect means to who is served meanwhile.
EFFECTS = {
    Effect.IN_PROCESS.value: "followed live: by the autoscaler, or by the next training; nothing restarts",
    "in place": "applied to what runs; nothing restarts",
    Effect.RECONFIGURE.value: "replicas, or the monitor, take the new values in turn, without a restart",
    Effect.ROLLING.value: "replicas, the monitor or stream consumers restart in turn; the others serve",
    "rolling pods": "pods are replaced in turn",
    "rolling nodes": "Karpenter replaces nodes one by one; their pods move",
    Effect.SECOND_CLUSTER.value: "a whole second cluster starts, traffic switches over, the first one goes",
    Effect.REPLACEMENT.value: "deleted and made anew; refused by protected stacks where data is held",
}
CLUSTER_START_S = 600  # nodes, image and model of a second cluster, at most
_SETTINGS_MAP_KEY = f"ConfigMap/{RAY_NAMESPACE}/{SETTINGS_MAP}"
_WORKER_COUNTS = ("replicas", "minReplicas", "maxReplicas")
_REPLACED_BY_AWS = {  # settings whose change AWS cannot apply to what exists
    "vpc_cidr": "VPC and all that is in it",
    "zones": "subnets of the zones that go",
    "service_cidr": "EKS cluster",
    "region": "everything",
    "account_id": "everything",
    "environment": "everything",
    "target": "everything",
}


@dataclass(frozen=True)
class RenderedChange:
    """One difference: where, what it does, what runs twice meanwhile and for how many seconds at most."""

    where: str
    effect: str
    what: str
    doubles: str = "nothing"
    seconds: int = 0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "meaning": EFFECTS[self.effect]}


def compare_renderings(old: Mapping[str, str], new: Mapping[str, str]) -> list[RenderedChange]:
    """Every difference between two renderings (path -> text), the gravest first."""
    found = list(
        _settings(
            json.loads(old.get(SETTINGS_JSON, "{}")), json.loads(new.get(SETTINGS_JSON, "{}"))
        )
    )
    before, after = _objects(old), _objects(new)
    for key in sorted(before.keys() | after.keys()):
        a, b = before.get(key), after.get(key)
        if a is None:
            found.append(RenderedChange(key, "in place", "is new"))
        elif b is None:
            lost = key.startswith(("Namespace/", "PersistentVolumeClaim/", "RayService/"))
            found.append(
                RenderedChange(key, Effect.REPLACEMENT if lost else "in place", "is removed")
            )
        elif a != b:
            found.extend(_object(key, a, b))
    order = list(EFFECTS)
    return sorted(
        found, key=lambda change: (-order.index(change.effect), change.where, change.what)
    )


def _objects(files: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    parsed = [
        yaml.load(text, yaml.CSafeLoader) for path, text in files.items() if path != SETTINGS_JSON
    ]  # it is the safe one
    return {
        "/".join(
            filter(None, (o["kind"], o["metadata"].get("namespace"), o["metadata"]["name"]))
        ): o
        for o in parsed
    }


def differing_paths(a: Any, b: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all leaves that differ; lists of named things are compared by name."""
    if isinstance(a, list) and isinstance(b, list):
        a, b = _named(a), _named(b)
    if isinstance(a, dict) and isinstance(b, dict):
        for key in sorted(a.keys() | b.keys()):
            if a.get(key) != b.get(key):
                yield from differing_paths(a.get(key), b.get(key), (*path, str(key)))
    elif a != b:
        yield path


def _named(values: list[Any]) -> dict[str, Any]:
    keys = [
        next(
            (str(v[k]) for k in ("name", "groupName", "key") if isinstance(v, dict) and k in v),
            str(i),
        )
        for i, v in enumerate(values)
    ]
    return (
        dict(zip(keys, values, strict=True))
        if len(set(keys)) == len(keys)
        else {str(i): v for i, v in enumerate(values)}
    )


def _settings(a: dict[str, Any], b: dict[str, Any]) -> Iterator[RenderedChange]:
    """What the manifests do not show: AWS."""
    for key in sorted(a.keys() & b.keys() & _REPLACED_BY_AWS.keys()):
        grown = key == "zones" and set(a[key]) <= set(b[key])
        if a[key] != b[key] and not grown:
            yield RenderedChange(
                f"settings/{key}",
                Effect.REPLACEMENT,
                f"{a[key]} -> {b[key]}: {_REPLACED_BY_AWS[key]}",
            )


def _object(key: str, a: dict[str, Any], b: dict[str, Any]) -> Iterator[RenderedChange]:
    kind = key.split("/")[0]
    by_kind = {"RayService": _ray_service, "RayCluster": _ray_cluster}
    if kind in by_kind:
        yield from by_kind[kind](key, a, b)
        return
    if key == _SETTINGS_MAP_KEY:
        yield from _settings_file(key, a, b)
        return
    for path in differing_paths(a, b):
        yield RenderedChange(key, _plain_effect(kind, path), ".".join(path))


def _plain_effect(kind: str, path: tuple[str, ...]) -> str:
    if kind in ("Deployment", "StatefulSet", "DaemonSet"):
        return (
            "rolling pods"
            if path[:2] == ("spec", "template")
            else Effect.REPLACEMENT
            if path[:2] == ("spec", "selector")
            else "in place"
        )
    if kind == "StorageClass" or (
        kind == "PersistentVolumeClaim" and path[:1] == ("spec",) and "requests" not in path
    ):
        return Effect.REPLACEMENT
    if kind == "Job" and path[:2] == ("spec", "template"):
        return Effect.REPLACEMENT
    if kind in ("EC2NodeClass", "NodeClass") or (kind == "NodePool" and "template" in path):
        return "rolling nodes"
    return "in place"


def _ray_service(key: str, a: dict[str, Any], b: dict[str, Any]) -> Iterator[RenderedChange]:
    a, b = a["spec"], b["spec"]
    configs = [yaml.safe_load(one["serveConfigV2"]) for one in (a, b)]
    for path in differing_paths(*configs):
        yield RenderedChange(key, _serve_effect(path), "serveConfigV2: " + ".".join(path))
    clusters = a["rayClusterConfig"], b["rayClusterConfig"]
    new_groups = _new_groups(*clusters)
    paths = [
        path
        for path in differing_paths(*clusters)
        if not _is_count(path) and not (path[:1] == ("workerGroupSpecs",) and path[1] in new_groups)
    ]
    if paths:
        seconds = CLUSTER_START_S + int(b.get("rayClusterDeletionDelaySeconds", 60))
        yield RenderedChange(
            key,
            Effect.SECOND_CLUSTER,
            ", ".join(".".join(p) for p in paths),
            _size(clusters[0]),
            seconds,
        )
    for path in differing_paths(*clusters):
        if _is_count(path):
            yield RenderedChange(key, "in place", ".".join(path))
    for group in new_groups:
        yield RenderedChange(key, "in place", f"worker group {group} is added")
    rest = [
        {k: v for k, v in one.items() if k not in ("serveConfigV2", "rayClusterConfig")}
        for one in (a, b)
    ]
    for path in differing_paths(rest[0], rest[1]):
        yield RenderedChange(key, "in place", ".".join(path))


def _serve_effect(path: tuple[str, ...]) -> str:
    """The effect of the setting that a path of the Serve configuration ends in; of what is no setting Ray's own rules tell
    (serve/_private/config.py: what is not updated in place restarts replicas)."""
    if path[0] == "applications" and len(path) == 2:
        return "in place"  # a whole application is added, or goes
    if path[0] == "http_options":
        return Effect.SECOND_CLUSTER  # Serve cannot change these while it runs
    settings = DriftSettings if path[:2] == ("applications", "drift") else ServeSettings
    told = next((name for name in path if name in settings.model_fields), None)
    if told is not None:
        return settings.effect_of(told)
    if path[-1] in ("status_code", "health_check_period_s", "graceful_shutdown_timeout_s"):
        return Effect.RECONFIGURE
    return Effect.ROLLING


def _settings_file(key: str, a: dict[str, Any], b: dict[str, Any]) -> Iterator[RenderedChange]:
    """The file that training reads; what serving and the monitor read of it comes by the Serve configuration."""
    old, new = (yaml.safe_load(one["data"].get(SETTINGS_FILE, "")) or {} for one in (a, b))
    for path in differing_paths(old, new):
        if path[0] == TrainSettings.room:
            name = fields_from_keys(TrainSettings, {path[1]: None}).popitem()[0]
            yield RenderedChange(key, TrainSettings.effect_of(name), ".".join(path))


def _ray_cluster(key: str, a: dict[str, Any], b: dict[str, Any]) -> Iterator[RenderedChange]:
    for path in differing_paths(a["spec"], b["spec"]):
        effect = "in place" if _is_count(path) else Effect.REPLACEMENT
        yield RenderedChange(
            key,
            effect,
            ".".join(path) + ("" if effect == "in place" else " (jobs that run are lost)"),
        )


def _is_count(path: tuple[str, ...]) -> bool:
    return path[:1] == ("workerGroupSpecs",) and path[-1] in _WORKER_COUNTS


def _new_groups(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """Groups appended at the end, which KubeRay adds to the cluster that runs."""
    names = [[group["groupName"] for group in cluster["workerGroupSpecs"]] for cluster in (a, b)]
    return names[1][len(names[0]) :] if names[1][: len(names[0])] == names[0] else []


def _size(cluster: dict[str, Any]) -> str:
    """What a cluster asks for at rest."""
    heads = [(1, cluster["headGroupSpec"]["template"])]
    workers = [(group["replicas"], group["template"]) for group in cluster["workerGroupSpecs"]]
    cpu = sum(count * _amount(pod, "cpu") for count, pod in heads + workers)
    memory = sum(count * _amount(pod, "memory") for count, pod in heads + workers)
    return f"{sum(count for count, _ in heads + workers)} pods, {cpu:g} CPU, {memory:g} GiB"


def _amount(pod: dict[str, Any], kind: str) -> float:
    text = str(pod["spec"]["containers"][0]["resources"]["requests"][kind])
    units = {"m": 1e-3, "Mi": 1 / 1024, "Gi": 1.0, "Ti": 1024.0}
    for suffix, factor in units.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)
