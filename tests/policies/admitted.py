"""Objects as an API server takes them, for every rule that it judges too: good ones and bad ones.

A rule's objects are every way of keeping or breaking it, at every place where it looks, among
harmless differences.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from tests.policies.harness import Given, changed
from tests.policies.parts import LABELS, MLFLOW, container, metadata, pod, ray_service

Change = Mapping[str, Any]
"""Values by dotted path; REMOVED takes one away."""
Place = tuple[str, str]
"""A kind, and the path of the part of it that is changed."""

LEAST = 20  # objects of a rule that are good, and as many that are bad
MOST = 24


@dataclass(frozen=True)
class Ways:
    """How objects keep a rule and how they break it, and where."""

    places: Sequence[Place]
    good: Sequence[Change]
    bad: Sequence[Change]

    def objects(self, changes: Sequence[Change]) -> list[dict[str, Any]]:
        """Objects that differ, each with one of the changes: at every place, as far as MOST go."""
        made: dict[str, dict[str, Any]] = {}
        for number in range(len(NOISE)):
            for change, place in product(changes, self.places):
                thing = _edited(place, number, change)
                made.setdefault(json.dumps(thing, sort_keys=True), thing)
            if len(made) >= LEAST:
                break
        things = list(made.values())
        step = -(-len(things) // MOST)
        return things[::step] if len(things) >= step * LEAST else things[:MOST]


def _edited(place: Place, number: int, change: Change) -> dict[str, Any]:
    kind, path = place
    given = Given("", "", copy.deepcopy(BASES[kind]))
    noise = {"metadata.annotations.number": f"n{number}"}
    if kind in _CLUSTER_PATHS:
        noise |= {f"{_CLUSTER_PATHS[kind]}.{key}": value for key, value in NOISE[number].items()}
    for key, value in noise.items():
        given = changed(given, key, copy.deepcopy(value))
    for key, value in change.items():
        given = changed(given, f"{path}.{key}".strip("."), value)
    return given.props


def _whole(thing: Any) -> Any:
    """Numbers as an API server reads them: Pulumi writes each as one with a fraction."""
    if isinstance(thing, dict):
        return {key: _whole(value) for key, value in thing.items()}
    if isinstance(thing, list):
        return [_whole(value) for value in thing]
    return int(thing) if isinstance(thing, float) and thing.is_integer() else thing


def _thing(api: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "metadata": metadata("thing"), **_whole(fields)}


_POD = pod(container("main"), initContainers=[container("init")])
_TEMPLATE = {"metadata": {"labels": dict(LABELS)}, "spec": _POD}
_BATCH = {"metadata": {"labels": dict(LABELS)}, "spec": {**_POD, "restartPolicy": "Never"}}
_SELECTED = {"selector": {"matchLabels": dict(LABELS)}}
_SERVICE = ray_service()["spec"]
_CLUSTER = _SERVICE["rayClusterConfig"]
_SUBMITTER = {"metadata": {}, "spec": {**_POD, "restartPolicy": "Never"}}
for group in (_CLUSTER["headGroupSpec"], *_CLUSTER["workerGroupSpecs"]):
    group["template"]["spec"]["initContainers"] = [container("init")]
_CLUSTER["workerGroupSpecs"].append(
    {**copy.deepcopy(_CLUSTER["workerGroupSpecs"][0]), "groupName": "more"}
)
_SERVER = {"metadata": {"labels": {**LABELS, "app.kubernetes.io/version": "3.17.2"}}}
_SERVER = {**_SERVER, "spec": pod(MLFLOW)}

BASES: dict[str, dict[str, Any]] = {
    "Pod": _thing("v1", "Pod", spec=_POD),
    "Deployment": _thing("apps/v1", "Deployment", spec={"template": _TEMPLATE, **_SELECTED}),
    "StatefulSet": _thing(
        "apps/v1",
        "StatefulSet",
        spec={"template": _TEMPLATE, "serviceName": "it", **_SELECTED},
    ),
    "DaemonSet": _thing("apps/v1", "DaemonSet", spec={"template": _TEMPLATE, **_SELECTED}),
    "Job": _thing("batch/v1", "Job", spec={"template": _BATCH}),
    "CronJob": _thing(
        "batch/v1",
        "CronJob",
        spec={"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": _BATCH}}},
    ),
    "RayService": _thing("ray.io/v1", "RayService", spec=_SERVICE),
    "RayCluster": _thing("ray.io/v1", "RayCluster", spec=_CLUSTER),
    "RayJob": _thing(
        "ray.io/v1",
        "RayJob",
        spec={
            "entrypoint": "vigil",
            "rayClusterSpec": _CLUSTER,
            "submitterPodTemplate": _SUBMITTER,
        },
    ),
    "MlflowPod": _thing("v1", "Pod", spec=_SERVER["spec"]),
    "MlflowDeployment": _thing("apps/v1", "Deployment", spec={"template": _SERVER, **_SELECTED}),
    "MlflowStatefulSet": _thing(
        "apps/v1", "StatefulSet", spec={"template": _SERVER, "serviceName": "it", **_SELECTED}
    ),
    "Secret": _thing("v1", "Secret", data={"token": "Z2VuZXJhdGVk", "raw": "/////w=="}),
    "ConfigMap": _thing("v1", "ConfigMap", data={"level": "info"}),
    "Service": _thing("v1", "Service", spec={"type": "ClusterIP", "ports": [{"port": 8000}]}),
    "Ingress": _thing(
        "networking.k8s.io/v1",
        "Ingress",
        spec={
            "tls": [{"hosts": ["vigil.example.org"]}],
            "defaultBackend": {"service": {"name": "serve", "port": {"number": 8000}}},
        },
    ),
    "PodDisruptionBudget": _thing(
        "policy/v1",
        "PodDisruptionBudget",
        spec={"minAvailable": 2, "selector": {"matchLabels": {"ray.io/group": "serve"}}},
    ),
    "Application": _thing(
        "argoproj.io/v1alpha1",
        "Application",
        spec={
            "source": {"path": "rendered/prod", "targetRevision": "main"},
            "syncPolicy": {
                "syncOptions": ["ServerSideApply=true", "RespectIgnoreDifferences=true"]
            },
            "ignoreDifferences": [
                {"group": "ray.io", "jqPathExpressions": [".spec.workerGroupSpecs[].replicas"]}
            ],
        },
    ),
    "NodePool": {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": "thing"},
        "spec": {"limits": {"cpu": "64", "memory": "256Gi"}},
    },
    "EC2NodeClass": {
        "apiVersion": "karpenter.k8s.aws/v1",
        "kind": "EC2NodeClass",
        "metadata": {"name": "thing"},
        "spec": {"metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1}},
    },
    "Namespace": {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": "vigil-tracking",
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        },
    },
}
_CLUSTER_PATHS = {
    "RayService": "spec.rayClusterConfig",
    "RayCluster": "spec",
    "RayJob": "spec.rayClusterSpec",
}
CLUSTERS: list[Place] = list(_CLUSTER_PATHS.items())
HEADS: list[Place] = [(kind, f"{path}.headGroupSpec") for kind, path in CLUSTERS]
WORKERS: list[Place] = [
    (kind, f"{path}.workerGroupSpecs.{number}") for kind, path in CLUSTERS for number in (0, 1)
]
SERVING: list[Place] = [each for each in WORKERS if each[0] == "RayService"]
PODS: list[Place] = [
    ("Pod", "spec"),
    ("Deployment", "spec.template.spec"),
    ("StatefulSet", "spec.template.spec"),
    ("DaemonSet", "spec.template.spec"),
    ("Job", "spec.template.spec"),
    ("CronJob", "spec.jobTemplate.spec.template.spec"),
    *((kind, f"{path}.template.spec") for kind, path in (*HEADS, *WORKERS)),
    ("RayJob", "spec.submitterPodTemplate.spec"),
]
BOXES: list[Place] = [
    (kind, f"{path}.{boxes}.0") for boxes in ("containers", "initContainers") for kind, path in PODS
]
RAY_BOXES: list[Place] = [(kind, f"{path}.template.spec.containers.0") for kind, path in WORKERS]
SERVERS: list[Place] = [
    ("MlflowPod", "spec.containers.0"),
    ("MlflowDeployment", "spec.template.spec.containers.0"),
    ("MlflowStatefulSet", "spec.template.spec.containers.0"),
]


def whole(*kinds: str) -> list[Place]:
    """These kinds, changed anywhere."""
    return [(kind, "") for kind in kinds]


def env(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    """An environment: texts by name, or a reference in place of one."""
    return [
        {"name": name, **({"value": value} if isinstance(value, str) else {"valueFrom": value})}
        for name, value in pairs
    ]


REFERENCE = {"configMapKeyRef": {"name": "c", "key": "k"}}
# Harmless differences of Ray clusters; other objects differ by a label where they must.
NOISE: list[Change] = [
    {},
    {"headGroupSpec.rayStartParams.block": "true"},
    {"workerGroupSpecs.1.maxReplicas": 3},
    {"workerGroupSpecs.0.groupName": "first"},
    {"headGroupSpec.template.metadata.labels": {"team": "ml"}},
    {"autoscalerOptions": {"idleTimeoutSeconds": 60}},
    {"workerGroupSpecs.1.template.spec.nodeSelector": {"disk": "ssd"}},
    {"headServiceAnnotations": {"note": "x"}},
    *({"workerGroupSpecs.1.groupName": f"group-{number}"} for number in range(12)),
]
