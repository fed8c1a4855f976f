"""Where Kubernetes objects keep their pods: one walk, Ray's head and worker groups included."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policies.subjects import Props, Resource, list_at, props_at

_QUANTITY_FACTORS = (
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


class Env(Mapping[str, Any]):
    """The environment of a container: values as text, references as the objects they are.

    A value is read when it is asked for, so that one that is unknown does not hide the others.
    """

    def __init__(self, container: Props) -> None:
        entries = list_at(container, "env")
        self._entries = {entry["name"]: entry for entry in entries}

    def __getitem__(self, name: str) -> Any:
        entry = self._entries[name]
        value = entry.get("value")
        return entry.get("valueFrom") if value is None else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def is_true(self, name: str) -> bool:
        """Return whether a variable says `true`."""
        text = str(self.get(name))
        return text.lower() == "true"


def _security(props: Props, key: str) -> Any:
    return props_at(props, "securityContext").get(key)


@dataclass(frozen=True)
class Container:
    """A container, and the spec of its pod."""

    props: Props
    pod: Props

    @property
    def image(self) -> str:
        """Image by name, `None` in words where there is none."""
        return str(self.props.get("image"))

    @property
    def env(self) -> Env:
        """Its environment."""
        return Env(self.props)

    def security(self, key: str) -> Any:
        """Return a security setting of the container, or else of its pod."""
        own = _security(self.props, key)
        return _security(self.pod, key) if own is None else own


@dataclass(frozen=True)
class Group:
    """The head, or a group of workers, of a Ray cluster."""

    place: str
    is_head: bool
    props: Props

    @property
    def template(self) -> Props:
        """Its pod template."""
        return props_at(self.props, "template")

    @property
    def pod(self) -> Props:
        """The spec of its pods."""
        return props_at(self.template, "spec")

    @property
    def node_selector(self) -> Props:
        """Labels of the nodes that its pods ask for."""
        return props_at(self.pod, "nodeSelector")

    @property
    def ray_container(self) -> Props:
        """The Ray container, which is the first of its pod."""
        containers = list_at(self.pod, "containers")
        return containers[0] if containers else {}

    @property
    def env(self) -> Env:
        """The environment of the Ray container."""
        return Env(self.ray_container)


def ray_cluster(resource: Resource) -> Props:
    """Return the RayCluster spec inside a RayService, RayCluster or RayJob."""
    spec = props_at(resource.props, "spec")
    inner = {"RayService": "rayClusterConfig", "RayJob": "rayClusterSpec"}.get(resource.kind)
    return props_at(spec, inner) if inner else spec


def autoscales(resource: Resource) -> bool:
    """Return whether a Ray cluster has an autoscaler beside its head."""
    return ray_cluster(resource).get("enableInTreeAutoscaling") is True


def ray_groups(resource: Resource) -> Iterator[Group]:
    """Yield the head group and the worker groups."""
    cluster = ray_cluster(resource)
    if head := cluster.get("headGroupSpec"):
        yield Group("head", is_head=True, props=head)
    for group in list_at(cluster, "workerGroupSpecs"):
        yield Group(f"worker group {group.get('groupName')}", is_head=False, props=group)


def is_ray(resource: Resource) -> bool:
    """Return whether the object is one that KubeRay's operator serves."""
    return resource.type.startswith("kubernetes:ray.io/")


def each_template(resource: Resource) -> Iterator[tuple[str, Props]]:
    """Yield (place, pod template) of every pod that the object makes."""
    if is_ray(resource):
        yield from _ray_templates(resource)
    elif resource.kind == "Pod":
        yield "", resource.props
    elif resource.kind == "CronJob":
        yield "", props_at(resource.props, "spec.jobTemplate.spec.template")
    else:
        yield "", props_at(resource.props, "spec.template")


def _ray_templates(resource: Resource) -> Iterator[tuple[str, Props]]:
    for group in ray_groups(resource):
        yield group.place, group.template
    if submitter := resource.value("spec.submitterPodTemplate"):
        yield "submitter", submitter


def each_pod(resource: Resource) -> Iterator[tuple[str, Props]]:
    """Yield (place, pod spec) of every pod."""
    for place, template in each_template(resource):
        yield place, props_at(template, "spec")


def each_container(resource: Resource) -> Iterator[tuple[str, Container]]:
    """Yield (place, container) of every container, init containers included."""
    for place, pod in each_pod(resource):
        for container in (*list_at(pod, "initContainers"), *list_at(pod, "containers")):
            where = f"container {container.get('name')}"
            yield f"{place}, {where}" if place else where, Container(container, pod)


def each_container_spec(resource: Resource) -> Iterator[tuple[str, Props]]:
    """Yield (place, properties) of every container, init containers included."""
    for place, container in each_container(resource):
        yield place, container.props


def namespace_of(props: Props) -> str:
    """Return the namespace of an object."""
    return props_at(props, "metadata").get("namespace") or "default"


def quantity_to_number(value: Any) -> float:
    """Return a Kubernetes quantity as a number: `500m` is 0.5, `2Gi` is 2147483648.

    Raises ValueError for anything else.
    """
    text = str(value)
    for suffix, factor in _QUANTITY_FACTORS:
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)
