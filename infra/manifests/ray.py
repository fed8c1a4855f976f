"""The Ray clusters: a RayService that serves and watches, and a RayCluster that trains.

The second rests at zero workers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from infra.manifests.bindings import RAY_NAMESPACE, TRAINING_PRIORITY, Bindings
from infra.manifests.incidents import with_database
from infra.manifests.parts import (
    CONTAINER_SECURITY,
    POD_SECURITY,
    Manifest,
    Manifests,
    disruption_budget,
    environment_variables,
    kube_manifest,
    resources,
)
from infra.manifests.ray_config import (
    RAY_SERVICE,
    RAY_TOKEN_SECRET,
    RAY_VERSION,
    REDIS_SECRET,
    STREAM_RESOURCE,
    TRAINING_CLUSTER,
    TRAINING_URL,
    serve_config,
    settings_config_map,
)
from infra.manifests.ray_pods import (
    API_TOKEN_MOUNT,
    COMPONENT_LABEL,
    SERVE_HEAD,
    SERVE_WORKER,
    WORKER_GRACE_S,
    head_group,
    monitor_worker,
    pod_template,
    serve_head,
    serve_worker,
    stream_worker,
    train_head,
    train_worker,
)
from infra.settings import PlatformSettings

GRPC_SERVICE = "vigil-grpc"
# What operator and autoscaler have written once is theirs for server-side apply; the rest of the
# same list is the stack's.
_FORCE_PATCH = {"pulumi.com/patchForce": "true"}
# By default KubeRay leaves the pods of a changed RayCluster as they are.
_RECREATE = {"upgradeStrategy": {"type": "Recreate"}}
_REDIS_PASSWORD = {"valueFrom": {"secretKeyRef": {"name": REDIS_SECRET, "key": "password"}}}
_TMP_MOUNT = {"name": "tmp", "mountPath": "/tmp"}
_AUTOSCALER = {
    "version": "v2",
    "idleTimeoutSeconds": 120,
    "upscalingMode": "Default",
    "resources": resources("200m", "512Mi"),  # it takes 122 MiB
    "securityContext": CONTAINER_SECURITY,
    "volumeMounts": [_TMP_MOUNT, API_TOKEN_MOUNT],
}
# Rendered without a cluster, the address of a Redis that does not exist yet is not known.
_UNKNOWN_REDIS = "rediss://redis.invalid:6379"
_SUBMIT_VARIABLES = {
    "RAY_AUTH_MODE": "token",
    "HOME": "/tmp",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_SUBMIT_SECRETS = {"RAY_AUTH_TOKEN": (RAY_TOKEN_SECRET, "auth_token")}
_SUBMIT_CONTAINER = {
    "resources": resources("250m", "512Mi"),
    "securityContext": CONTAINER_SECURITY,
    "volumeMounts": [_TMP_MOUNT],
}
_SUBMIT_POD = {
    "restartPolicy": "Never",
    "securityContext": POD_SECURITY,
    "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
    "automountServiceAccountToken": False,
    "priorityClassName": TRAINING_PRIORITY,
}
_SCHEDULE = {
    "timeZone": "Etc/UTC",
    "concurrencyPolicy": "Forbid",
    "startingDeadlineSeconds": 3600,
    "successfulJobsHistoryLimit": 3,
    "failedJobsHistoryLimit": 3,
}


def ray_service(settings: PlatformSettings, bindings: Bindings) -> Manifest:
    """The serving cluster.

    A change of serveConfigV2 is applied in place; any other but worker counts makes a second
    cluster.
    """
    head = head_group(settings, serve_head(settings))
    cluster = _cluster(head, [*_serving_groups(settings)])
    if settings.gcs_fault_tolerance == "redis":
        cluster["gcsFaultToleranceOptions"] = _fault_tolerance(settings, bindings)
    return _ray_object("RayService", RAY_SERVICE, _service_spec(settings, cluster))


def _ray_object(
    kind: str,
    name: str,
    spec: Manifest,
) -> Manifest:
    return kube_manifest(
        "ray.io/v1",
        kind,
        name,
        RAY_NAMESPACE,
        annotations=_FORCE_PATCH,
        spec=spec,
    )


def _service_spec(settings: PlatformSettings, cluster: Manifest) -> Manifest:
    return {
        "serveConfigV2": yaml.safe_dump(serve_config(settings), sort_keys=True),
        "upgradeStrategy": _upgrade_strategy(settings),
        "rayClusterDeletionDelaySeconds": WORKER_GRACE_S,
        "excludeHeadPodFromServeSvc": True,  # the head runs no replica: through it is an extra hop
        "rayClusterConfig": cluster,
    }


def _upgrade_strategy(settings: PlatformSettings) -> Manifest:
    strategy = settings.upgrade_strategy
    if strategy == "NewCluster":
        return {"type": strategy}
    options = {
        "gatewayClassName": settings.gateway_class,
        "stepSizePercent": settings.upgrade_step_percent,
        "intervalSeconds": settings.upgrade_interval_s,
        "maxSurgePercent": settings.upgrade_surge_percent,
    }
    return {"type": strategy, "clusterUpgradeOptions": options}


def _serving_groups(settings: PlatformSettings) -> Iterator[Manifest]:
    yield _serve_group(settings)
    yield _monitor_group(settings)
    if settings.serve.stream_source:  # the last one: KubeRay adds it to the cluster that runs
        yield _stream_group(settings)


def _serve_group(settings: PlatformSettings) -> Manifest:
    counts = (settings.min_workers, settings.max_workers)
    return _group("serve", counts, pod_template(settings, serve_worker(settings)))


def _monitor_group(settings: PlatformSettings) -> Manifest:
    template = with_database(pod_template(settings, monitor_worker()), settings)
    return _holding("monitor", (1, 1), template, "drift")


def _stream_group(settings: PlatformSettings) -> Manifest:
    counts = (settings.serve.stream_consumers, settings.serve.max_consumers)
    return _holding("stream", counts, pod_template(settings, stream_worker()), STREAM_RESOURCE)


def training_cluster(settings: PlatformSettings) -> Manifest:
    """A head that takes jobs, and workers that exist while a job needs them."""
    head = head_group(settings, train_head(settings))
    spec = {**_cluster(head, [_train_group(settings)]), **_RECREATE}
    return _ray_object("RayCluster", TRAINING_CLUSTER, spec)


def _train_group(settings: PlatformSettings) -> Manifest:
    counts = (0, settings.max_train_workers)
    return _group("train", counts, pod_template(settings, train_worker(settings)))


def _cluster(head: Manifest, workers: Manifests) -> Manifest:
    return {
        "rayVersion": RAY_VERSION,
        "enableInTreeAutoscaling": True,
        "authOptions": {"mode": "token", "secretName": RAY_TOKEN_SECRET},
        "autoscalerOptions": _AUTOSCALER,
        "headGroupSpec": head,
        "workerGroupSpecs": workers,
    }


def _group(
    name: str,
    bounds: tuple[int, int],
    template: Manifest,
    **more: Any,
) -> Manifest:
    least, most = bounds
    return {
        "groupName": name,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": {},
        "template": template,
    } | more


def _holding(
    name: str,
    bounds: tuple[int, int],
    template: Manifest,
    resource: str,
) -> Manifest:
    """Pods that take no work but the one actor that asks for their resource."""
    params = {"num-cpus": "0", "resources": _literal({resource: 1})}
    return _group(
        name,
        bounds,
        template,
        rayStartParams=params,
    )


def _fault_tolerance(settings: PlatformSettings, bindings: Bindings) -> Manifest:
    address = bindings.redis_address or settings.redis_address or _UNKNOWN_REDIS
    # No externalStorageNamespace: by default it is the cluster's own. With one name for all, the
    # second cluster of a change would begin with the state of the first, and lose its own when
    # KubeRay removes what the first had kept.
    return {
        "backend": "redis",
        "redisAddress": address,
        "redisPassword": _REDIS_PASSWORD,
    }


def _literal(value: dict[str, int]) -> str:
    """JSON as `ray start` gets it through a shell."""
    return json.dumps(json.dumps(value))


def disruption_budgets(settings: PlatformSettings) -> Manifests:
    """A drain leaves all serving workers but one of those at rest.

    It does not take a serving head that cannot be replaced without loss. A RayCluster has no scale
    subresource, so nothing but a whole number of pods that stay can be asked for.

    Where one worker serves alone there is no budget, as it could only forbid the drain of its node;
    nor is there one for the training head, whose jobs are submitted again.
    """
    return list(_budgets(settings))


def _budgets(settings: PlatformSettings) -> Iterator[Manifest]:
    if settings.gcs_fault_tolerance != "redis":
        yield _budget(SERVE_HEAD, 1)
    if settings.min_workers > 1:
        yield _budget(SERVE_WORKER, settings.min_workers - 1)


def _budget(component: str, remaining_pods: int) -> Manifest:
    labels = {"app.kubernetes.io/part-of": "vigil", COMPONENT_LABEL: component}
    name = f"vigil-{component}"
    return disruption_budget(
        name,
        RAY_NAMESPACE,
        labels,
        minAvailable=remaining_pods,
    )


def scheduled_training(settings: PlatformSettings) -> Manifests:
    """Schedules `vigil train` on the training cluster (RayCronJob is alpha in KubeRay 1.7)."""
    if not settings.train_schedule:
        return []
    pod = {**_SUBMIT_POD, "containers": [_submit_container(settings)]}
    job = {
        "backoffLimit": 1,
        "activeDeadlineSeconds": 7200,
        "template": _submit_template(pod),
    }
    schedule = {**_SCHEDULE, "schedule": settings.train_schedule}
    spec = {**schedule, "jobTemplate": {"spec": job}}
    return [
        kube_manifest(
            "batch/v1",
            "CronJob",
            "vigil-train",
            RAY_NAMESPACE,
            spec=spec,
        )
    ]


def _submit_template(pod: Manifest) -> Manifest:
    return {"metadata": {"labels": {"app.kubernetes.io/part-of": "vigil"}}, "spec": pod}


def _submit_container(settings: PlatformSettings) -> Manifest:
    return {
        "name": "submit",
        "image": settings.image_ref,
        "command": _submit_command(settings.train_data),
        "env": environment_variables(_SUBMIT_VARIABLES, _SUBMIT_SECRETS),
        **_SUBMIT_CONTAINER,
    }


def _submit_command(data: str) -> list[str]:
    train = ["vigil", "train", "--data", data, "--trigger", "schedule", "--json"]
    return ["ray", "job", "submit", "--address", TRAINING_URL, "--", *train]


def grpc_services(settings: PlatformSettings) -> Manifests:
    """The way in of gRPC within the cluster, where it has a port: KubeRay makes none for it."""
    number = settings.serve.grpc_port
    if not number:
        return []
    port = {"name": "grpc", "port": number, "appProtocol": "kubernetes.io/h2c"}
    spec = {"selector": {COMPONENT_LABEL: SERVE_WORKER}, "ports": [port]}
    return [
        kube_manifest(
            "v1",
            "Service",
            GRPC_SERVICE,
            RAY_NAMESPACE,
            spec=spec,
        )
    ]


def ray_manifests(settings: PlatformSettings, bindings: Bindings) -> Manifests:
    """Everything that serves, watches and trains."""
    return [
        settings_config_map(settings),
        ray_service(settings, bindings),
        training_cluster(settings),
        *grpc_services(settings),
        *disruption_budgets(settings),
        *scheduled_training(settings),
    ]
