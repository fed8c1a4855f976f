"""What the Ray pods are told: Serve's configuration and the environment, from the settings."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic.alias_generators import to_camel

from drift.settings import DriftSettings
from infra.manifests.bindings import RAY_NAMESPACE, TRACKING_NAMESPACE
from infra.manifests.incidents import INCIDENTS_URL
from infra.manifests.parts import HOME_PATH, Manifest, Manifests, config_map, environment_variables
from infra.settings import PlatformSettings
from serve.applications import platform_config, ray_process_environment
from serve.settings import ServeSettings
from vigil.json_types import JsonObject
from vigil.room_settings import (
    SECRETS_VARIABLE,
    SETTINGS_FILE,
    SETTINGS_FILE_VARIABLE,
    Effect,
    RoomSettings,
)

RAY_VERSION = "2.60.0"
RAY_SERVICE = "vigil"
TRAINING_CLUSTER = "vigil-train"
STREAM_RESOURCE = "stream"  # the resource of a pod that has room for one consumer
SERVE_PORT = 8000
DRAIN_S = 120  # HAProxy lets go of its connections, and a replica of its requests, within this
# Of each log of Ray's: half a gigabyte and five by default. A worker that outlives its head writes
# 100,000 lines a minute into the next one's ("Wrong cluster ID token").
MAX_RAY_LOG_BYTES = 64 * 2**20
MAX_RAY_LOG_FILES = 3
TRACKING_URI = f"http://mlflow.{TRACKING_NAMESPACE}.svc.cluster.local:5000"
TRAINING_URL = f"http://{TRAINING_CLUSTER}-head-svc.{RAY_NAMESPACE}.svc.cluster.local:8265"
SERVICE_URL = f"http://{RAY_SERVICE}-serve-svc.{RAY_NAMESPACE}.svc.cluster.local:{SERVE_PORT}"
# Names of Secrets.
RAY_TOKEN_SECRET = "ray-token"
MLFLOW_LOGIN_SECRET = "mlflow-login"
REDIS_SECRET = "redis-password"
API_KEYS_SECRET = "api-keys"
KEY_FILE = Path("/etc/vigil/keys.json")  # hashes; a changed Secret reaches it without a new pod
# What training is told, and the rooms' secrets, one file each; changed ones reach pods that run.
SETTINGS_MAP = "settings"
SETTINGS_FOLDER = Path("/etc/vigil-settings")
ROOM_SECRETS_SECRET = "room-secrets"
SECRETS_FOLDER = Path("/etc/vigil-secrets")
LATENCY_BUCKETS_MS = "0.5,1,2,3,5,10,25,50,100,250,1000,5000"
_RAY_VARIABLES = {
    "RAY_SERVE_HAPROXY_NBTHREAD": "2",
    # The default, 514, is not for those who are not root.
    "RAY_SERVE_HAPROXY_LOG_TARGET": "127.0.0.1:10514",
    "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(DRAIN_S),
    "RAY_SERVE_REQUEST_LATENCY_BUCKETS_MS": LATENCY_BUCKETS_MS,
    "RAY_ROTATION_MAX_BYTES": str(MAX_RAY_LOG_BYTES),
    "RAY_ROTATION_BACKUP_COUNT": str(MAX_RAY_LOG_FILES),
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
}
_VIGIL_VARIABLES = {
    "VIGIL_HOME": HOME_PATH,
    # Whom `vigil promote` in a job waits for, with a key in VIGIL_API_KEY.
    "VIGIL_URL": SERVICE_URL,
    "VIGIL_TRAIN_TRACKING_URI": TRACKING_URI,
    SETTINGS_FILE_VARIABLE: str(SETTINGS_FOLDER / SETTINGS_FILE),
    SECRETS_VARIABLE: str(SECRETS_FOLDER),
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "HOME": "/tmp",
    "NUMBA_CACHE_DIR": "/tmp/numba",  # the root file system is read-only
}
_MLFLOW_LOGIN = {
    "MLFLOW_TRACKING_USERNAME": (MLFLOW_LOGIN_SECRET, "username"),
    "MLFLOW_TRACKING_PASSWORD": (MLFLOW_LOGIN_SECRET, "password"),
}


def serve_settings(settings: PlatformSettings) -> ServeSettings:
    """What serving is told: the stack's settings, and where its parts are."""
    room = settings.serve
    place = {
        "home": Path(HOME_PATH),
        "tracking_uri": TRACKING_URI,
        "host": "0.0.0.0",
        "port": SERVE_PORT,
        # Nobody is let in unseen, whatever the address is: by a key of the Secret, or by a token
        # of the provider.
        "keys_file": room.keys_file or KEY_FILE,
        "stream_leases": room.stream_leases or _leases(settings),
    }
    return room.model_copy(update=place)


def _leases(settings: PlatformSettings) -> str:
    """The table by which consumers share a stream, where the stack makes one for it."""
    is_leased = settings.on_aws and settings.serve.stream_source
    return f"dynamodb:{settings.lease_table}" if is_leased else ""


def drift_settings(settings: PlatformSettings) -> DriftSettings:
    """What drift monitoring is told.

    Its retrainings run on the training cluster, never beside the replicas. On aws it keeps its
    state, and the rows, in the bucket that is made for them, and incidents in the database.
    """
    place = {
        "home": Path(HOME_PATH),
        "tracking_uri": TRACKING_URI,
        "jobs_url": TRAINING_URL,
    }
    stores = _drift_stores(settings) if settings.on_aws else {}
    return settings.drift.model_copy(update=place | stores)


def _drift_stores(settings: PlatformSettings) -> dict[str, str]:
    room = settings.drift
    bucket = f"s3://{settings.bucket('captured')}"
    rows = room.captured_url or f"{bucket}/rows"
    return {
        "captured_url": rows,
        "state_url": room.state_url or f"{bucket}/state",
        "incidents_url": room.incidents_url or INCIDENTS_URL,
    }


def settings_config_map(settings: PlatformSettings) -> Manifest:
    """The file that training reads each time it begins, wherever and by whomever it is started.

    A changed one reaches pods that run. It has every value, so that a newer image does not change
    one unseen.
    """
    rooms = (settings.serve, settings.drift, settings.train)
    text = yaml.safe_dump({room.room: _own_keys(room) for room in rooms}, sort_keys=True)
    return config_map(SETTINGS_MAP, RAY_NAMESPACE, {SETTINGS_FILE: text})


def _own_keys(room: RoomSettings) -> JsonObject:
    """What a stack may say of a room, by its keys."""
    values = room.json_values(*Effect).items()
    return {to_camel(name): value for name, value in values if not room.is_internal(name)}


def serve_config(settings: PlatformSettings) -> JsonObject:
    """The Serve configuration as the code itself declares it.

    Who runs where is the cluster's: the monitor on its own worker group, and so few replicas on a
    worker that none of those at rest is without one.

    Serve moves no replica that runs: after the loss of a worker all would be on the other one, and
    the next one that starts would have none, and so no proxy, and never be ready.
    """
    config = platform_config(serve_settings(settings), drift_settings(settings))
    placements = {
        "drift": _on_own_pods("drift"),
        "stream": _on_own_pods(STREAM_RESOURCE),
        RAY_SERVICE: {"max_replicas_per_node": settings.max_per_worker},
    }
    for application in config["applications"]:
        (deployment,) = application["deployments"]
        deployment |= placements.get(application["name"], {})
    return config


def _on_own_pods(resource: str) -> JsonObject:
    """An actor that takes the one place on a pod which has this resource."""
    return {"ray_actor_options": {"num_cpus": 0, "resources": {resource: 1}}}


def ray_variables(settings: PlatformSettings) -> Manifests:
    """The environment of every Ray container, of head and workers: Ray reads it at import."""
    plain = {
        **_RAY_VARIABLES,
        **_VIGIL_VARIABLES,
        **_proxy_variables(settings),
        **ray_process_environment(serve_settings(settings)),
    }
    if settings.on_aws:
        plain["AWS_REGION"] = settings.region
    return environment_variables(plain, _MLFLOW_LOGIN)


def _proxy_variables(settings: PlatformSettings) -> dict[str, str]:
    on = "1" if settings.haproxy else "0"
    return {"RAY_SERVE_ENABLE_HA_PROXY": on, "RAY_SERVE_THROUGHPUT_OPTIMIZED": on}
