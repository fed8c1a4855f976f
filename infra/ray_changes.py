"""What a change of a rendered Ray cluster, or of its settings, does to the one that runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import yaml

from drift.settings import DriftSettings
from infra.diagnosis.objects import parse_quantity
from infra.differences import ObjectPath, differing_paths
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil.json_types import JsonObject
from vigil.room_settings import SETTINGS_FILE, Effect, fields_from_keys

CLUSTER_START_S = 600  # nodes, image and model of a second cluster, at most
IN_PLACE = "in place"
_STRATEGY = ("upgradeStrategy", "type")
_WORKER_COUNTS = ("replicas", "minReplicas", "maxReplicas")
_RECONFIGURED = ("status_code", "health_check_period_s", "graceful_shutdown_timeout_s")


@dataclass(frozen=True)
class RayChange:
    """One difference: its effect, and what runs twice meanwhile, for how many seconds at most."""

    effect: str
    what: str
    doubles: str = "nothing"
    seconds: int = 0


def ray_service_changes(old: JsonObject, new: JsonObject) -> Iterator[RayChange]:
    """What changes of a RayService."""
    before = old["spec"]
    after = new["spec"]
    yield from _serve_changes(before, after)
    yield from _second_cluster(before, after)
    yield from _group_changes(before["rayClusterConfig"], after["rayClusterConfig"])
    for path in differing_paths(_rest(before), _rest(after)):
        yield _way_in(after) if path == _STRATEGY else _in_place(path)


def _way_in(spec: JsonObject) -> RayChange:
    """Step by step KubeRay's own Gateway leads to the clusters; else that of the stack does."""
    gateway = "vigil-gateway, which KubeRay makes" if _is_incremental(spec) else "the stack's own"
    what = f"{'.'.join(_STRATEGY)} (requests come through another Gateway, {gateway})"
    return RayChange(Effect.REPLACEMENT, what)


def _is_incremental(spec: JsonObject) -> bool:
    return spec["upgradeStrategy"]["type"] == "NewClusterWithIncrementalUpgrade"


def _in_place(path: ObjectPath) -> RayChange:
    return RayChange(IN_PLACE, ".".join(path))


def _group_changes(old: JsonObject, new: JsonObject) -> Iterator[RayChange]:
    """Counts of workers, and groups that are added at the end."""
    yield from map(_in_place, filter(_is_count, differing_paths(old, new)))
    for group in _new_groups(old, new):
        yield RayChange(IN_PLACE, f"worker group {group} is added")


def _serve_changes(old: JsonObject, new: JsonObject) -> Iterator[RayChange]:
    for path in differing_paths(_serve_config(old), _serve_config(new)):
        yield RayChange(_serve_effect(path), f"serveConfigV2: {'.'.join(path)}")


def _serve_config(spec: JsonObject) -> JsonObject:
    return yaml.safe_load(spec["serveConfigV2"])


def _rest(spec: JsonObject) -> JsonObject:
    """A RayService but for what is compared by itself."""
    apart = ("serveConfigV2", "rayClusterConfig")
    return {key: value for key, value in spec.items() if key not in apart}


def _second_cluster(old: JsonObject, new: JsonObject) -> Iterator[RayChange]:
    """A second cluster, for all but counts of workers and groups at the end."""
    before = old["rayClusterConfig"]
    paths = list(_new_cluster_paths(before, new["rayClusterConfig"]))
    if paths:
        delay_s = int(new.get("rayClusterDeletionDelaySeconds", 60))
        seconds = CLUSTER_START_S + _migration_s(new) + delay_s
        what = ", ".join(map(".".join, paths)) + _migration(new)
        yield RayChange(Effect.SECOND_CLUSTER, what, _size(before), seconds)


def _migration(spec: JsonObject) -> str:
    """How requests move to the second cluster, where they do not at once."""
    if not _is_incremental(spec):
        return ""
    options = spec["upgradeStrategy"]["clusterUpgradeOptions"]
    step = f"{options['stepSizePercent']} %"
    return f" (requests move by {step} every {options['intervalSeconds']} s)"


def _migration_s(spec: JsonObject) -> int:
    if not _is_incremental(spec):
        return 0
    options = spec["upgradeStrategy"]["clusterUpgradeOptions"]
    steps = ceil(100 / options["stepSizePercent"])
    return steps * int(options["intervalSeconds"])


def _new_cluster_paths(old: JsonObject, new: JsonObject) -> Iterator[ObjectPath]:
    added = [("workerGroupSpecs", group) for group in _new_groups(old, new)]
    for path in differing_paths(old, new):
        if not _is_count(path) and path[:2] not in added:
            yield path


def _serve_effect(path: ObjectPath) -> str:
    """The effect of the setting that a path of the Serve configuration ends in.

    Of what is no setting Ray's own rules tell (serve/_private/config.py: what is not updated in
    place restarts replicas).
    """
    if path[0] == "applications" and len(path) == 2:
        return IN_PLACE  # a whole application is added, or goes
    if path[0] == "http_options":
        return Effect.SECOND_CLUSTER  # Serve cannot change these while it runs
    return _setting_effect(path) or _ray_effect(path)


def _setting_effect(path: ObjectPath) -> Effect | None:
    settings = DriftSettings if path[:2] == ("applications", "drift") else ServeSettings
    named = [name for name in path if name in settings.model_fields]
    return settings.effect_of(named[0]) if named else None


def _ray_effect(path: ObjectPath) -> Effect:
    return Effect.RECONFIGURE if path[-1] in _RECONFIGURED else Effect.ROLLING


def settings_map_changes(old: JsonObject, new: JsonObject) -> Iterator[RayChange]:
    """What changes in the file that training reads.

    What serving and the monitor read of it comes by the Serve configuration.
    """
    for path in differing_paths(_settings_of(old), _settings_of(new)):
        if path[0] == TrainSettings.room:
            name = fields_from_keys(TrainSettings, {path[1]: None}).popitem()[0]
            yield RayChange(TrainSettings.effect_of(name), ".".join(path))


def _settings_of(config_map: JsonObject) -> JsonObject:
    return yaml.safe_load(config_map["data"].get(SETTINGS_FILE, "")) or {}


def ray_cluster_changes(old: JsonObject, new: JsonObject) -> Iterator[RayChange]:
    """What changes of a RayCluster."""
    for path in differing_paths(old["spec"], new["spec"]):
        if _is_count(path):
            yield _in_place(path)
        else:
            yield RayChange(Effect.REPLACEMENT, f"{'.'.join(path)} (jobs that run are lost)")


def _is_count(path: ObjectPath) -> bool:
    return path[:1] == ("workerGroupSpecs",) and path[-1] in _WORKER_COUNTS


def _new_groups(old: JsonObject, new: JsonObject) -> list[str]:
    """Groups appended at the end, which KubeRay adds to the cluster that runs."""
    before = _group_names(old)
    after = _group_names(new)
    count = len(before)
    return after[count:] if after[:count] == before else []


def _group_names(cluster: JsonObject) -> list[str]:
    return [group["groupName"] for group in cluster["workerGroupSpecs"]]


def _size(cluster: JsonObject) -> str:
    """What a cluster asks for at rest."""
    pods = list(_pods_at_rest(cluster))
    cpu = sum(_amount(pod, "cpu") for pod in pods)
    memory = sum(_amount(pod, "memory") for pod in pods)
    return f"{len(pods)} pods, {cpu:g} CPU, {memory:g} GiB"


def _pods_at_rest(cluster: JsonObject) -> Iterator[JsonObject]:
    yield cluster["headGroupSpec"]["template"]
    for group in cluster["workerGroupSpecs"]:
        yield from [group["template"]] * group["replicas"]


def _amount(pod: JsonObject, kind: str) -> float:
    """CPUs, or GiB of memory, that the first container of a pod requests."""
    container = pod["spec"]["containers"][0]
    amount = parse_quantity(container["resources"]["requests"][kind])
    return amount / 2**30 if kind == "memory" else amount
