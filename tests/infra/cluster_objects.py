"""A platform as the API server tells of it (Kubernetes 1.35, KubeRay 1.7), and parts to break."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.diagnosis import diagnose
from infra.diagnosis.report import Diagnosis
from infra.diagnosis.snapshot import ClusterSnapshot

Object = dict[str, Any]
NOW = datetime(2026, 11, 1, 18, 0, tzinfo=UTC)
IMAGE = "registry.example/vigil:1"


def ago(seconds: float) -> str:
    return (NOW - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def metadata(name: str, namespace: str | None = "vigil", age: float = 3600, **more: Any) -> Object:
    found = {"name": name, "creationTimestamp": ago(age), "uid": f"uid-{name}", **more}
    return found if namespace is None else {**found, "namespace": namespace}


def condition(
    kind: str,
    status: str,
    reason: str = "",
    message: str = "",
    age: float = 3600,
) -> Object:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": ago(age),
    }


def container_status(name: str = "ray", state: Object | None = None, **more: Any) -> Object:
    running = {"running": {"startedAt": ago(3000)}}
    well = state is None
    return {
        "name": name,
        "state": state or running,
        "lastState": {},
        "ready": well,
        "started": well,
        "restartCount": 0,
        "image": IMAGE,
        "imageID": "",
    } | more


def waiting(reason: str, message: str = "") -> Object:
    return {"waiting": {"reason": reason, "message": message}}


def terminated(code: int, reason: str = "Error", age: float = 60) -> Object:
    return {
        "terminated": {
            "exitCode": code,
            "reason": reason,
            "startedAt": ago(age),
            "finishedAt": ago(age),
        }
    }


def pod(
    name: str = "vigil-serve-abc",
    namespace: str = "vigil",
    statuses: list[Object] | None = None,
    conditions: list[Object] | None = None,
    **more: Any,
) -> Object:
    """A Ray worker that serves and is well, unless `statuses` or `conditions` say otherwise."""
    statuses = statuses or [container_status()]
    well = all(one["ready"] for one in statuses)
    default = [
        condition("Initialized", "True"),
        condition("Ready", "True" if well else "False", "" if well else "ContainersNotReady"),
        condition("PodScheduled", "True"),
    ]
    limits = {"cpu": "4", "memory": "8Gi"}
    labels = {
        "ray.io/group": "serve",
        "ray.io/node-type": "worker",
        "app.kubernetes.io/part-of": "vigil",
    }
    more_about = more.pop("metadata", {})
    about = metadata(name, namespace, labels=more.pop("labels", labels), **more_about)
    amounts = {"requests": limits, "limits": limits}
    containers = [{"name": one["name"], "image": IMAGE, "resources": amounts} for one in statuses]
    return {
        "metadata": about,
        "spec": {"containers": containers} | more.pop("spec", {}),
        "status": {
            "phase": "Running",
            "conditions": conditions or default,
            "containerStatuses": statuses,
        }
        | more,
    }


def unscheduled(message: str, **more: Any) -> Object:
    why = [condition("PodScheduled", "False", "Unschedulable", message, age=30)]
    return pod(conditions=why, phase="Pending", containerStatuses=None, **more)


def event(
    kind: str,
    name: str,
    reason: str,
    message: str,
    namespace: str = "vigil",
    age: float = 30,
) -> Object:
    """As the kubelet writes them; controllers of the newer events API leave lastTimestamp empty."""
    return {
        "metadata": metadata(f"{name}.{reason}", namespace),
        "involvedObject": {"kind": kind, "namespace": namespace, "name": name},
        "reason": reason,
        "message": message,
        "type": "Warning",
        "count": 3,
        "firstTimestamp": ago(age + 60),
        "lastTimestamp": ago(age),
        "eventTime": None,
    }


def newer_event(kind: str, name: str, reason: str, message: str, age: float = 30) -> Object:
    """As KubeRay 1.7 and the scheduler write them."""
    times = {"lastTimestamp": None, "firstTimestamp": None, "eventTime": ago(age + 60)}
    series = {"count": 4, "lastObservedTime": ago(age)}
    return event(kind, name, reason, message) | times | {"series": series}


def claim(
    name: str = "home",
    storage_class: str | None = "standard",
    phase: str = "Pending",
) -> Object:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "50Gi"}}}
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {"metadata": metadata(name), "spec": spec, "status": {"phase": phase}}


def storage_class(
    name: str = "standard",
    mode: str = "WaitForFirstConsumer",
    default: bool = True,
) -> Object:
    annotations = {"storageclass.kubernetes.io/is-default-class": str(default).lower()}
    return {"metadata": metadata(name, None, annotations=annotations), "volumeBindingMode": mode}


def service(
    name: str = "vigil-serve-svc",
    selector: Mapping[str, str] | None = None,
    age: float = 3600,
) -> Object:
    chosen = dict(selector or {"ray.io/group": "serve"})
    return {
        "metadata": metadata(name, age=age),
        "spec": {"selector": chosen, "clusterIP": "10.96.0.9"},
    }


def endpoints(name: str = "vigil-serve-svc", *ready: bool | None) -> Object:
    found = [{"addresses": ["10.1.0.1"], "conditions": {"ready": one}} for one in ready]
    labels = {"kubernetes.io/service-name": name}
    return {"metadata": metadata(f"{name}-x1", labels=labels), "endpoints": found}


def application(
    status: str = "RUNNING",
    message: str = "",
    **deployments: tuple[str, str],
) -> Object:
    told = {name: {"status": state, "message": said} for name, (state, said) in deployments.items()}
    return {"status": status, "message": message, "serveDeploymentStatuses": told}


def ray_service(
    applications: Mapping[str, Object] | None = None,
    conditions: list[Object] | None = None,
    ports: tuple[str, ...] = ("metrics", "gcs-server", "serve"),
    **status: Any,
) -> Object:
    head = {
        "name": "ray",
        "image": IMAGE,
        "ports": [{"name": name, "containerPort": 8000} for name in ports],
    }
    both = applications or {"vigil": application(), "drift": application()}
    ready = conditions or [
        condition("Ready", "True", "NonZeroServeEndpoints", "more than 0 serve endpoints"),
        condition("UpgradeInProgress", "False", "NoPendingCluster"),
    ]
    active = {"rayClusterName": "vigil-x", "applicationStatuses": both}
    return {
        "metadata": metadata("vigil", generation=3),
        "spec": {
            "serveConfigV2": "",
            "rayClusterConfig": {"headGroupSpec": {"template": {"spec": {"containers": [head]}}}},
        },
        "status": {
            "conditions": ready,
            "activeServiceStatus": active,
            "numServeEndpoints": 2,
            "observedGeneration": 3,
            "serviceStatus": "Running",
        }
        | status,
    }


def starting(age: float, **status: Any) -> Object:
    conditions = [
        condition("Ready", "False", "Initializing", "RayService is initializing", age),
        condition("UpgradeInProgress", "False", "Initializing", "RayService is initializing", age),
    ]
    waiting = {"vigil": application("DEPLOYING")}
    pending = {"rayClusterName": "vigil-x", "applicationStatuses": waiting}
    given = {"activeServiceStatus": {}, "pendingServiceStatus": pending, "numServeEndpoints": 0}
    return ray_service(conditions=conditions, **(given | status))


def ray_cluster(
    name: str = "vigil-train",
    conditions: list[Object] | None = None,
    age: float = 3600,
) -> Object:
    ready = conditions or [condition("HeadPodReady", "True", "HeadPodRunningAndReady")]
    return {
        "metadata": metadata(name, age=age),
        "spec": {},
        "status": {"state": "ready", "conditions": ready},
    }


def deployment(
    name: str = "kuberay-operator",
    image: str = "quay.io/kuberay/operator:v1.7.0",
    available: int = 1,
) -> Object:
    labels = {"app.kubernetes.io/name": name}
    template = {"spec": {"containers": [{"name": name, "image": image}]}}
    status = {"availableReplicas": available} if available else {"unavailableReplicas": 1}
    return {
        "metadata": metadata(name, "vigil-operators", labels=labels),
        "spec": {"replicas": 1, "template": template},
        "status": status,
    }


def definition(name: str, *fields: str) -> Object:
    head = {"properties": {field: {"type": "object"} for field in fields}}
    spec = {"properties": {"spec": {"properties": {"headGroupSpec": head}}}}
    return {
        "metadata": metadata(name, None),
        "spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": spec}}]},
    }


def namespace(
    name: str,
    phase: str = "Active",
    conditions: list[Object] | None = None,
    **more: Any,
) -> Object:
    return {
        "metadata": metadata(name, None, **more),
        "status": {"phase": phase, "conditions": conditions or []},
    }


def node(*conditions: Object) -> Object:
    sizes = {"cpu": "12", "memory": "21275648Ki"}
    return {
        "metadata": metadata("node-1", None),
        "status": {"allocatable": sizes, "conditions": list(conditions)},
    }


def policies() -> list[Object]:
    from infra.diagnosis.grounds import NETWORK_POLICIES

    names = [(name, space) for space, some in NETWORK_POLICIES.items() for name in some]
    return [{"metadata": metadata(*one)} for one in names]


WELL: dict[str, list[Object]] = {
    "Namespace": [namespace(name) for name in ("vigil", "vigil-tracking", "vigil-operators")],
    "Node": [node(condition("Ready", "True", "KubeletReady"))],
    "Pod": [pod()],
    "Event": [],
    "PersistentVolumeClaim": [claim(phase="Bound")],
    "StorageClass": [storage_class()],
    "Service": [service()],
    "EndpointSlice": [endpoints("vigil-serve-svc", True, True)],
    "NetworkPolicy": policies(),
    "PodDisruptionBudget": [
        {
            "metadata": metadata("vigil-serve"),
            "status": {"disruptionsAllowed": 1, "conditions": []},
        },
    ],
    "ReplicaSet": [],
    "Job": [],
    "RayService": [ray_service()],
    "RayCluster": [ray_cluster()],
    "Deployment": [deployment()],
    "CustomResourceDefinition": [
        definition("rayclusters.ray.io", "ingressOptions"),
        definition("rayservices.ray.io"),
    ],
}


def snapshot(more: Mapping[str, list[Object]] | None = None, **seen: Any) -> ClusterSnapshot:
    """A platform that is well, but for the kinds in `more`."""
    return ClusterSnapshot(now=NOW, objects={**WELL, **(more or {})}, **seen)


def only(more: dict[str, list[dict[str, Any]]], **seen: Any) -> Diagnosis:
    """The one finding in a platform that is well but for this."""
    found = diagnose(snapshot(more, **seen))
    assert len(found) == 1, [str(one) for one in found]
    return found[0]


def says(found: Diagnosis, what: str, why: str, fix: str, grade: str = "failure") -> None:
    assert found.what == what
    assert why in found.why
    assert fix in found.fix
    assert found.grade == grade
