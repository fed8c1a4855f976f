"""The Ray clusters: a RayService that serves and watches, and a RayCluster that trains.

The second rests at zero workers.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from infra.manifests.base import TRAINING_PRIORITY
from infra.manifests.bindings import RAY_NAMESPACE, Bindings
from infra.manifests.parts import (
    CONTAINER_SECURITY,
    POD_SECURITY,
    Manifest,
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

# What operator and autoscaler have written once is theirs for server-side apply; the rest of the
# same list is the stack's.
_FORCE_PATCH = {"pulumi.com/patchForce": "true"}


def ray_service(settings: PlatformSettings, bindings: Bindings) -> Manifest:
    """The serving cluster.

    A change of serveConfigV2 is applied in place; any other but worker counts makes a second
    cluster.
    """
    counts = settings.min_workers, settings.max_workers
    workers = [
        _group("serve", counts, pod_template(settings, serve_worker(settings))),
        _holding("monitor", (1, 1), pod_template(settings, monitor_worker()), "drift"),
    ]
    serve = settings.serve
    if serve.stream_source:  # the last one: KubeRay adds it to the cluster that runs
        consumers = serve.stream_consumers, serve.max_consumers
        workers.append(
            _holding("stream", consumers, pod_template(settings, stream_worker()), STREAM_RESOURCE)
        )
    cluster = _cluster(head=head_group(settings, serve_head(settings)), workers=workers)
    if settings.gcs_fault_tolerance == "redis":
        cluster["gcsFaultToleranceOptions"] = _fault_tolerance(settings, bindings)
    spec = {
        "serveConfigV2": yaml.safe_dump(serve_config(settings), sort_keys=True),
        "upgradeStrategy": {"type": "NewCluster"},
        "rayClusterDeletionDelaySeconds": WORKER_GRACE_S,
        "excludeHeadPodFromServeSvc": True,  # the head runs no replica: through it is an extra hop
        "rayClusterConfig": cluster,
    }
    return kube_manifest(
        "ray.io/v1", "RayService", RAY_SERVICE, RAY_NAMESPACE, annotations=_FORCE_PATCH, spec=spec
    )


def training_cluster(settings: PlatformSettings) -> Manifest:
    """A head that takes jobs, and workers that exist while a job needs them."""
    group = _group(
        "train", (0, settings.max_train_workers), pod_template(settings, train_worker(settings))
    )
    cluster = _cluster(head=head_group(settings, train_head(settings)), workers=[group])
    # By default KubeRay leaves the pods of a changed RayCluster as they are.
    spec = {**cluster, "upgradeStrategy": {"type": "Recreate"}}
    return kube_manifest(
        "ray.io/v1",
        "RayCluster",
        TRAINING_CLUSTER,
        RAY_NAMESPACE,
        annotations=_FORCE_PATCH,
        spec=spec,
    )


def _cluster(head: Manifest, workers: list[Manifest]) -> Manifest:
    autoscaler = {
        "version": "v2",
        "idleTimeoutSeconds": 120,
        "upscalingMode": "Default",
        "resources": resources("200m", "512Mi"),  # it takes 122 MiB
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, API_TOKEN_MOUNT],
    }
    return {
        "rayVersion": RAY_VERSION,
        "enableInTreeAutoscaling": True,
        "authOptions": {"mode": "token", "secretName": RAY_TOKEN_SECRET},
        "autoscalerOptions": autoscaler,
        "headGroupSpec": head,
        "workerGroupSpecs": workers,
    }


def _group(name: str, bounds: tuple[int, int], template: Manifest, **more: Any) -> Manifest:
    least, most = bounds
    return {
        "groupName": name,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": {},
        "template": template,
    } | more


def _holding(name: str, bounds: tuple[int, int], template: Manifest, resource: str) -> Manifest:
    """Pods that take no work but the one actor that asks for their resource."""
    params = {"num-cpus": "0", "resources": _literal({resource: 1})}
    return _group(name, bounds, template, rayStartParams=params)


def _fault_tolerance(settings: PlatformSettings, bindings: Bindings) -> Manifest:
    # Rendered without a cluster, the address of a Redis that does not exist yet is not known.
    address = bindings.redis_address or settings.redis_address or "rediss://redis.invalid:6379"
    password = {"valueFrom": {"secretKeyRef": {"name": REDIS_SECRET, "key": "password"}}}
    # No externalStorageNamespace: by default it is the cluster's own. With one name for all, the
    # second cluster of a change would begin with the state of the first, and lose its own when
    # KubeRay removes what the first had kept.
    return {"backend": "redis", "redisAddress": address, "redisPassword": password}


def _literal(value: dict[str, int]) -> str:
    """JSON as `ray start` gets it through a shell."""
    return json.dumps(json.dumps(value))


def disruption_budgets(settings: PlatformSettings) -> list[Manifest]:
    """A drain leaves all serving workers but one of those at rest.

    It does not take a serving head that cannot be replaced without loss. A RayCluster has no scale
    subresource, so nothing but a whole number of pods that stay can be asked for.

    Where one worker serves alone there is no budget, as it could only forbid the drain of its node;
    nor is there one for the training head, whose jobs are submitted again.
    """
    wanted = {SERVE_WORKER: settings.min_workers - 1}
    if settings.gcs_fault_tolerance != "redis":
        wanted[SERVE_HEAD] = 1
    return [
        kube_manifest(
            "policy/v1",
            "PodDisruptionBudget",
            f"vigil-{component}",
            RAY_NAMESPACE,
            spec={
                "minAvailable": stay,
                "selector": {
                    "matchLabels": {
                        "app.kubernetes.io/part-of": "vigil",
                        COMPONENT_LABEL: component,
                    }
                },
            },
        )
        for component, stay in sorted(wanted.items())
        if stay > 0
    ]


def scheduled_training(settings: PlatformSettings) -> list[Manifest]:
    """Schedules `vigil train` on the training cluster (RayCronJob is alpha in KubeRay 1.7)."""
    if not settings.train_schedule:
        return []
    job = ["vigil", "train", "--data", settings.train_data, "--trigger", "schedule", "--json"]
    secrets = {"RAY_AUTH_TOKEN": (RAY_TOKEN_SECRET, "auth_token")}
    container = {
        "name": "submit",
        "image": settings.image_ref,
        "command": ["ray", "job", "submit", "--address", TRAINING_URL, "--", *job],
        "env": environment_variables(
            {"RAY_AUTH_MODE": "token", "HOME": "/tmp", "RAY_USAGE_STATS_ENABLED": "0"}, secrets
        ),
        "resources": resources("250m", "512Mi"),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "containers": [container],
        "restartPolicy": "Never",
        "securityContext": POD_SECURITY,
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
        "automountServiceAccountToken": False,
        "priorityClassName": TRAINING_PRIORITY,
    }
    return [
        kube_manifest(
            "batch/v1",
            "CronJob",
            "vigil-train",
            RAY_NAMESPACE,
            spec={
                "schedule": settings.train_schedule,
                "timeZone": "Etc/UTC",
                "concurrencyPolicy": "Forbid",
                "startingDeadlineSeconds": 3600,
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 3,
                "jobTemplate": {
                    "spec": {
                        "backoffLimit": 1,
                        "activeDeadlineSeconds": 7200,
                        "template": {
                            "metadata": {"labels": {"app.kubernetes.io/part-of": "vigil"}},
                            "spec": pod,
                        },
                    }
                },
            },
        )
    ]


def ray_manifests(settings: PlatformSettings, bindings: Bindings) -> list[Manifest]:
    """Everything that serves, watches and trains."""
    return [
        settings_config_map(settings),
        ray_service(settings, bindings),
        training_cluster(settings),
        *disruption_budgets(settings),
        *scheduled_training(settings),
    ]
