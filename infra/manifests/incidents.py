"""What the monitor needs to keep incidents in a database, and to tell people of them.

On aws it is MLflow's database, on a cluster that exists one of the user's own.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from infra.manifests.alerting import ALERTMANAGER_PORT
from infra.manifests.bindings import MONITORING_NAMESPACE, RAY_NAMESPACE, Bindings
from infra.manifests.parts import (
    Manifest,
    Manifests,
    any_address,
    config_map,
    container,
    environment_variables,
    in_any_namespace,
    in_namespace,
    ip_blocks,
    network_policy,
    password_script,
    resources,
    traffic_to,
)
from infra.settings import PlatformSettings

# libpq takes the host from PGHOST, and the password from PGPASSFILE.
INCIDENTS_URL = "postgresql://mlflow@/mlflow?sslmode=require"
MONITOR_LABELS = {"app.kubernetes.io/component": "monitor"}
INCIDENTS_PASSWORD_SECRET = "incident-database"  # name of a Secret
_CONFIG = "incident-database"
_DATABASE_PORT = 5432
_PASSWORD_FOLDER = "/run/database"
_PASSWORD_FILE = f"{_PASSWORD_FOLDER}/pgpass"
_SCRIPT_FOLDER = "/etc/incident-database"
# Of HTTPS, and of mail by TLS.
_RECEIVER_PORTS = (443, 465, 587)


def incident_manifests(settings: PlatformSettings, bindings: Bindings) -> Manifests:
    """Where the database is, and to whom the monitor may talk."""
    found = [_to_receivers()]
    if settings.monitoring:
        found.append(_to_alertmanager())
    if settings.on_aws:
        found.append(_to_database(ip_blocks([settings.vpc_cidr]), _DATABASE_PORT))
    elif settings.drift.incidents_url:
        port = urlsplit(settings.drift.incidents_url).port or _DATABASE_PORT
        found.append(_to_database([any_address(), in_any_namespace()], port))
    if bindings.database_host is not None:
        found.append(_database_config(bindings))
    return found


def _to_receivers() -> Manifest:
    rules = [traffic_to([any_address()], *_RECEIVER_PORTS)]
    return network_policy(
        "monitor-to-receivers",
        RAY_NAMESPACE,
        MONITOR_LABELS,
        egress=rules,
    )


def _to_alertmanager() -> Manifest:
    peers = [in_namespace(MONITORING_NAMESPACE, {"app.kubernetes.io/name": "alertmanager"})]
    return network_policy(
        "monitor-to-alertmanager",
        RAY_NAMESPACE,
        MONITOR_LABELS,
        egress=[traffic_to(peers, ALERTMANAGER_PORT)],
    )


def _to_database(peers: Manifests, port: int) -> Manifest:
    rules = [traffic_to(peers, port)]
    return network_policy(
        "monitor-to-database",
        RAY_NAMESPACE,
        MONITOR_LABELS,
        egress=rules,
    )


def _database_config(bindings: Bindings) -> Manifest:
    """Where it is, which secret opens it, and what keeps the password file; no secret itself."""
    data = {
        "host": bindings.database_host,
        "secret": bindings.database_secret,
        "pgpass.py": password_script(),
    }
    return config_map(_CONFIG, RAY_NAMESPACE, data)


def with_database(pod: Manifest, settings: PlatformSettings) -> Manifest:
    """A pod that can log in to the database of incidents, where there is one."""
    if settings.on_aws:
        return _with_password_file(pod, settings)
    if settings.drift.incidents_url:
        return _with_password(pod)
    return pod


def _with_password(pod: Manifest) -> Manifest:
    """The pod with the stack's password; a database that asks for none needs none."""
    spec = pod["spec"]
    (container,) = spec["containers"]
    reaching = {**container, "env": [*container["env"], _PASSWORD]}
    return {**pod, "spec": {**spec, "containers": [reaching]}}


def _with_password_file(pod: Manifest, settings: PlatformSettings) -> Manifest:
    """The pod with a password file that is kept fresh."""
    spec = pod["spec"]
    (container,) = spec["containers"]
    reaching = {
        **container,
        "env": [*_libpq_variables(), *container["env"]],
        "volumeMounts": [*container["volumeMounts"], _PASSWORD_MOUNT],
    }
    more = {
        "containers": [reaching],
        "initContainers": _password_containers(settings),
        "volumes": [*spec["volumes"], *_VOLUMES],
    }
    return {**pod, "spec": {**spec, **more}}


_PASSWORD = {
    "name": "PGPASSWORD",
    "valueFrom": {
        "secretKeyRef": {
            "name": INCIDENTS_PASSWORD_SECRET,
            "key": "password",
            "optional": True,
        }
    },
}
_TMP_MOUNT = {"name": "tmp", "mountPath": "/tmp"}
_PASSWORD_MOUNT = {"name": "database", "mountPath": _PASSWORD_FOLDER}
_SCRIPT_MOUNT = {
    "name": "incident-database",
    "mountPath": _SCRIPT_FOLDER,
    "readOnly": True,
}
_VOLUMES = [
    {"name": "database", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
    {"name": "incident-database", "configMap": {"name": _CONFIG}},
]


def _password_containers(settings: PlatformSettings) -> Manifests:
    """The first makes the file before anything connects; the second, a sidecar, keeps it fresh."""
    run = ["python", f"{_SCRIPT_FOLDER}/pgpass.py"]
    return [
        _password_container(settings, "password", [*run, "once"]),
        _password_container(
            settings,
            "password-refresh",
            run,
            restartPolicy="Always",
        ),
    ]


def _password_container(
    settings: PlatformSettings,
    name: str,
    command: list[str],
    **more: Any,
) -> Manifest:
    return container(
        name,
        settings.image_ref,
        resources("50m", "192Mi"),
        command=command,
        env=_password_variables(settings),
        volumeMounts=[_TMP_MOUNT, _PASSWORD_MOUNT, _SCRIPT_MOUNT],
        **more,
    )


def _password_variables(settings: PlatformSettings) -> Manifests:
    plain = {
        "PGPASSFILE": _PASSWORD_FILE,
        "AWS_REGION": settings.region,
        "HOME": "/tmp",
    }
    return [
        _from_config("DATABASE_HOST", "host"),
        _from_config("DATABASE_SECRET", "secret"),
        *environment_variables(plain),
    ]


def _libpq_variables() -> Manifests:
    return [_from_config("PGHOST", "host"), *environment_variables({"PGPASSFILE": _PASSWORD_FILE})]


def _from_config(variable: str, key: str) -> Manifest:
    return {"name": variable, "valueFrom": {"configMapKeyRef": {"name": _CONFIG, "key": key}}}
