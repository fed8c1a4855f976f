"""What a change of a rendered Ray cluster, or of its settings, does to the one that runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from drift.settings import DriftSettings
from infra.differences import ObjectPath, differing_paths
from serve.settings import ServeSettings
from train.settings import TrainSettings
from vigil.room_settings import SETTINGS_FILE, Effect, fields_from_keys

CLUSTER_START_S = 600  # nodes, image and model of a second cluster, at most
IN_PLACE = "in place"
_WORKER_COUNTS = ("replicas", "minReplicas", "maxReplicas")
_RECONFIGURED = ("status_code", "health_check_period_s", "graceful_shutdown_timeout_s")
_UNITS = {"m": 1e-3, "Mi": 1 / 1024, "Gi": 1.0, "Ti": 1024.0}
_Object = dict[str, Any]


@dataclass(frozen=True)
class RayChange:
    """One difference: its effect, and what runs twice meanwhile, for how many seconds at most."""

    effect: str
    what: str
    doubles: str = "nothing"
    seconds: int = 0


def ray_service_changes(old: _Object, new: _Object) -> Iterator[RayChange]:
    """What changes of a RayService."""
    yield from _serve_changes(old["spec"], new["spec"])
    yield from _second_cluster(old["spec"], new["spec"])
    before = old["spec"]["rayClusterConfig"]
    after = new["spec"]["rayClusterConfig"]
    for path in filter(_is_count, differing_paths(before, after)):
        yield RayChange(IN_PLACE, ".".join(path))
    for group in _new_groups(before, after):
        yield RayChange(IN_PLACE, f"worker group {group} is added")
    for path in differing_paths(_rest(old["spec"]), _rest(new["spec"])):
        yield RayChange(IN_PLACE, ".".join(path))


def _serve_changes(old: _Object, new: _Object) -> Iterator[RayChange]:
    before = yaml.safe_load(old["serveConfigV2"])
    after = yaml.safe_load(new["serveConfigV2"])
    for path in differing_paths(before, after):
        yield RayChange(_serve_effect(path), "serveConfigV2: " + ".".join(path))


def _rest(spec: _Object) -> _Object:
    """A RayService but for what is compared by itself."""
    apart = ("serveConfigV2", "rayClusterConfig")
    return {key: value for key, value in spec.items() if key not in apart}


def _second_cluster(old: _Object, new: _Object) -> Iterator[RayChange]:
    """A second cluster, for all but counts of workers and groups at the end."""
    before = old["rayClusterConfig"]
    after = new["rayClusterConfig"]
    added = [("workerGroupSpecs", group) for group in _new_groups(before, after)]
    paths = [
        path
        for path in differing_paths(before, after)
        if not _is_count(path) and path[:2] not in added
    ]
    if paths:
        seconds = CLUSTER_START_S + int(new.get("rayClusterDeletionDelaySeconds", 60))
        what = ", ".join(".".join(path) for path in paths)
        yield RayChange(Effect.SECOND_CLUSTER, what, _size(before), seconds)


def _serve_effect(path: ObjectPath) -> str:
    """The effect of the setting that a path of the Serve configuration ends in.

    Of what is no setting Ray's own rules tell (serve/_private/config.py: what is not updated in
    place restarts replicas).
    """
    if path[0] == "applications" and len(path) == 2:
        return IN_PLACE  # a whole application is added, or goes
    if path[0] == "http_options":
        return Effect.SECOND_CLUSTER  # Serve cannot change these while it runs
    settings = DriftSettings if path[:2] == ("applications", "drift") else ServeSettings
    for name in path:
        if name in settings.model_fields:
            return settings.effect_of(name)
    return Effect.RECONFIGURE if path[-1] in _RECONFIGURED else Effect.ROLLING


def settings_map_changes(old: _Object, new: _Object) -> Iterator[RayChange]:
    """What changes in the file that training reads.

    What serving and the monitor read of it comes by the Serve configuration.
    """
    for path in differing_paths(_settings_of(old), _settings_of(new)):
        if path[0] == TrainSettings.room:
            name = fields_from_keys(TrainSettings, {path[1]: None}).popitem()[0]
            yield RayChange(TrainSettings.effect_of(name), ".".join(path))


def _settings_of(config_map: _Object) -> _Object:
    return yaml.safe_load(config_map["data"].get(SETTINGS_FILE, "")) or {}


def ray_cluster_changes(old: _Object, new: _Object) -> Iterator[RayChange]:
    """What changes of a RayCluster."""
    for path in differing_paths(old["spec"], new["spec"]):
        what = ".".join(path)
        if _is_count(path):
            yield RayChange(IN_PLACE, what)
        else:
            yield RayChange(Effect.REPLACEMENT, f"{what} (jobs that run are lost)")


def _is_count(path: ObjectPath) -> bool:
    return path[:1] == ("workerGroupSpecs",) and path[-1] in _WORKER_COUNTS


def _new_groups(old: _Object, new: _Object) -> list[str]:
    """Groups appended at the end, which KubeRay adds to the cluster that runs."""
    before = _group_names(old)
    after = _group_names(new)
    count = len(before)
    return after[count:] if after[:count] == before else []


def _group_names(cluster: _Object) -> list[str]:
    return [group["groupName"] for group in cluster["workerGroupSpecs"]]


def _size(cluster: _Object) -> str:
    """What a cluster asks for at rest."""
    pods = [(1, cluster["headGroupSpec"]["template"])]
    pods += [(group["replicas"], group["template"]) for group in cluster["workerGroupSpecs"]]
    count = sum(number for number, _ in pods)
    cpu = sum(number * _amount(pod, "cpu") for number, pod in pods)
    memory = sum(number * _amount(pod, "memory") for number, pod in pods)
    return f"{count} pods, {cpu:g} CPU, {memory:g} GiB"


def _amount(pod: _Object, kind: str) -> float:
    text = str(pod["spec"]["containers"][0]["resources"]["requests"][kind])
    for suffix, factor in _UNITS.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)
