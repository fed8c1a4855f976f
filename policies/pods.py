"""Where Kubernetes objects keep their pods: every room of the house in one walk, Ray's head and worker groups included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from policies.rule import Props, Resource

RAY = (
    "kubernetes:ray.io/*:RayService",
    "kubernetes:ray.io/*:RayCluster",
    "kubernetes:ray.io/*:RayJob",
)
WORKLOADS = (
    "kubernetes:core/*:Pod",
    "kubernetes:apps/*:Deployment",
    "kubernetes:apps/*:StatefulSet",
    "kubernetes:apps/*:DaemonSet",
    "kubernetes:batch/*:Job",
    "kubernetes:batch/*:CronJob",
)
PODS = (*WORKLOADS, *RAY)


class Group(NamedTuple):
    """The head, or a group of workers, of a Ray cluster."""

    place: str
    head: bool
    props: Props

    @property
    def template(self) -> Props:
        """Its pod template."""
        return self.props.get("template") or {}


class Container(NamedTuple):
    """A container, and the spec of its pod."""

    props: Props
    pod: Props


def ray_cluster(resource: Resource) -> Props:
    """The RayCluster spec inside a RayService, RayCluster or RayJob."""
    spec = resource.props.get("spec") or {}
    inner = {"RayService": "rayClusterConfig", "RayJob": "rayClusterSpec"}.get(resource.kind)
    return (spec.get(inner) or {}) if inner else spec


def ray_groups(resource: Resource) -> Iterator[Group]:
    """The head group and the worker groups."""
    cluster = ray_cluster(resource)
    if head := cluster.get("headGroupSpec"):
        yield Group("head", True, head)
    for group in cluster.get("workerGroupSpecs") or ():
        yield Group(f"worker group {group.get('groupName')}", False, group)


def templates(resource: Resource) -> Iterator[tuple[str, Props]]:
    """(place, pod template) of every pod that the object makes."""
    spec = resource.props.get("spec") or {}
    if resource.kind == "Pod":
        yield "", resource.props
    elif resource.kind == "CronJob":
        yield "", ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template") or {}
    elif resource.type.startswith("kubernetes:ray.io/"):
        yield from ((group.place, group.template) for group in ray_groups(resource))
        if submitter := spec.get("submitterPodTemplate"):
            yield "submitter", submitter
    else:
        yield "", spec.get("template") or {}


def pods(resource: Resource) -> Iterator[tuple[str, Props]]:
    """(place, pod spec) of every pod."""
    yield from ((place, template.get("spec") or {}) for place, template in templates(resource))


def containers(resource: Resource) -> Iterator[tuple[str, Container]]:
    """(place, container) of every container, those that run before the others included."""
    for place, pod in pods(resource):
        for key in ("initContainers", "containers"):
            for each in pod.get(key) or ():
                where = f"container {each.get('name')}"
                yield f"{place}, {where}" if place else where, Container(each, pod)


def namespace_of(props: Props) -> str:
    """The namespace of an object."""
    return (props.get("metadata") or {}).get("namespace") or "default"


class Env(Mapping[str, Any]):
    """The environment of a container: values as text, references as the objects they are. A value is read when it is asked for,
    so that one that is unknown does not hide the others.
    """

    def __init__(self, container: Props) -> None:
        self._entries = {each["name"]: each for each in container.get("env") or ()}

    def __getitem__(self, name: str) -> Any:
        entry = self._entries[name]
        return entry.get("valueFrom") if entry.get("value") is None else entry["value"]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def quantity(value: Any) -> float:
    """A Kubernetes quantity as a number: `500m` is 0.5, `2Gi` is 2147483648. Raises ValueError for anything else."""
    text = str(value)
    for suffix, factor in _FACTORS:
        if text.endswith(suffix):
            return float(text[: -len(suffix)]) * factor
    return float(text)


_FACTORS = (
    ("Ki", 2.0**10),
    ("Mi", 2.0**20),
    ("Gi", 2.0**30),
    ("Ti", 2.0**40),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
    ("T", 1e12),
)
