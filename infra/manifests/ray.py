"""The Ray clusters: a RayService that serves and watches, and a RayCluster that trains and rests at zero workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import BaseSettings

from drift.settings import DriftSettings
from infra.manifests.bindings import RAY, TRACKING, Bindings
from infra.manifests.parts import CONTAINER_SECURITY, HOME, POD_SECURITY, Object, environment, object_, resources
from infra.settings import PlatformSettings
from serve.settings import ServeSettings
from train.settings import TrainSettings

RAY_VERSION = "2.60.0"
SERVICE, TRAINING = "vigil", "vigil-train"
PORT = 8000
DRAIN_S = 120  # HAProxy lets go of its connections, and a replica of its requests, within this
GRACE_S = DRAIN_S + 60
TRACKING_URI = f"http://mlflow.{TRACKING}.svc.cluster.local:5000"
TRAINING_URL = f"http://{TRAINING}-head-svc.{RAY}.svc.cluster.local:8265"
RAY_TOKEN, MLFLOW_LOGIN, REDIS_SECRET, API_KEYS = "ray-token", "mlflow-login", "redis-password", "api-keys"  # names of Secrets
KEY_FILE = Path("/etc/vigil/keys.json")  # hashes; a changed Secret reaches it without a new pod
SERVER = "vigil-serve"  # service account of the pods with replicas
LATENCY_BUCKETS_MS = "0.5,1,2,3,5,10,25,50,100,250,1000,5000"


def _declared(settings: type[BaseSettings], **values: Any) -> dict[str, Any]:
    """Defaults and `values`: what the environment of whoever renders says does not count."""
    return {name: field.default for name, field in settings.model_fields.items()} | values


def serve_settings(settings: PlatformSettings) -> ServeSettings:
    """What serving reads, as this environment has it."""
    here = {"home": Path(HOME), "tracking_uri": TRACKING_URI, "host": "0.0.0.0", "port": PORT}
    asked = settings.model_dump(include={"min_replicas", "max_replicas", "cpus_per_replica"})
    # Nobody is let in unseen, whatever the address is: by a key of the Secret, or by a token of the provider.
    here |= {"auth": "required", "keys_file": KEY_FILE}
    here |= {"oidc_issuer": settings.oidc_issuer or None, "oidc_audience": settings.oidc_audience or None}
    links = dict(link.split("=", 1) for link in settings.console_links)
    return ServeSettings(**_declared(ServeSettings, **here, **asked, links=links))


def drift_settings(settings: PlatformSettings) -> DriftSettings:
    """What drift monitoring reads: its retrainings run on the training cluster, never beside the replicas."""
    here = {"home": Path(HOME), "tracking_uri": TRACKING_URI, "dashboard_url": TRAINING_URL}
    return DriftSettings(**_declared(DriftSettings, **here, mode=settings.drift_mode))


def serve_config(settings: PlatformSettings) -> dict[str, Any]:
    """The Serve configuration: as the code itself declares it, with the monitor placed on its own worker group."""
    drift = drift_settings(settings).model_dump(mode="json", exclude={"github_token"})  # a secret comes by the environment
    config: dict[str, Any] = dict(serve_settings(settings).application(drift))
    monitor = {"name": "DriftMonitor", "ray_actor_options": {"num_cpus": 0, "resources": {"drift": 1}}}
    config["applications"] = [
        {**application, "deployments": [monitor]} if application["name"] == "drift" else application
        for application in config["applications"]
    ]
    return config


def variables(settings: PlatformSettings) -> list[Object]:
    """The environment of every Ray container, head and workers alike: Ray reads these when it is imported."""
    on = "1" if settings.haproxy else "0"
    plain = {
        "RAY_SERVE_ENABLE_HA_PROXY": on,
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": on,
        "RAY_SERVE_HAPROXY_NBTHREAD": "2",
        "RAY_SERVE_HAPROXY_LOG_TARGET": "127.0.0.1:10514",  # the default, 514, is not for those who are not root
        **serve_settings(settings).environment,
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(DRAIN_S),
        "RAY_SERVE_REQUEST_LATENCY_BUCKETS_MS": LATENCY_BUCKETS_MS,
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "VIGIL_HOME": HOME,
        "VIGIL_TRAIN_TRACKING_URI": TRACKING_URI,
        "VIGIL_TRAIN_ALERT_RATE": str(TrainSettings().alert_rate),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "HOME": "/tmp",
        "NUMBA_CACHE_DIR": "/tmp/numba",  # the root file system is read-only
    }
    if settings.on_aws:
        plain |= {"AWS_REGION": settings.region}
    login = {"MLFLOW_TRACKING_USERNAME": (MLFLOW_LOGIN, "username"), "MLFLOW_TRACKING_PASSWORD": (MLFLOW_LOGIN, "password")}
    return environment(plain, login)


def ray_service(settings: PlatformSettings, bindings: Bindings) -> Object:
    """The serving cluster. A change of serveConfigV2 is applied in place; any other but worker counts makes a second cluster."""
    cluster = _cluster(settings, head=_head(settings, "ray-head", None), workers=[
        _group("serve", (settings.min_workers, settings.max_workers), _pod(
            settings, "ray-serve", SERVER, resources(settings.worker_cpu, f"{settings.worker_memory_gib}Gi"), serves=True,
        )),
        _group("monitor", (1, 1), _pod(settings, "ray-serve", "vigil-drift", resources("500m", "2Gi"), serves=True),
               rayStartParams={"num-cpus": "0", "resources": _literal({"drift": 1})}),
    ])  # fmt: skip
    if settings.gcs_fault_tolerance == "redis":
        cluster["gcsFaultToleranceOptions"] = _fault_tolerance(settings, bindings)
    return object_("ray.io/v1", "RayService", SERVICE, RAY, spec={
        "serveConfigV2": yaml.safe_dump(serve_config(settings), sort_keys=True),
        "upgradeStrategy": {"type": "NewCluster"}, "rayClusterDeletionDelaySeconds": GRACE_S,
        "excludeHeadPodFromServeSvc": True,  # the head runs no replica: through it is an extra hop
        "rayClusterConfig": cluster,
    })  # fmt: skip


def training_cluster(settings: PlatformSettings) -> Object:
    """A head that takes jobs, and workers that exist while a job needs them."""
    group = _group("train", (0, settings.max_train_workers), _pod(
        settings, "ray-train", "vigil-train", resources(settings.train_cpu, f"{settings.train_memory_gib}Gi"),
    ))  # fmt: skip
    cluster = _cluster(settings, head=_head(settings, "ray-head", "vigil-train"), workers=[group])
    # By default KubeRay leaves the pods of a changed RayCluster as they are.
    return object_("ray.io/v1", "RayCluster", TRAINING, RAY, spec={**cluster, "upgradeStrategy": {"type": "Recreate"}})


def _cluster(settings: PlatformSettings, head: Object, workers: list[Object]) -> Object:
    return {
        "rayVersion": RAY_VERSION, "enableInTreeAutoscaling": True, "authOptions": {"mode": "token", "secretName": RAY_TOKEN},
        "autoscalerOptions": {
            "version": "v2", "idleTimeoutSeconds": 120, "upscalingMode": "Default", "resources": resources("500m", "1Gi"),
            "securityContext": CONTAINER_SECURITY, "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        },
        "headGroupSpec": head, "workerGroupSpecs": workers,
    }  # fmt: skip


def _head(settings: PlatformSettings, pool: str, account: str | None) -> Object:
    """No replica and no actor of ours on the head: it has nothing to do but lead."""
    pod = _pod(settings, pool, account, resources(settings.head_cpu, f"{settings.head_memory_gib}Gi"))
    pod["metadata"]["annotations"] = {"karpenter.sh/do-not-disrupt": "true"}
    return {"rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"}, "serviceType": "ClusterIP", "template": pod}


def _group(name: str, bounds: tuple[int, int], template: Object, **more: Any) -> Object:
    least, most = bounds
    return {
        "groupName": name,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "rayStartParams": {},
        "template": template,
    } | more


def _pod(settings: PlatformSettings, pool: str, account: str | None, amounts: Object, *, serves: bool = False) -> Object:
    """A restricted pod of the Vigil image. `serves`: it is ready when its proxy answers."""
    raylet = {"httpGet": {"path": "/api/local_raylet_healthz", "port": 52365}}
    proxy = {"httpGet": {"path": "/-/healthz", "port": PORT}}
    named = (
        {"metrics": 8080, "haproxy": 9101, "serve": PORT}
        if serves
        else {"metrics": 8080, "gcs-server": 6379, "dashboard": 8265, "client": 10001}
    )
    container: Object = {
        "name": "ray",
        "image": settings.image_ref,
        "imagePullPolicy": "IfNotPresent",
        "env": variables(settings),
        "resources": amounts,
        "securityContext": CONTAINER_SECURITY,
        "ports": [{"name": name, "containerPort": port} for name, port in named.items()],
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "home", "mountPath": HOME}],
        "startupProbe": {**raylet, "periodSeconds": 5, "failureThreshold": 60, "timeoutSeconds": 5},
        "livenessProbe": {**raylet, "periodSeconds": 10, "failureThreshold": 12, "timeoutSeconds": 5},
        "readinessProbe": {**(proxy if serves else raylet), "periodSeconds": 5, "failureThreshold": 2, "timeoutSeconds": 5},
    }
    spec: Object = {
        "containers": [container], "securityContext": POD_SECURITY, "terminationGracePeriodSeconds": GRACE_S,
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "home", "persistentVolumeClaim": {"claimName": "home"}}],
        "enableServiceLinks": False,
    }  # fmt: skip
    if account == SERVER:
        keys = {"secretName": API_KEYS, "defaultMode": 0o440, "optional": bool(settings.oidc_issuer)}
        spec["volumes"].append({"name": "keys", "secret": keys})
        container["volumeMounts"].append({"name": "keys", "mountPath": str(KEY_FILE.parent), "readOnly": True})
    if account is not None:
        spec["serviceAccountName"] = account
    if settings.on_aws:
        spec["nodeSelector"] = {"vigil/pool": pool}
        spec["tolerations"] = [{"key": "vigil/pool", "operator": "Equal", "value": pool, "effect": "NoSchedule"}]
    if serves:
        same = {"matchLabels": {"ray.io/group": "serve"}}
        spec["topologySpreadConstraints"] = [
            {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": same}
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ]
    return {"metadata": {"labels": {"app.kubernetes.io/part-of": "vigil"}}, "spec": spec}


def _fault_tolerance(settings: PlatformSettings, bindings: Bindings) -> Object:
    # Rendered without a cluster, the address of a Redis that does not exist yet is not known.
    address = bindings.redis_address or settings.redis_address or "rediss://redis.invalid:6379"
    password = {"valueFrom": {"secretKeyRef": {"name": REDIS_SECRET, "key": "password"}}}
    return {"backend": "redis", "redisAddress": address, "redisPassword": password, "externalStorageNamespace": settings.name}


def _literal(value: dict[str, int]) -> str:
    """JSON as `ray start` gets it through a shell."""
    return json.dumps(json.dumps(value))


def disruption_budgets(settings: PlatformSettings) -> list[Object]:
    """A drain takes one serving worker at a time; a head that cannot be restarted without loss it does not take."""
    head = 1 if settings.gcs_fault_tolerance == "redis" else 0
    wanted = {"vigil-serve": (1, {"ray.io/group": "serve"}), "vigil-heads": (head, {"ray.io/node-type": "head"})}
    return [
        object_("policy/v1", "PodDisruptionBudget", name, RAY, spec={
            "maxUnavailable": most, "selector": {"matchLabels": {"app.kubernetes.io/part-of": "vigil", **labels}}})
        for name, (most, labels) in wanted.items()
    ]  # fmt: skip


def scheduled_training(settings: PlatformSettings) -> list[Object]:
    """Hands `vigil train` to the training cluster on a schedule (RayCronJob is alpha in KubeRay 1.7)."""
    if not settings.train_schedule:
        return []
    job = ["vigil", "train", "--data", settings.train_data, "--trigger", "schedule", "--json"]
    secrets = {"RAY_AUTH_TOKEN": (RAY_TOKEN, "auth_token")}
    container = {
        "name": "submit",
        "image": settings.image_ref,
        "command": ["ray", "job", "submit", "--address", TRAINING_URL, "--", *job],
        "env": environment({"RAY_AUTH_MODE": "token", "HOME": "/tmp", "RAY_USAGE_STATS_ENABLED": "0"}, secrets),
        "resources": resources("250m", "512Mi"),
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    pod = {
        "containers": [container],
        "restartPolicy": "Never",
        "securityContext": POD_SECURITY,
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "automountServiceAccountToken": False,
    }
    return [
        object_(
            "batch/v1",
            "CronJob",
            "vigil-train",
            RAY,
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
                        "template": {"metadata": {"labels": {"app.kubernetes.io/part-of": "vigil"}}, "spec": pod},
                    }
                },
            },
        )
    ]


def objects(settings: PlatformSettings, bindings: Bindings) -> list[Object]:
    """Everything that serves, watches and trains."""
    return [
        ray_service(settings, bindings), training_cluster(settings), *disruption_budgets(settings), *scheduled_training(settings),
    ]  # fmt: skip
