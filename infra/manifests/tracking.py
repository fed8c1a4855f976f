"""MLflow: servers behind one name, their database and artifacts, the migration before them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from infra.manifests.base import DATABASE_CONFIG, NO_WAIT, PLATFORM_PRIORITY
from infra.manifests.bindings import TRACKING_NAMESPACE
from infra.manifests.parts import (
    CONTAINER_SECURITY,
    POD_SECURITY,
    Manifest,
    environment_variables,
    kube_manifest,
    resources,
)
from infra.settings import PlatformSettings

MLFLOW_VERSION = "3.17.2"  # that of the lock file; policies refuse one with known holes
_MLFLOW = "mlflow"
MLFLOW_PORT = 5000
ADMIN_SECRET = "mlflow-admin"  # name of a Secret: password, secret-key
_LABELS = {"app.kubernetes.io/part-of": "vigil", "app.kubernetes.io/name": _MLFLOW}
_COMPONENT_LABEL = "app.kubernetes.io/component"
# What the Service selects: a pod that migrates answers no requests.
_SERVER_LABELS = _LABELS | {_COMPONENT_LABEL: "server"}
_MIGRATION_LABELS = _LABELS | {_COMPONENT_LABEL: "migration"}
_TMP_SIZE = "2Gi"
DEFAULT_WAIT_S = 900  # where an update does not wait for the service
_PGPASS_PATH = "/run/database/pgpass"
# SQLAlchemy 2.1 takes another one, which MLflow does not bring, where none is named.
_DRIVER = "postgresql+psycopg2"


def database_uri(settings: PlatformSettings) -> str:
    """No password: libpq takes it from PGPASSFILE. `$(HOST)` is expanded by the kubelet."""
    return (
        f"{_DRIVER}://mlflow@$(DATABASE_HOST):5432/mlflow?sslmode=require"
        if settings.on_aws
        else "sqlite:////data/mlflow.db"
    )


def mlflow_command(settings: PlatformSettings) -> list[str]:
    hosts = [
        f"{_MLFLOW}{suffix}:{MLFLOW_PORT}"
        for suffix in (
            f".{TRACKING_NAMESPACE}.svc.cluster.local",
            f".{TRACKING_NAMESPACE}.svc",
            f".{TRACKING_NAMESPACE}",
            "",
        )
    ]
    artifacts = (
        [
            "--default-artifact-root",
            f"s3://{settings.bucket('models')}/mlflow",
            "--no-serve-artifacts",
        ]
        if settings.on_aws
        else ["--serve-artifacts", "--artifacts-destination", "/data/artifacts"]
    )
    return [
        "mlflow",
        "server",
        "--host",
        "0.0.0.0",
        "--port",
        str(MLFLOW_PORT),
        "--workers",
        "2",
        "--backend-store-uri",
        database_uri(settings),
        *artifacts,
        "--app-name",
        "basic-auth",
        "--allowed-hosts",
        ",".join([*hosts, "localhost:*", "127.0.0.1:*"]),
    ]


def _variables(settings: PlatformSettings) -> list[Manifest]:
    plain = {
        "HOME": "/tmp",
        "MLFLOW_AUTH_CONFIG_PATH": "/etc/mlflow/auth.ini",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_AUTH_ADMIN_USERNAME": "vigil",
        # Its job runner and seven consumers take 1.2 GB, and nothing here uses them.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    secrets = {
        "MLFLOW_AUTH_ADMIN_PASSWORD": (ADMIN_SECRET, "password"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": (ADMIN_SECRET, "secret-key"),
    }
    return [*_database_variables(settings), *environment_variables(plain, secrets)]


def _database_variables(settings: PlatformSettings) -> list[Manifest]:
    """First among a container's variables: what comes after may refer to them."""
    if not settings.on_aws:
        return []
    keys = {"DATABASE_HOST": "host", "DATABASE_SECRET": "secret"}
    known: list[Manifest] = [
        {"name": name, "valueFrom": {"configMapKeyRef": {"name": DATABASE_CONFIG, "key": key}}}
        for name, key in keys.items()
    ]
    return [
        *known,
        {"name": "PGPASSFILE", "value": _PGPASS_PATH},
        {"name": "AWS_REGION", "value": settings.region},
    ]


def _container(
    settings: PlatformSettings, name: str, command: list[str], amounts: Manifest, **more: Any
) -> Manifest:
    mounts: list[Manifest] = [
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "config", "mountPath": "/etc/mlflow", "readOnly": True},
    ]
    mounts.append(
        {"name": "database", "mountPath": "/run/database"}
        if settings.on_aws
        else {"name": "data", "mountPath": "/data"}
    )
    return {
        "name": name,
        "image": settings.image_ref,
        "imagePullPolicy": "IfNotPresent",
        "command": command,
        "resources": amounts,
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": mounts,
    } | more


def _pod(
    settings: PlatformSettings, labels: dict[str, str], containers: list[Manifest], **more: Any
) -> Manifest:
    volumes: list[Manifest] = [
        {"name": "tmp", "emptyDir": {"sizeLimit": _TMP_SIZE}},
        {"name": "config", "configMap": {"name": "mlflow"}},
    ]
    first: list[Manifest] = []
    if settings.on_aws:
        volumes.append({"name": "database", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
        small = resources("50m", "192Mi")
        known = _database_variables(settings) + environment_variables({"HOME": "/tmp"})
        run = ["python", "/etc/mlflow/pgpass.py"]
        # The first makes the file before anything connects; the second, a sidecar, keeps it fresh.
        first = [
            _container(settings, "password", [*run, "once"], small, env=known),
            _container(settings, "password-refresh", run, small, env=known, restartPolicy="Always"),
        ]
    else:
        volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": "mlflow"}})
    spec: Manifest = {
        "serviceAccountName": _MLFLOW,
        "securityContext": POD_SECURITY,
        "containers": containers,
        "volumes": volumes,
        "enableServiceLinks": False,
    }
    if first:
        spec["initContainers"] = first
    version = {"app.kubernetes.io/version": MLFLOW_VERSION}
    return {"metadata": {"labels": labels | version}, "spec": {**spec, **more}}


def mlflow_config(settings: PlatformSettings) -> Manifest:
    """MLflow's authentication settings, and what keeps the password file.

    Users are in its database, no password is here.
    """
    lines = [
        "[mlflow]",
        "default_permission = READ",
        f"database_uri = {_auth_database_uri(settings)}",
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth",
        # Every poll of every replica signs in; without it each costs a slow password hash.
        "auth_cache_ttl_seconds = 30",
    ]
    data = {"auth.ini": "\n".join(lines) + "\n"}
    if settings.on_aws:
        data["pgpass.py"] = Path(__file__).with_name("pgpass.py").read_text()
    return kube_manifest("v1", "ConfigMap", "mlflow", TRACKING_NAMESPACE, data=data)


def _auth_database_uri(settings: PlatformSettings) -> str:
    """libpq takes host, user and TLS mode from its own variables (PGHOST...).

    A file cannot refer to variables.
    """
    return f"{_DRIVER}:///mlflow" if settings.on_aws else "sqlite:////data/auth.db"


def mlflow_deployment(settings: PlatformSettings) -> Manifest:
    """The servers. Each checks the schema when it starts and refuses to run on an old one."""
    health = {"httpGet": {"path": "/health", "port": MLFLOW_PORT}}
    libpq = (
        environment_variables(
            {"PGUSER": "mlflow", "PGSSLMODE": "require", "PGHOST": "$(DATABASE_HOST)"}
        )
        if settings.on_aws
        else []
    )
    container = _container(
        settings,
        _MLFLOW,
        mlflow_command(settings),
        resources("500m", "1536Mi"),
        env=[*_variables(settings), *libpq],
        ports=[{"name": "http", "containerPort": MLFLOW_PORT}],
        startupProbe={**health, "periodSeconds": 5, "failureThreshold": 48},
        livenessProbe={**health, "periodSeconds": 20, "timeoutSeconds": 10},
        # One that registers a model answers late: a second would take it out of service for that.
        readinessProbe={**health, "periodSeconds": 10, "timeoutSeconds": 5},
    )
    spread = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": _SERVER_LABELS},
    }
    # Two servers on one SQLite file, or on one volume of one node, cannot overlap.
    strategy: Manifest = (
        {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}
        if settings.on_aws
        else {"type": "Recreate"}
    )
    template = _pod(
        settings,
        _SERVER_LABELS,
        [container],
        priorityClassName=PLATFORM_PRIORITY,
        topologySpreadConstraints=[spread],
        terminationGracePeriodSeconds=60,
    )
    # A server reads its files once: a change of them has to make new pods.
    text = json.dumps(mlflow_config(settings)["data"], sort_keys=True)
    template["metadata"]["annotations"] = {
        "vigil/config": hashlib.sha256(text.encode()).hexdigest()[:16]
    }
    spec = {
        "replicas": settings.mlflow_replicas,
        "selector": {"matchLabels": _SERVER_LABELS},
        "strategy": strategy,
        "template": template,
    }
    patience = {"pulumi.com/timeoutSeconds": str(_patience_s(settings))}
    return kube_manifest(
        "apps/v1", "Deployment", _MLFLOW, TRACKING_NAMESPACE, annotations=patience, spec=spec
    )


def _patience_s(settings: PlatformSettings) -> int:
    """How long an update waits for what cannot start."""
    return settings.ready_timeout_s or DEFAULT_WAIT_S


def mlflow_migration(settings: PlatformSettings) -> Manifest:
    """`mlflow db upgrade`, once per image: a Job cannot change, so its name carries the image."""
    digest = hashlib.sha256(settings.image_ref.encode()).hexdigest()[:8]
    container = _container(
        settings,
        "migrate",
        ["mlflow", "db", "upgrade", database_uri(settings)],
        resources("250m", "1Gi"),
        env=[*_database_variables(settings), *environment_variables({"HOME": "/tmp"})],
    )
    template = _pod(settings, _MIGRATION_LABELS, [container], restartPolicy="OnFailure")
    spec = {"backoffLimit": 6, "activeDeadlineSeconds": _patience_s(settings), "template": template}
    # One that failed, on a quota or an image that was not there, is made anew by the next update.
    again = {"pulumi.com/replaceUnready": "true"}
    name = f"mlflow-migrate-{digest}"
    return kube_manifest("batch/v1", "Job", name, TRACKING_NAMESPACE, annotations=again, spec=spec)


def tracking_manifests(settings: PlatformSettings) -> list[Manifest]:
    """Everything of MLflow, in the order in which it is made.

    What comes after the migration waits for its end, so what the migration mounts comes before.
    """
    ports = [{"name": "http", "port": MLFLOW_PORT, "targetPort": MLFLOW_PORT}]
    service = kube_manifest(
        "v1",
        "Service",
        _MLFLOW,
        TRACKING_NAMESPACE,
        spec={"selector": _SERVER_LABELS, "ports": ports},
    )
    found = [
        *_claim(settings),
        mlflow_config(settings),
        service,
        mlflow_migration(settings),
        mlflow_deployment(settings),
    ]
    if settings.mlflow_replicas > 1:
        spec = {"maxUnavailable": 1, "selector": {"matchLabels": _SERVER_LABELS}}
        found.append(
            kube_manifest(
                "policy/v1", "PodDisruptionBudget", _MLFLOW, TRACKING_NAMESPACE, spec=spec
            )
        )
    return found


def _claim(settings: PlatformSettings) -> list[Manifest]:
    """Where SQLite and the artifacts lie; on AWS they are in RDS and S3."""
    if settings.on_aws:
        return []
    spec = {
        "storageClassName": settings.home_storage_class,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "2Gi"}},
    }
    return [
        kube_manifest(
            "v1",
            "PersistentVolumeClaim",
            _MLFLOW,
            TRACKING_NAMESPACE,
            annotations=NO_WAIT,
            spec=spec,
        )
    ]
