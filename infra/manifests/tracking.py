"""MLflow: servers behind one name, their database and artifacts, the migration before them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from infra.manifests.base import DATABASE_CONFIG, volume_claim
from infra.manifests.bindings import PLATFORM_PRIORITY, TRACKING_NAMESPACE
from infra.manifests.parts import (
    POD_SECURITY,
    Manifest,
    Manifests,
    config_map,
    container,
    disruption_budget,
    environment_variables,
    kube_manifest,
    password_script,
    resources,
)
from infra.settings import PlatformSettings
from vigil.digests import text_digest

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
_ALLOWED_HOSTS = (
    f"{_MLFLOW}.{TRACKING_NAMESPACE}.svc.cluster.local:{MLFLOW_PORT}",
    f"{_MLFLOW}.{TRACKING_NAMESPACE}.svc:{MLFLOW_PORT}",
    f"{_MLFLOW}.{TRACKING_NAMESPACE}:{MLFLOW_PORT}",
    f"{_MLFLOW}:{MLFLOW_PORT}",
    "localhost:*",
    "127.0.0.1:*",
)
_SERVER = (
    "mlflow",
    "server",
    "--host",
    "0.0.0.0",
    "--port",
    str(MLFLOW_PORT),
    "--workers",
    "2",
)
_LOGIN = (
    "--app-name",
    "basic-auth",
    "--allowed-hosts",
    ",".join(_ALLOWED_HOSTS),
)
_PLAIN = {
    "HOME": "/tmp",
    "MLFLOW_AUTH_CONFIG_PATH": "/etc/mlflow/auth.ini",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_AUTH_ADMIN_USERNAME": "vigil",
    # Its job runner and seven consumers take 1.2 GB, and nothing here uses them.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
_SECRETS = {
    "MLFLOW_AUTH_ADMIN_PASSWORD": (ADMIN_SECRET, "password"),
    "MLFLOW_FLASK_SERVER_SECRET_KEY": (ADMIN_SECRET, "secret-key"),
}
# What libpq itself reads.
_LIBPQ = {"PGUSER": "mlflow", "PGSSLMODE": "require", "PGHOST": "$(DATABASE_HOST)"}
_REFRESH_PASSWORD = ["python", "/etc/mlflow/pgpass.py"]
_GET_PASSWORD = [*_REFRESH_PASSWORD, "once"]
_HEALTH = {"httpGet": {"path": "/health", "port": MLFLOW_PORT}}
_PROBES = {
    "startupProbe": {
        **_HEALTH,
        "periodSeconds": 5,
        "failureThreshold": 48,
    },
    "livenessProbe": {
        **_HEALTH,
        "periodSeconds": 20,
        "timeoutSeconds": 10,
    },
    # One that registers a model answers late: a second would take it out of service for that.
    "readinessProbe": {
        **_HEALTH,
        "periodSeconds": 10,
        "timeoutSeconds": 5,
    },
}
_MIGRATION_SIZE = resources("250m", "1Gi")
_SERVER_PODS = {"matchLabels": _SERVER_LABELS}
_SPREAD = {
    "maxSkew": 1,
    "topologyKey": "topology.kubernetes.io/zone",
    "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": _SERVER_PODS,
}
_ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}
# Every poll of every replica signs in; without a cache each costs a slow password hash.
_AUTH_SETTINGS = """[mlflow]
default_permission = READ
database_uri = {uri}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 30
"""


def database_uri(settings: PlatformSettings) -> str:
    """No password: libpq takes it from PGPASSFILE. `$(HOST)` is expanded by the kubelet."""
    if settings.on_aws:
        return f"{_DRIVER}://mlflow@$(DATABASE_HOST):5432/mlflow?sslmode=require"
    return "sqlite:////data/mlflow.db"


def _artifact_options(settings: PlatformSettings) -> list[str]:
    if settings.on_aws:
        root = f"s3://{settings.bucket('models')}/mlflow"
        return ["--default-artifact-root", root, "--no-serve-artifacts"]
    return ["--serve-artifacts", "--artifacts-destination", "/data/artifacts"]


def mlflow_command(settings: PlatformSettings) -> list[str]:
    """The command of a server."""
    store = ("--backend-store-uri", database_uri(settings))
    return [*_SERVER, *store, *_artifact_options(settings), *_LOGIN]


def _variables(settings: PlatformSettings) -> Manifests:
    return [*_database_variables(settings), *environment_variables(_PLAIN, _SECRETS)]


def _database_variables(settings: PlatformSettings) -> Manifests:
    """First among a container's variables: what comes after may refer to them."""
    if not settings.on_aws:
        return []
    return [
        _from_config("DATABASE_HOST", "host"),
        _from_config("DATABASE_SECRET", "secret"),
        {"name": "PGPASSFILE", "value": _PGPASS_PATH},
        {"name": "AWS_REGION", "value": settings.region},
    ]


def _from_config(variable: str, key: str) -> Manifest:
    reference = {"name": DATABASE_CONFIG, "key": key}
    return {"name": variable, "valueFrom": {"configMapKeyRef": reference}}


def _container(
    settings: PlatformSettings,
    name: str,
    amounts: Manifest,
    **more: Any,
) -> Manifest:
    mounts = _mounts(settings)
    return container(name, settings.image_ref, amounts, volumeMounts=mounts, **more)


def _mounts(settings: PlatformSettings) -> Manifests:
    tmp = {"name": "tmp", "mountPath": "/tmp"}
    config = {"name": "config", "mountPath": "/etc/mlflow", "readOnly": True}
    if settings.on_aws:
        return [tmp, config, {"name": "database", "mountPath": "/run/database"}]
    return [tmp, config, {"name": "data", "mountPath": "/data"}]


def _pod(
    settings: PlatformSettings,
    labels: dict[str, str],
    containers: Manifests,
    **more: Any,
) -> Manifest:
    spec: Manifest = {
        "serviceAccountName": _MLFLOW,
        "securityContext": POD_SECURITY,
        "containers": containers,
        "volumes": _volumes(settings),
        "enableServiceLinks": False,
    }
    if settings.on_aws:
        spec["initContainers"] = [*_password_containers(settings)]
    version = {"app.kubernetes.io/version": MLFLOW_VERSION}
    return {"metadata": {"labels": labels | version}, "spec": {**spec, **more}}


def _volumes(settings: PlatformSettings) -> Manifests:
    tmp = {"name": "tmp", "emptyDir": {"sizeLimit": _TMP_SIZE}}
    config = {"name": "config", "configMap": {"name": "mlflow"}}
    if settings.on_aws:
        memory = {"medium": "Memory", "sizeLimit": "1Mi"}
        return [tmp, config, {"name": "database", "emptyDir": memory}]
    return [tmp, config, {"name": "data", "persistentVolumeClaim": {"claimName": "mlflow"}}]


def _password_containers(settings: PlatformSettings) -> Iterator[Manifest]:
    """One makes the password file before anything connects; the other, a sidecar, keeps it."""
    yield _password_container(settings, "password", _GET_PASSWORD)
    always = {"restartPolicy": "Always"}
    yield _password_container(settings, "password-refresh", _REFRESH_PASSWORD, **always)


def _password_container(
    settings: PlatformSettings,
    name: str,
    command: list[str],
    **more: Any,
) -> Manifest:
    return _container(
        settings,
        name,
        resources("50m", "192Mi"),
        command=command,
        env=_migration_variables(settings),
        **more,
    )


def _migration_variables(settings: PlatformSettings) -> Manifests:
    """Variables of whatever reaches the database and is no server."""
    return [*_database_variables(settings), *environment_variables({"HOME": "/tmp"})]


def mlflow_config(settings: PlatformSettings) -> Manifest:
    """MLflow's authentication settings, and what keeps the password file.

    Users are in its database, no password is here.
    """
    data = {"auth.ini": _AUTH_SETTINGS.format(uri=_auth_database_uri(settings))}
    if settings.on_aws:
        data["pgpass.py"] = password_script()
    return config_map("mlflow", TRACKING_NAMESPACE, data)


def _auth_database_uri(settings: PlatformSettings) -> str:
    """libpq takes host, user and TLS mode from its own variables (PGHOST...).

    A file cannot refer to variables.
    """
    return f"{_DRIVER}:///mlflow" if settings.on_aws else "sqlite:////data/auth.db"


def mlflow_deployment(settings: PlatformSettings) -> Manifest:
    """The servers. Each checks the schema when it starts and refuses to run on an old one."""
    spec = {
        "replicas": settings.mlflow_replicas,
        "selector": _SERVER_PODS,
        "strategy": _strategy(settings),
        "template": _server_template(settings),
    }
    patience = {"pulumi.com/timeoutSeconds": str(_patience_s(settings))}
    return _tracking(
        "apps/v1",
        "Deployment",
        _MLFLOW,
        spec=spec,
        annotations=patience,
    )


def _tracking(
    api: str,
    kind: str,
    name: str,
    **fields: Any,
) -> Manifest:
    return kube_manifest(api, kind, name, TRACKING_NAMESPACE, **fields)


def _strategy(settings: PlatformSettings) -> Manifest:
    """Two servers on one SQLite file, or on one volume of one node, cannot overlap."""
    return _ROLLING if settings.on_aws else {"type": "Recreate"}


def _server_template(settings: PlatformSettings) -> Manifest:
    template = _pod(
        settings,
        _SERVER_LABELS,
        [_server_container(settings)],
        priorityClassName=PLATFORM_PRIORITY,
        topologySpreadConstraints=[_SPREAD],
        terminationGracePeriodSeconds=60,
    )
    # A server reads its files once: a change of them has to make new pods.
    template["metadata"]["annotations"] = {"vigil/config": _config_digest(settings)}
    return template


def _config_digest(settings: PlatformSettings) -> str:
    text = json.dumps(mlflow_config(settings)["data"], sort_keys=True)
    return text_digest(text)[:16]


def _server_container(settings: PlatformSettings) -> Manifest:
    libpq = environment_variables(_LIBPQ) if settings.on_aws else []
    return _container(
        settings,
        _MLFLOW,
        resources("500m", "1536Mi"),
        command=mlflow_command(settings),
        env=[*_variables(settings), *libpq],
        ports=[{"name": "http", "containerPort": MLFLOW_PORT}],
        **_PROBES,
    )


def _patience_s(settings: PlatformSettings) -> int:
    """How long an update waits for what cannot start."""
    return settings.ready_timeout_s or DEFAULT_WAIT_S


def mlflow_migration(settings: PlatformSettings) -> Manifest:
    """`mlflow db upgrade`, once per image: a Job cannot change, so its name carries the image."""
    template = _pod(
        settings,
        _MIGRATION_LABELS,
        [_migration_container(settings)],
        restartPolicy="OnFailure",
    )
    spec = {
        "backoffLimit": 6,
        "activeDeadlineSeconds": _patience_s(settings),
        "template": template,
    }
    # One that failed, on a quota or an image that was not there, is made anew by the next update.
    again = {"pulumi.com/replaceUnready": "true"}
    return _tracking(
        "batch/v1",
        "Job",
        _migration_name(settings),
        spec=spec,
        annotations=again,
    )


def _migration_name(settings: PlatformSettings) -> str:
    return f"mlflow-migrate-{text_digest(settings.image_ref)[:8]}"


def _migration_container(settings: PlatformSettings) -> Manifest:
    return _container(
        settings,
        "migrate",
        _MIGRATION_SIZE,
        command=["mlflow", "db", "upgrade", database_uri(settings)],
        env=_migration_variables(settings),
    )


def tracking_manifests(settings: PlatformSettings) -> Manifests:
    """Everything of MLflow, in the order in which it is made.

    What comes after the migration waits for its end, so what the migration mounts comes before.
    """
    return [
        *_claim(settings),
        mlflow_config(settings),
        _service(),
        mlflow_migration(settings),
        mlflow_deployment(settings),
        *_budget(settings),
    ]


def _service() -> Manifest:
    ports = [{"name": "http", "port": MLFLOW_PORT, "targetPort": MLFLOW_PORT}]
    return _tracking("v1", "Service", _MLFLOW, spec={"selector": _SERVER_LABELS, "ports": ports})


def _budget(settings: PlatformSettings) -> Iterator[Manifest]:
    """A drain takes one server at a time, where there are several."""
    if settings.mlflow_replicas > 1:
        yield disruption_budget(_MLFLOW, TRACKING_NAMESPACE, _SERVER_LABELS, maxUnavailable=1)


def _claim(settings: PlatformSettings) -> Manifests:
    """Where SQLite and the artifacts lie; on AWS they are in RDS and S3."""
    if settings.on_aws:
        return []
    claim = volume_claim(
        _MLFLOW,
        TRACKING_NAMESPACE,
        settings.home_storage_class,
        mode="ReadWriteOnce",
        size="2Gi",
    )
    return [claim]
