"""What a given cluster must have before anything is put into it: asked at a preview too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from infra.diagnosis.objects import RawObject, parse_quantity
from infra.diagnosis.report import Diagnosis
from infra.kube import (
    ClusterClient,
    ClusterError,
    ClusterUnreachable,
    NotLoggedIn,
    connect,
    find_kubeconfig,
)

PREFLIGHT_TIMEOUT_S = 10.0
_PART_OF_LABEL = "app.kubernetes.io/part-of"
_INSTANCE_LABEL = "app.kubernetes.io/instance"
_OPERATOR_LABEL = "app.kubernetes.io/name=kuberay-operator"
# What a quota may call the sums that a pod adds to.
_QUOTA_KEYS = {
    "cpu": ("requests", "cpu"),
    "requests.cpu": ("requests", "cpu"),
    "memory": ("requests", "memory"),
    "requests.memory": ("requests", "memory"),
    "limits.cpu": ("limits", "cpu"),
    "limits.memory": ("limits", "memory"),
}


@dataclass(frozen=True)
class StackNeeds:
    """What a stack needs of a cluster.

    `stack`: what its namespaces carry as app.kubernetes.io/instance; empty: nothing is compared.
    `rooms`: by namespace, what its pods ask for at rest.
    """

    namespaces: tuple[str, ...]
    storage_class: str = ""
    stack: str = ""
    rooms: Mapping[str, PodTotals] = field(default_factory=dict)


@dataclass(frozen=True)
class PodTotals:
    """Pods at rest, and the sums of what their containers request and are limited to."""

    pods: int = 0
    sums: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def with_pod(self, containers: Sequence[RawObject], count: int) -> PodTotals:
        """This and `count` pods of these containers."""
        sums = dict(self.sums)
        for kind in set(_QUOTA_KEYS.values()):
            asked = [one.get("resources", {}).get(kind[0]) or {} for one in containers]
            each = sum(parse_quantity(one.get(kind[1])) for one in asked)
            sums[kind] = sums.get(kind, 0.0) + count * each
        return PodTotals(self.pods + count, sums)


def totals_by_namespace(objects: Sequence[RawObject]) -> dict[str, PodTotals]:
    """What rendered objects ask for at rest, by namespace."""
    found: dict[str, PodTotals] = {}
    for one in objects:
        namespace = one["metadata"].get("namespace", "")
        for containers, count in _pods(one):
            found[namespace] = found.get(namespace, PodTotals()).with_pod(containers, count)
    return found


def _pods(one: RawObject) -> Iterator[tuple[list[RawObject], int]]:
    spec = one.get("spec") or {}
    if one["kind"] in ("Deployment", "StatefulSet"):
        yield spec["template"]["spec"]["containers"], spec.get("replicas", 1)
    elif one["kind"] == "RayService":
        yield from _ray_pods(spec["rayClusterConfig"])
    elif one["kind"] == "RayCluster":
        yield from _ray_pods(spec)


def _ray_pods(cluster: RawObject) -> Iterator[tuple[list[RawObject], int]]:
    head = list(cluster["headGroupSpec"]["template"]["spec"]["containers"])
    if cluster.get("enableInTreeAutoscaling"):
        head.append({"resources": (cluster.get("autoscalerOptions") or {}).get("resources") or {}})
    yield head, 1
    for group in cluster.get("workerGroupSpecs") or []:
        yield group["template"]["spec"]["containers"], group.get("replicas", 0)


# --- checks ---


def find_obstacles(cluster: ClusterClient, wanted: StackNeeds) -> list[Diagnosis]:
    """What stands in the way, and risks; raises ClusterError where the cluster cannot be asked."""
    cluster.get("/version")
    found = [*_storage(cluster, wanted.storage_class), *_operators(cluster, wanted)]
    for name in wanted.namespaces:
        namespace = _read(cluster, f"/api/v1/namespaces/{name}")
        if namespace is not None:
            found += _namespace(name, namespace, wanted.stack)
            found += _quotas(cluster, name, wanted.rooms.get(name))
    return found


def _read(cluster: ClusterClient, path: str) -> RawObject | None:
    """An object; None where it may not be read either: then nothing is said about it."""
    try:
        return cluster.get(path)
    except (ClusterUnreachable, NotLoggedIn):
        raise
    except ClusterError:
        return None


def _listed(cluster: ClusterClient, path: str, labels: str = "") -> list[RawObject]:
    try:
        return cluster.list(path, labels)
    except (ClusterUnreachable, NotLoggedIn):
        raise
    except ClusterError:
        return []


def _storage(cluster: ClusterClient, name: str) -> Iterator[Diagnosis]:
    classes = _listed(cluster, "/apis/storage.k8s.io/v1/storageclasses")
    names = sorted(one["metadata"]["name"] for one in classes)
    if name and names and name not in names:
        fix = f"`pulumi config set vigil:homeStorageClass NAME` with one of: {', '.join(names)}"
        yield Diagnosis(f"storage class {name!r}", "is not in the cluster", fix)


def _operators(cluster: ClusterClient, wanted: StackNeeds) -> Iterator[Diagnosis]:
    for one in _listed(cluster, "/apis/apps/v1/deployments", _OPERATOR_LABEL):
        namespace = one["metadata"]["namespace"]
        if namespace not in wanted.namespaces:
            why = "another KubeRay operator: where it watches Vigil's namespace too, both write"
            fix = "let it watch its own namespaces alone (`watchNamespace` of its chart)"
            yield Diagnosis(f"{namespace}/{one['metadata']['name']}", why, fix, "risk")


def _namespace(name: str, there: RawObject, stack: str) -> Iterator[Diagnosis]:
    what = f"namespace {name!r}"
    labels = there["metadata"].get("labels") or {}
    if (there.get("status") or {}).get("phase") == "Terminating":
        fix = "wait until it is gone; `vigil doctor cluster` says what holds it"
        yield Diagnosis(what, "is still being deleted", fix)
    elif labels.get(_PART_OF_LABEL) != "vigil":
        why = f"exists already and is not Vigil's (no label {_PART_OF_LABEL}=vigil)"
        fix = (
            f"use another cluster or context, or `kubectl delete namespace {name}` if nobody"
            f" needs it; to hand it over: "
            f"`kubectl label namespace {name} {_PART_OF_LABEL}=vigil` and"
            f" `pulumi import kubernetes:core/v1:Namespace {name} {name}`"
        )
        yield Diagnosis(what, why, fix)
    elif stack and labels.get(_INSTANCE_LABEL, stack) != stack:
        why = f"belongs to another stack, {labels[_INSTANCE_LABEL]}: a cluster holds one Vigil"
        yield Diagnosis(what, why, "choose another cluster or context, or destroy that stack")


def _quotas(cluster: ClusterClient, name: str, room: PodTotals | None) -> Iterator[Diagnosis]:
    if room is None:
        return
    for quota in _listed(cluster, f"/api/v1/namespaces/{name}/resourcequotas"):
        spec = quota.get("spec") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue  # counts some of the pods only
        hard = spec.get("hard") or {}
        if short := [*_short_of(hard, room)]:
            own = quota["metadata"]["name"]
            why = f"is too small for the pods at rest: {'; '.join(short)}"
            edit = f"`kubectl -n {name} edit resourcequota {own}`"
            fix = f"raise it ({edit}), or make the pods smaller"
            yield Diagnosis(f"quota {own!r} of namespace {name!r}", why, fix)


def _short_of(hard: Mapping[str, str], room: PodTotals) -> Iterator[str]:
    for key, limit in hard.items():
        needed = room.sums.get(_QUOTA_KEYS[key], 0.0) if key in _QUOTA_KEYS else 0.0
        if key in ("pods", "count/pods"):
            needed = float(room.pods)
        if needed > parse_quantity(limit):
            unit = f"{needed / 2**30:.3g}Gi" if "memory" in key else f"{needed:g}"
            yield f"{key} {limit} of {unit}"


# --- for the program ---


def preflight(
    wanted: StackNeeds,
    kubeconfig: str | None = None,
    *,
    timeout_s: float = PREFLIGHT_TIMEOUT_S,
) -> str | None:
    """The context that was looked at.

    Raise pulumi.RunError with all that stands in the way, before the first resource.
    `kubeconfig`: its text or file; None: that of kubectl. What is only a risk is a warning.
    """
    try:
        chosen = find_kubeconfig(kubeconfig)
        found = find_obstacles(connect(kubeconfig, timeout_s=timeout_s), wanted)
    except ClusterError as error:
        raise pulumi.RunError(error.message) from error
    for one in found:
        if one.grade != "failure":
            pulumi.log.warn(str(one))
    if refused := [one for one in found if one.grade == "failure"]:
        raise pulumi.RunError("\n".join(str(one) for one in refused))
    return chosen.context if chosen else None
