"""Takes a snapshot of a running platform for its diagnosis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from infra.diagnosis import NAMESPACES
from infra.diagnosis.containers import logs_to_read
from infra.diagnosis.objects import KubeObject, RawObject, parse_quantity
from infra.diagnosis.snapshot import ClusterSnapshot, ContainerLog, Readiness
from infra.kube import AllowedReader, ApiResponse, ClusterClient, ClusterUnreachable
from vigil.json_types import without_none

Usage = tuple[tuple[str, str, str], int]  # namespace, pod, container; bytes
PROXY_TIMEOUT_S = 4.0
LOG_LINES = 12
MAX_LOGS = 20  # of more pods than this nobody reads the last words
_STACK_LABEL = "app.kubernetes.io/part-of=vigil"
READYZ_PATH = "/api/v1/namespaces/vigil/services/vigil-serve-svc:8000/proxy/readyz"
_NAMESPACES_PATH = "/api/v1/namespaces"
_METRICS_PATH = "/apis/metrics.k8s.io/v1beta1/namespaces"
_RAY_API = "/apis/ray.io/v1"
_APPS_API = "/apis/apps/v1"
_DEPLOYMENTS_PATH = f"{_APPS_API}/deployments"
_BATCH_API = "/apis/batch/v1"
NAMESPACED_KINDS = {
    "Pod": ("/api/v1", "pods"),
    "Event": ("/api/v1", "events"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "Service": ("/api/v1", "services"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
    "ReplicaSet": (_APPS_API, "replicasets"),
    "Deployment": (_APPS_API, "deployments"),
    "Job": (_BATCH_API, "jobs"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "RayService": (_RAY_API, "rayservices"),
    "RayCluster": (_RAY_API, "rayclusters"),
}
CLUSTER_KINDS = {
    "Node": "/api/v1/nodes",
    "StorageClass": "/apis/storage.k8s.io/v1/storageclasses",
}
ESSENTIAL_KINDS = ("Pod", "RayService", "RayCluster")
_OPERATOR_LABEL = "app.kubernetes.io/name=kuberay-operator"
_CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_RAY_CRDS = (f"{_CRD_PATH}/rayclusters.ray.io", f"{_CRD_PATH}/rayservices.ray.io")
# What can go wrong while a platform comes up; the rest is for one look at a time.
STARTUP_KINDS = (
    "Pod",
    "Event",
    "PersistentVolumeClaim",
    "ReplicaSet",
    "Job",
    "RayService",
    "RayCluster",
)


@dataclass(frozen=True)
class Observation:
    """A snapshot, and what could not be read for it."""

    seen: ClusterSnapshot
    unread: tuple[str, ...] = ()

    @property
    def unjudged(self) -> list[str]:
        """Kinds that could not be read, and without which nothing can be said of a platform."""
        return [kind for kind in ESSENTIAL_KINDS if not self.seen.has(kind)]


class ClusterObserver:
    """Looks at one cluster, as often as asked. A kind that may not be read is left out.

    It looks into NAMESPACES, and into whatever else a stack has made (monitoring, Argo CD).
    """

    def __init__(self, cluster: ClusterClient, *, proxy_timeout_s: float = PROXY_TIMEOUT_S) -> None:
        self._cluster = cluster
        self._proxy_timeout_s = proxy_timeout_s
        self._namespaces: Sequence[str] = NAMESPACES
        self._reader = AllowedReader(cluster)

    def look(
        self, kinds: Sequence[str] = tuple(NAMESPACED_KINDS), *, deep: bool = True
    ) -> Observation:
        """What is there now. `deep`: memory in use, versions and `/readyz` too.

        Raises ClusterUnreachable or NotLoggedIn where the API server cannot be asked.
        """
        self._reader = AllowedReader(self._cluster)
        seen = ClusterSnapshot(datetime.now(UTC), self._objects(kinds))
        logs = self._logs(logs_to_read(seen))
        seen = replace(seen, logs=dict(logs))
        if deep:
            seen = self._deep(seen)
        return Observation(seen, tuple(self._reader.unread))

    def _objects(self, kinds: Sequence[str]) -> dict[str, Sequence[RawObject]]:
        """What may be read, by kind."""
        namespaces = self._own_namespaces()
        self._namespaces = _names_of(namespaces)
        by_kind = {kind: self._in_namespaces(kind) for kind in kinds}
        for kind, path in CLUSTER_KINDS.items():
            by_kind[kind] = self._reader.list(path, kind=kind)
        readable = without_none(by_kind)
        return {"Namespace": namespaces, **readable}

    def _deep(self, seen: ClusterSnapshot) -> ClusterSnapshot:
        objects = {
            **seen.objects,
            "Deployment": self._deployments(seen),
            "CustomResourceDefinition": self._crds(),
        }
        usage = dict(self._usage())
        return replace(
            seen,
            objects=objects,
            usage=usage,
            readiness=self.readiness(),
        )

    def _crds(self) -> list[RawObject]:
        definitions = map(self._reader.get, _RAY_CRDS)
        return list(filter(None, definitions))

    def readiness(self) -> Readiness | None:
        """What `/readyz` answers through the API server; None where that may not be asked."""
        try:
            answer = self._cluster.ask(READYZ_PATH, timeout_s=self._proxy_timeout_s)
        except ClusterUnreachable as error:  # packets that a network policy drops are waited for
            return Readiness(504, error.message, reached=False)
        is_refused = answer.status == 403 and _is_of_api(answer)
        return None if is_refused else readiness_of(answer)

    def _in_namespaces(self, kind: str) -> list[RawObject] | None:
        api, plural = NAMESPACED_KINDS[kind]
        objects: list[RawObject] = []
        for namespace in self._namespaces:
            path = f"{api}/namespaces/{namespace}/{plural}"
            items = self._reader.list(path, kind=kind)
            if items is None:
                return None
            objects.extend(items)
        return objects

    def _own_namespaces(self) -> list[RawObject]:
        paths = [f"{_NAMESPACES_PATH}/{name}" for name in NAMESPACES]
        expected = map(self._reader.get, paths)
        labelled = self._silently(_NAMESPACES_PATH, _STACK_LABEL)
        there = filter(None, (*expected, *labelled))
        by_name = {_name_of(one): one for one in there}
        return list(by_name.values())

    def _deployments(self, seen: ClusterSnapshot) -> list[RawObject]:
        """The deployments of the platform, and KubeRay's operator wherever it is installed."""
        everywhere = self._reader.list(_DEPLOYMENTS_PATH, _OPERATOR_LABEL, kind="Deployment")
        operators = [KubeObject("Deployment", raw) for raw in everywhere or []]
        by_name: dict[str, RawObject] = {}
        for one in (*seen.of("Deployment"), *operators):
            by_name.setdefault(one.qualified_name, one.raw)
        return list(by_name.values())

    def _logs(self, wanted: Sequence[ContainerLog]) -> Iterator[tuple[ContainerLog, str]]:
        for one in wanted[:MAX_LOGS]:
            yield one, self._log(one)

    def _log(self, wanted: ContainerLog) -> str:
        return self._cluster.log(
            wanted.namespace,
            wanted.pod,
            wanted.container,
            previous=wanted.previous,
            lines=LOG_LINES,
        )

    def _usage(self) -> Iterator[Usage]:
        """Memory by container: of the metrics server, or else of the kubelets."""
        measured = list(self._measured_pods())
        for namespace, pod in measured:
            yield from _measured_usage(namespace, pod)
        if not measured:
            yield from self._kubelet_usage()

    def _silently(self, path: str, labels: str = "") -> list[RawObject]:
        """A collection that need not be had: there is another way to what it tells."""
        reader = AllowedReader(self._cluster)
        return reader.list(path, labels) or []

    def _measured_pods(self) -> Iterator[tuple[str, RawObject]]:
        """Pods of the metrics server, with their namespace."""
        for namespace in self._namespaces:
            for pod in self._silently(f"{_METRICS_PATH}/{namespace}/pods"):
                yield namespace, pod

    def _kubelet_usage(self) -> Iterator[Usage]:
        nodes = self._reader.list(CLUSTER_KINDS["Node"], kind="Node") or []
        for node in nodes:
            for pod in self._pods_on(_name_of(node)):
                if pod["podRef"]["namespace"] in self._namespaces:
                    yield from _kubelet_usage_of(pod)

    def _pods_on(self, node: str) -> list[RawObject]:
        """Pods as the kubelet of a node measures them; none where it may not be asked."""
        answer = self._cluster.ask(f"/api/v1/nodes/{node}/proxy/stats/summary")
        if answer.status != 200:
            return []
        return answer.json().get("pods") or []


def _name_of(raw: RawObject) -> str:
    return raw["metadata"]["name"]


def _names_of(namespaces: Sequence[RawObject]) -> list[str]:
    """Where the platform is: NAMESPACES, and what else the stack has."""
    names = [*NAMESPACES, *map(_name_of, namespaces)]
    return list(dict.fromkeys(names))


def _measured_usage(namespace: str, pod: RawObject) -> Iterator[Usage]:
    name = _name_of(pod)
    for container in pod.get("containers") or []:
        key = (namespace, name, container["name"])
        memory = parse_quantity(container["usage"].get("memory"))
        yield key, int(memory)


def _kubelet_usage_of(pod: RawObject) -> Iterator[Usage]:
    about = pod["podRef"]
    for container in pod.get("containers") or []:
        if memory := container.get("memory"):
            key = (about["namespace"], about["name"], container["name"])
            yield key, int(memory.get("workingSetBytes", 0))


def _is_of_api(answer: ApiResponse) -> bool:
    """Whether it is the API server's own answer, not that of the service behind it."""
    body = _object_of(answer.json())
    return body.get("kind") == "Status"


def readiness_of(answer: ApiResponse) -> Readiness:
    """What an answer through the API server's proxy says of the service."""
    body = _object_of(answer.json())
    if _is_of_api(answer):
        message = str(body.get("message", ""))
        return Readiness(answer.status, message, reached=False)
    error = _object_of(body.get("error"))
    kind = str(error.get("type", ""))
    return Readiness(answer.status, kind)


def _object_of(body: Any) -> RawObject:
    """A JSON object; an empty one of anything else."""
    return body if isinstance(body, dict) else {}
