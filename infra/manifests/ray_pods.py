"""The pods of the Ray clusters: heads that lead, workers that serve, watch or train.

All are restricted, none with rights in the cluster but the autoscaler's container.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from infra.manifests.bindings import PLATFORM_PRIORITY, TRAINING_PRIORITY
from infra.manifests.parts import (
    HOME_PATH,
    POD_SECURITY,
    Manifest,
    Manifests,
    container,
    resources,
)
from infra.manifests.ray_config import (
    API_KEYS_SECRET,
    DRAIN_S,
    KEY_FILE,
    ROOM_SECRETS_SECRET,
    SECRETS_FOLDER,
    SERVE_PORT,
    SETTINGS_FOLDER,
    SETTINGS_MAP,
    ray_variables,
)
from infra.settings import PlatformSettings

WORKER_GRACE_S = DRAIN_S + 60
# A head has no request to finish, but its autoscaler ignores SIGTERM while the GCS lives, and
# KubeRay makes no new head before the old one is gone. A training worker that makes way has nothing
# to finish either: its job is tried again.
HEAD_GRACE_S = 20
TRAIN_GRACE_S = 30
_TMP_SIZE = "10Gi"
_LOGS_SIZE = "10Gi"
API_TOKEN = "api-token"
API_TOKEN_S = 3600
API_TOKEN_MOUNT = {
    "name": API_TOKEN,
    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
    "readOnly": True,
}
_NAMESPACE_FIELD = {"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}
_CERTIFICATE = {"key": "ca.crt", "path": "ca.crt"}
# What a pod is given to ask the API server, for the autoscaler's container alone: jobs run on the
# head too, and have no business with pods.
_API_TOKEN_VOLUME = {
    "name": API_TOKEN,
    "projected": {
        "defaultMode": 0o440,
        "sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": API_TOKEN_S}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [_CERTIFICATE]}},
            {"downwardAPI": {"items": [_NAMESPACE_FIELD]}},
        ],
    },
}
# KubeRay mounts the volume of this name where Ray writes its logs.
_LOGS_VOLUME = {"name": "ray-logs", "emptyDir": {"sizeLimit": _LOGS_SIZE}}
COMPONENT_LABEL = "app.kubernetes.io/component"
SERVE_WORKER = "serve-worker"
SERVE_HEAD = "serve-head"
TRAIN_HEAD = "train-head"
SERVE_ACCOUNT = "vigil-serve"  # service account of the pods with replicas
WORKER_PORTS = {"metrics": 8080, "haproxy": 9101, "serve": SERVE_PORT}
TRAIN_PORTS = {"metrics": 8080}
# A pod is ready when its proxy answers; it lives as long as Ray on it does.
_RAYLET = {"httpGet": {"path": "/api/local_raylet_healthz", "port": 52365}}
_PROXY = {"httpGet": {"path": "/-/healthz", "port": SERVE_PORT}}
HEAD_PORTS = {
    "metrics": 8080,
    "gcs-server": 6379,
    "dashboard": 8265,
    "client": 10001,
}


@dataclass(frozen=True, kw_only=True)
class PodKind:
    """What a kind of pod is.

    `serves` says that it is ready when its proxy answers, `secrets` that it may read the rooms'.
    """

    component: str
    pool: str
    account: str | None
    amounts: Manifest
    ports: Mapping[str, int]
    grace_s: int
    priority: str = PLATFORM_PRIORITY
    serves: bool = False
    secrets: bool = False


def serve_worker(settings: PlatformSettings) -> PodKind:
    return PodKind(
        component=SERVE_WORKER,
        pool="ray-serve",
        account=SERVE_ACCOUNT,
        amounts=_size(settings.worker_cpu, settings.worker_memory_gib),
        ports=WORKER_PORTS,
        grace_s=WORKER_GRACE_S,
        serves=True,
    )


def monitor_worker() -> PodKind:
    return _one_actor("monitor", "vigil-drift")


def stream_worker() -> PodKind:
    """One consumer of a stream, with rights of its own."""
    return _one_actor("stream", "vigil-stream")


def _one_actor(component: str, account: str) -> PodKind:
    """A worker with room for one actor beside the proxy, which may read the rooms' secrets."""
    return PodKind(
        component=component,
        pool="ray-serve",
        account=account,
        amounts=resources("500m", "1536Mi"),  # the monitor takes 722 MiB
        ports=WORKER_PORTS,
        grace_s=WORKER_GRACE_S,
        serves=True,
        secrets=True,
    )


def train_worker(settings: PlatformSettings) -> PodKind:
    return PodKind(
        component="train-worker",
        pool="ray-train",
        account="vigil-train",
        amounts=_size(settings.train_cpu, settings.train_memory_gib),
        ports=TRAIN_PORTS,
        grace_s=TRAIN_GRACE_S,
        priority=TRAINING_PRIORITY,
    )


def serve_head(settings: PlatformSettings) -> PodKind:
    """KubeRay makes the service of port 8000 only where the head names a port `serve`.

    No request goes to the head.
    """
    return _head(
        settings,
        SERVE_HEAD,
        account=None,
        ports={**HEAD_PORTS, "serve": SERVE_PORT},
    )


def train_head(settings: PlatformSettings) -> PodKind:
    """Jobs' drivers run on it, under the account that may write models."""
    return _head(
        settings,
        TRAIN_HEAD,
        account="vigil-train",
        ports=HEAD_PORTS,
    )


def _head(
    settings: PlatformSettings,
    component: str,
    *,
    account: str | None,
    ports: Mapping[str, int],
) -> PodKind:
    return PodKind(
        component=component,
        pool="ray-head",
        account=account,
        amounts=_size(settings.head_cpu, settings.head_memory_gib),
        ports=ports,
        grace_s=HEAD_GRACE_S,
    )


def _size(cpu: float, memory_gib: float) -> Manifest:
    return resources(cpu, f"{memory_gib}Gi")


def pod_template(settings: PlatformSettings, role: PodKind) -> Manifest:
    """A restricted pod of the Vigil image, without rights in the cluster."""
    labels = {"app.kubernetes.io/part-of": "vigil", COMPONENT_LABEL: role.component}
    return {"metadata": {"labels": labels}, "spec": _pod_spec(settings, role)}


def _pod_spec(settings: PlatformSettings, role: PodKind) -> Manifest:
    return {
        "containers": [_container(settings, role)],
        "securityContext": POD_SECURITY,
        "priorityClassName": role.priority,
        "terminationGracePeriodSeconds": role.grace_s,
        "automountServiceAccountToken": False,
        "volumes": [*_volumes(settings, role)],
        "enableServiceLinks": False,
        **_account(role),
        **_placement(settings, role),
    }


def _account(role: PodKind) -> Manifest:
    return {} if role.account is None else {"serviceAccountName": role.account}


def _placement(settings: PlatformSettings, role: PodKind) -> Manifest:
    """The nodes of its pool, where a stack has pools, and over how many of them."""
    spread = {"topologySpreadConstraints": _spread()} if role.serves else {}
    return {**spread, **_pool_of(role)} if settings.on_aws else spread


def _pool_of(role: PodKind) -> Manifest:
    toleration = {"key": "vigil/pool", "operator": "Equal", "value": role.pool}
    return {
        "nodeSelector": {"vigil/pool": role.pool},
        "tolerations": [{**toleration, "effect": "NoSchedule"}],
    }


def _volumes(settings: PlatformSettings, role: PodKind) -> Iterator[Manifest]:
    yield {"name": "tmp", "emptyDir": {"sizeLimit": _TMP_SIZE}}
    yield _home(settings)
    yield {"name": "settings", "configMap": {"name": SETTINGS_MAP}}
    if role.secrets:
        yield _secret_volume("secrets", ROOM_SECRETS_SECRET)
    if role.account == SERVE_ACCOUNT:
        # Where an issuer's tokens open the service there may be none; who needs one is asked for it
        # before anything is made.
        yield _secret_volume("keys", API_KEYS_SECRET)


def _secret_volume(name: str, secret: str) -> Manifest:
    source = {"secretName": secret, "defaultMode": 0o440, "optional": True}
    return {"name": name, "secret": source}


def _container(settings: PlatformSettings, role: PodKind) -> Manifest:
    return container(
        "ray",
        settings.image_ref,
        role.amounts,
        env=ray_variables(settings),
        ports=[*_ports(role)],
        volumeMounts=[*_mounts(role)],
        **_probes(role),
    )


def _ports(role: PodKind) -> Iterator[Manifest]:
    for name, port in role.ports.items():
        yield {"name": name, "containerPort": port}


def _mounts(role: PodKind) -> Iterator[Manifest]:
    yield {"name": "tmp", "mountPath": "/tmp"}
    yield {"name": "home", "mountPath": HOME_PATH}
    yield _read_only("settings", SETTINGS_FOLDER)
    if role.secrets:
        yield _read_only("secrets", SECRETS_FOLDER)
    if role.account == SERVE_ACCOUNT:
        yield _read_only("keys", KEY_FILE.parent)


def _read_only(volume: str, path: Path) -> Manifest:
    return {"name": volume, "mountPath": str(path), "readOnly": True}


def _probes(role: PodKind) -> Manifest:
    ready = _PROXY if role.serves else _RAYLET
    return {
        "startupProbe": _probe(_RAYLET, 5, failures=60),
        "livenessProbe": _probe(_RAYLET, 10, failures=12),
        "readinessProbe": _probe(ready, 5, failures=2),
    }


def _probe(
    action: Manifest,
    period_s: int,
    *,
    failures: int,
) -> Manifest:
    return {
        **action,
        "periodSeconds": period_s,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }


def _home(settings: PlatformSettings) -> Manifest:
    if settings.shared_folder:
        return {"name": "home", "persistentVolumeClaim": {"claimName": "home"}}
    return {"name": "home", "emptyDir": {"sizeLimit": _TMP_SIZE}}


def _spread() -> Manifests:
    """Replicas over zones and machines, as far as it goes."""
    same = {"matchLabels": {"ray.io/group": "serve"}}
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": same,
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def head_group(settings: PlatformSettings, role: PodKind) -> Manifest:
    """No replica and no actor of ours on the head: it has nothing to do but lead."""
    pod = pod_template(settings, role)
    pod["metadata"]["annotations"] = {"karpenter.sh/do-not-disrupt": "true"}
    pod["spec"]["volumes"] += [_LOGS_VOLUME, _API_TOKEN_VOLUME]
    params = {"num-cpus": "0", "dashboard-host": "0.0.0.0"}
    return {"rayStartParams": params, "serviceType": "ClusterIP", "template": pod}
