"""Takes a snapshot of a running platform for its diagnosis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from infra.diagnosis import NAMESPACES
from infra.diagnosis.containers import logs_to_read
from infra.diagnosis.objects import KubeObject, RawObject, parse_quantity
from infra.diagnosis.snapshot import ClusterSnapshot, ContainerLog, Readiness
from infra.kube import ApiResponse, ClusterClient, ClusterError, ClusterUnreachable, NotLoggedIn

Usage = tuple[tuple[str, str, str], int]  # namespace, pod, container; bytes
PROXY_TIMEOUT_S = 4.0
LOG_LINES = 12
MAX_LOGS = 20  # of more pods than this nobody reads the last words
_STACK_LABEL = "app.kubernetes.io/part-of=vigil"
READYZ_PATH = "/api/v1/namespaces/vigil/services/vigil-serve-svc:8000/proxy/readyz"
_RAY_API = "/apis/ray.io/v1"
_APPS_API = "/apis/apps/v1"
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
_OPERATOR_LABEL = "app.kubernetes.io/name=kuberay-operator"
_CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_RAY_CRDS = ("rayclusters.ray.io", "rayservices.ray.io")
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


class ClusterObserver:
    """Looks at one cluster, as often as asked. A kind that may not be read is left out.

    It looks into NAMESPACES, and into whatever else a stack has made (monitoring, Argo CD).
    """

    def __init__(self, cluster: ClusterClient, *, proxy_timeout_s: float = PROXY_TIMEOUT_S) -> None:
        self._cluster = cluster
        self._proxy_timeout_s = proxy_timeout_s
        self._namespaces: Sequence[str] = NAMESPACES
        self._unread: list[str] = []

    def look(
        self, kinds: Sequence[str] = tuple(NAMESPACED_KINDS), *, deep: bool = True
    ) -> Observation:
        """What is there now. `deep`: memory in use, versions and `/readyz` too.

        Raises ClusterAway or NotLoggedIn where the API server cannot be asked.
        """
        self._unread = []
        objects: dict[str, Sequence[RawObject]] = {"Namespace": self._own_namespaces()}
        names = [one["metadata"]["name"] for one in objects["Namespace"]]
        self._namespaces = list(dict.fromkeys([*NAMESPACES, *names]))
        for kind in kinds:
            if (found := self._in_namespaces(kind)) is not None:
                objects[kind] = found
        for kind, path in CLUSTER_KINDS.items():
            if (items := self._try(kind, path)) is not None:
                objects[kind] = items
        seen = ClusterSnapshot(now=datetime.now(UTC), objects=objects)
        seen = replace(seen, logs=dict(self._logs(logs_to_read(seen))))
        return Observation(self._deep(seen) if deep else seen, tuple(self._unread))

    def _deep(self, seen: ClusterSnapshot) -> ClusterSnapshot:
        definitions = [self._get(f"{_CRD_PATH}/{name}") for name in _RAY_CRDS]
        operators = self._operators(seen)
        objects = {
            **seen.objects,
            "Deployment": operators,
            "CustomResourceDefinition": [one for one in definitions if one is not None],
        }
        usage = dict(self._usage())
        return replace(seen, objects=objects, usage=usage, readiness=self.readiness())

    def readiness(self) -> Readiness | None:
        """What `/readyz` answers through the API server; None where that may not be asked."""
        try:
            answer = self._cluster.ask(READYZ_PATH, timeout_s=self._proxy_timeout_s)
        except ClusterUnreachable as error:  # packets that a network policy drops are waited for
            return Readiness(504, error.message, reached=False)
        return None if answer.status == 403 and _of_api(answer) else readiness_of(answer)

    def _in_namespaces(self, kind: str) -> list[RawObject] | None:
        api, plural = NAMESPACED_KINDS[kind]
        found: list[RawObject] = []
        for namespace in self._namespaces:
            items = self._try(kind, f"{api}/namespaces/{namespace}/{plural}")
            if items is None:
                return None
            found.extend(items)
        return found

    def _try(self, kind: str, path: str, labels: str = "") -> list[RawObject] | None:
        try:
            return self._cluster.list(path, labels)
        except (ClusterUnreachable, NotLoggedIn):
            raise
        except ClusterError as error:
            self._unread.append(f"{kind}: {error.message}")
            return None

    def _get(self, path: str) -> RawObject | None:
        try:
            return self._cluster.get(path)
        except (ClusterUnreachable, NotLoggedIn):
            raise
        except ClusterError as error:
            self._unread.append(error.message)
            return None

    def _own_namespaces(self) -> list[RawObject]:
        named = [self._get(f"/api/v1/namespaces/{name}") for name in NAMESPACES]
        made = self._quietly("/api/v1/namespaces", _STACK_LABEL)
        found = {one["metadata"]["name"]: one for one in (*named, *made) if one is not None}
        return list(found.values())

    def _operators(self, seen: ClusterSnapshot) -> list[RawObject]:
        """KubeRay's operator wherever it is installed, and the deployments of the platform."""
        own = seen.of("Deployment")
        everywhere = (
            self._try("Deployment", f"{_APPS_API}/deployments", labels=_OPERATOR_LABEL) or []
        )
        names = {one.qualified_name for one in own}
        more = [KubeObject("Deployment", raw) for raw in everywhere]
        others = [one for one in more if one.qualified_name not in names]
        return [one.raw for one in (*own, *others)]

    def _logs(self, wanted: Sequence[ContainerLog]) -> Iterator[tuple[ContainerLog, str]]:
        for one in wanted[:MAX_LOGS]:
            text = self._cluster.log(
                one.namespace,
                one.pod,
                one.container,
                previous=one.previous,
                lines=LOG_LINES,
            )
            yield one, text

    def _usage(self) -> Iterator[Usage]:
        """Memory by container: of the metrics server, or else of the kubelets."""
        measured = False
        for namespace in self._namespaces:
            path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods"
            for pod in self._quietly(path):
                measured = True
                for one in pod.get("containers") or []:
                    key = namespace, pod["metadata"]["name"], one["name"]
                    yield key, int(parse_quantity(one["usage"].get("memory")))
        if not measured:
            yield from self._kubelets()

    def _quietly(self, path: str, labels: str = "") -> list[RawObject]:
        """A list that need not be had: there is another way to what it tells."""
        try:
            return self._cluster.list(path, labels)
        except (ClusterUnreachable, NotLoggedIn):
            raise
        except ClusterError:
            return []

    def _kubelets(self) -> Iterator[Usage]:
        for node in self._try("Node", CLUSTER_KINDS["Node"]) or []:
            path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
            answer = self._cluster.ask(path)
            pods = answer.json().get("pods") or [] if answer.status == 200 else []
            for pod in pods:
                yield from _container_usage(pod, self._namespaces)


def _container_usage(pod: RawObject, namespaces: Sequence[str]) -> Iterator[Usage]:
    about = pod["podRef"]
    for one in pod.get("containers") or []:
        if about["namespace"] in namespaces and "memory" in one:
            key = about["namespace"], about["name"], one["name"]
            yield key, int(one["memory"].get("workingSetBytes", 0))


def _of_api(answer: ApiResponse) -> bool:
    """Whether it is the API server's own answer, not that of the service behind it."""
    body = answer.json()
    return isinstance(body, dict) and body.get("kind") == "Status"


def readiness_of(answer: ApiResponse) -> Readiness:
    """What an answer through the API server's proxy says of the service."""
    if _of_api(answer):
        return Readiness(answer.status, str(answer.json().get("message", "")), reached=False)
    body = answer.json()
    error = body.get("error") if isinstance(body, dict) else None
    kind = str(error.get("type", "")) if isinstance(error, dict) else ""
    return Readiness(answer.status, kind)
