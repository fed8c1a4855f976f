"""What a given cluster must have before anything is put into it: asked at a preview too."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from infra.diagnosis.objects import KubeObject, RawObject, nested, parse_quantity
from infra.diagnosis.report import Diagnoses, Diagnosis, failure, only_failures, risk
from infra.kube import AllowedReader, ClusterClient, connect
from infra.kubeconfig import ClusterError, find_kubeconfig

PREFLIGHT_TIMEOUT_S = 10.0
_PART_OF_LABEL = "app.kubernetes.io/part-of"
_INSTANCE_LABEL = "app.kubernetes.io/instance"
_OPERATOR_LABEL = "app.kubernetes.io/name=kuberay-operator"
_SECOND_OPERATOR = "another KubeRay operator: where it watches Vigil's namespace too, both write"
_WATCH_OWN = "let it watch its own namespaces alone (`watchNamespace` of its chart)"
_WAIT_FOR_THE_END = "wait until it is gone; `vigil doctor cluster` says what holds it"
_NOT_VIGILS = f"exists already and is not Vigil's (no label {_PART_OF_LABEL}=vigil)"
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
    `rooms`: by namespace, what its pods ask for at rest. `apis`: GROUP/VERSION of what others have
    installed there, with the setting that needs it.
    """

    namespaces: tuple[str, ...]
    storage_class: str = ""
    stack: str = ""
    rooms: Mapping[str, PodTotals] = field(default_factory=dict)
    apis: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PodTotals:
    """Pods at rest, and the sums of what their containers request and are limited to."""

    pods: int = 0
    sums: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def with_pod(self, containers: Sequence[RawObject], count: int) -> PodTotals:
        """This and `count` pods of these containers."""
        sums = dict(self.sums)
        for kind in set(_QUOTA_KEYS.values()):
            added = count * _sum_of(containers, *kind)
            sums[kind] = sums.get(kind, 0.0) + added
        return PodTotals(self.pods + count, sums)

    def counted_by(self, quota_key: str) -> float:
        """What a quota counts of these pods under a key; 0 of what is none of theirs."""
        if quota_key in ("pods", "count/pods"):
            return float(self.pods)
        kind = _QUOTA_KEYS.get(quota_key)
        if kind is None:
            return 0.0
        return self.sums.get(kind, 0.0)


def _sum_of(
    containers: Sequence[RawObject],
    bound: str,
    resource: str,
) -> float:
    """The sum of `bound` (requests, limits) over the containers of a pod."""
    path = f"resources.{bound}.{resource}"
    return sum(parse_quantity(nested(container, path)) for container in containers)


def totals_by_namespace(objects: Sequence[RawObject]) -> dict[str, PodTotals]:
    """What rendered objects ask for at rest, by namespace."""
    totals: dict[str, PodTotals] = defaultdict(PodTotals)
    for manifest in objects:
        namespace = manifest["metadata"].get("namespace", "")
        for containers, count in _pods(manifest):
            totals[namespace] = totals[namespace].with_pod(containers, count)
    return totals


def _pods(manifest: RawObject) -> Iterator[tuple[list[RawObject], int]]:
    spec = manifest.get("spec") or {}
    kind = manifest["kind"]
    if kind in ("Deployment", "StatefulSet"):
        yield _containers(spec), spec.get("replicas", 1)
    elif kind == "RayService":
        yield from _ray_pods(spec["rayClusterConfig"])
    elif kind == "RayCluster":
        yield from _ray_pods(spec)


def _containers(workload: RawObject) -> list[RawObject]:
    return workload["template"]["spec"]["containers"]


def _ray_pods(cluster: RawObject) -> Iterator[tuple[list[RawObject], int]]:
    head = _containers(cluster["headGroupSpec"])
    yield [*head, *_autoscalers(cluster)], 1
    for group in cluster.get("workerGroupSpecs") or []:
        yield _containers(group), group.get("replicas", 0)


def _autoscalers(cluster: RawObject) -> Iterator[RawObject]:
    """The container that KubeRay adds to a head."""
    if cluster.get("enableInTreeAutoscaling"):
        yield {"resources": nested(cluster, "autoscalerOptions.resources") or {}}


# --- checks ---


def find_obstacles(cluster: ClusterClient, wanted: StackNeeds) -> list[Diagnosis]:
    """What stands in the way, and risks; raises ClusterError where the cluster cannot be asked."""
    cluster.get("/version")
    reader = AllowedReader(cluster)
    obstacles = list(_storage(reader, wanted.storage_class))
    obstacles.extend(_operators(reader, wanted))
    obstacles.extend(_apis(reader, wanted.apis))
    for name in wanted.namespaces:
        obstacles.extend(_namespace(reader, name, wanted))
    obstacles.extend(map(_not_compared, reader.unread))
    return obstacles


def _not_compared(refusal: str) -> Diagnosis:
    why = f"could not be looked at: {refusal}"
    return risk("a part of the cluster", why, "whoever may read it sees what `pulumi up` needs")


def _storage(reader: AllowedReader, name: str) -> Diagnoses:
    classes = reader.list("/apis/storage.k8s.io/v1/storageclasses") or []
    names = sorted(each["metadata"]["name"] for each in classes)
    if name and names and name not in names:
        fix = f"`pulumi config set vigil:homeStorageClass NAME` with one of: {', '.join(names)}"
        yield failure(f"storage class {name!r}", "is not in the cluster", fix)


def _operators(reader: AllowedReader, wanted: StackNeeds) -> Diagnoses:
    operators = reader.list("/apis/apps/v1/deployments", _OPERATOR_LABEL) or []
    for raw in operators:
        operator = KubeObject("Deployment", raw)
        if operator.namespace not in wanted.namespaces:
            yield risk(operator.qualified_name, _SECOND_OPERATOR, _WATCH_OWN)


def _apis(reader: AllowedReader, wanted: Mapping[str, str]) -> Diagnoses:
    for api, setting in wanted.items():
        refused = len(reader.unread)
        served = reader.get(f"/apis/{api}") is not None
        if not served and len(reader.unread) == refused:
            why = f"is not in the cluster, and vigil:{setting} needs it"
            yield failure(
                f"the API {api}", why, "install it first, or set the key to another value"
            )


# --- namespaces that exist already ---


def _namespace(
    reader: AllowedReader,
    name: str,
    wanted: StackNeeds,
) -> Diagnoses:
    raw = reader.get(f"/api/v1/namespaces/{name}")
    if raw is None:
        return
    namespace = KubeObject("Namespace", raw)
    room = wanted.rooms.get(name, PodTotals())
    yield from _ownership(namespace, wanted.stack)
    yield from _quotas(reader, name, room)


def _ownership(namespace: KubeObject, stack: str) -> Diagnoses:
    what = f"namespace {namespace.name!r}"
    owner = namespace.labels.get(_INSTANCE_LABEL, stack)
    if namespace.phase == "Terminating":
        yield failure(what, "is still being deleted", _WAIT_FOR_THE_END)
    elif namespace.labels.get(_PART_OF_LABEL) != "vigil":
        yield failure(what, _NOT_VIGILS, _take_over(namespace.name))
    elif stack and owner != stack:
        why = f"belongs to another stack, {owner}: a cluster holds one Vigil"
        yield failure(what, why, "choose another cluster or context, or destroy that stack")


def _take_over(name: str) -> str:
    return (
        f"use another cluster or context, or `kubectl delete namespace {name}` if nobody"
        f" needs it; to hand it over: `kubectl label namespace {name} {_PART_OF_LABEL}=vigil` and"
        f" `pulumi import kubernetes:core/v1:Namespace {name} {name}`"
    )


def _quotas(
    reader: AllowedReader,
    namespace: str,
    room: PodTotals,
) -> Diagnoses:
    quotas = reader.list(f"/api/v1/namespaces/{namespace}/resourcequotas") or []
    for raw in quotas:
        quota = KubeObject("ResourceQuota", raw)
        hard = quota.value("spec.hard") or {}
        short = "; ".join(_short_of(hard, room))
        if short and not _is_scoped(quota):
            yield _small_quota(namespace, quota.name, short)


def _is_scoped(quota: KubeObject) -> bool:
    """Whether it counts some of the pods only."""
    return bool(quota.value("spec.scopes") or quota.value("spec.scopeSelector"))


def _small_quota(
    namespace: str,
    quota: str,
    short: str,
) -> Diagnosis:
    what = f"quota {quota!r} of namespace {namespace!r}"
    edit = f"`kubectl -n {namespace} edit resourcequota {quota}`"
    fix = f"raise it ({edit}), or make the pods smaller"
    return failure(what, f"is too small for the pods at rest: {short}", fix)


def _short_of(hard: Mapping[str, str], room: PodTotals) -> Iterator[str]:
    for key, limit in hard.items():
        needed = room.counted_by(key)
        if needed > parse_quantity(limit):
            amount = f"{needed / 2**30:.3g}Gi" if "memory" in key else f"{needed:g}"
            yield f"{key} {limit} of {amount}"


# --- for the program ---


def preflight(
    wanted: StackNeeds,
    kubeconfig: str | None = None,
    *,
    timeout_s: float = PREFLIGHT_TIMEOUT_S,
    warn: Callable[[str], None] = pulumi.log.warn,
) -> str | None:
    """The context that was looked at.

    Raise pulumi.RunError with all that stands in the way, before the first resource.
    `kubeconfig`: its text or file; None: that of kubectl. What is only a risk goes to `warn`.
    """
    try:
        chosen = find_kubeconfig(kubeconfig)
        obstacles = find_obstacles(connect(kubeconfig, timeout_s=timeout_s), wanted)
    except ClusterError as error:
        raise pulumi.RunError(error.message) from error
    _refuse_failures(obstacles, warn)
    return chosen.context if chosen else None


def _refuse_failures(obstacles: Sequence[Diagnosis], warn: Callable[[str], None]) -> None:
    failures = only_failures(obstacles)
    for each in obstacles:
        if each not in failures:
            warn(str(each))
    if failures:
        raise pulumi.RunError("\n".join(map(str, failures)))
