"""What the Ray pods are told: the Serve configuration and the environment, from the settings of the rooms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic_settings import BaseSettings

from drift.settings import DriftSettings
from infra.manifests.bindings import RAY, TRACKING
from infra.manifests.parts import HOME, Object, environment
from infra.settings import PlatformSettings
from serve.settings import ServeSettings
from train.settings import TrainSettings

RAY_VERSION = "2.60.0"
SERVICE, TRAINING = "vigil", "vigil-train"
PORT = 8000
DRAIN_S = 120  # HAProxy lets go of its connections, and a replica of its requests, within this
# Of each log of Ray's: half a gigabyte and five by default. A worker that outlives its head writes 100,000 lines a minute into
# the next one's ("Wrong cluster ID token").
LOG_BYTES, LOG_FILES = 64 * 2**20, 3
TRACKING_URI = f"http://mlflow.{TRACKING}.svc.cluster.local:5000"
TRAINING_URL = f"http://{TRAINING}-head-svc.{RAY}.svc.cluster.local:8265"
SERVICE_URL = f"http://{SERVICE}-serve-svc.{RAY}.svc.cluster.local:{PORT}"
# Names of Secrets.
RAY_TOKEN, MLFLOW_LOGIN = "ray-token", "mlflow-login"
REDIS_SECRET, API_KEYS = "redis-password", "api-keys"
KEY_FILE = Path("/etc/vigil/keys.json")  # hashes; a changed Secret reaches it without a new pod
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
    """The Serve configuration as the code itself declares it; who runs where is the cluster's: the monitor on its own worker
    group, and so few replicas on a worker that none of those at rest is without one.

    Serve moves no replica that runs: after the loss of a worker all would be on the other one, and the next one that starts
    would have none, and so no proxy, and never be ready.
    """
    drift = drift_settings(settings).model_dump(mode="json", exclude={"github_token"})  # a secret comes by the environment
    config: dict[str, Any] = dict(serve_settings(settings).application(drift))
    monitor = {"name": "DriftMonitor", "ray_actor_options": {"num_cpus": 0, "resources": {"drift": 1}}}
    for application in config["applications"]:
        if application["name"] == "drift":
            application["deployments"] = [monitor]
        elif application["name"] == SERVICE:
            (detector,) = application["deployments"]
            detector["max_replicas_per_node"] = settings.most_per_worker
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
        "RAY_ROTATION_MAX_BYTES": str(LOG_BYTES),
        "RAY_ROTATION_BACKUP_COUNT": str(LOG_FILES),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "VIGIL_HOME": HOME,
        "VIGIL_URL": SERVICE_URL,  # whom `vigil promote` in a job waits for, with a key in VIGIL_API_KEY
        "VIGIL_TRAIN_TRACKING_URI": TRACKING_URI,
        "VIGIL_TRAIN_ALERT_RATE": str(TrainSettings.model_fields["alert_rate"].default),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "HOME": "/tmp",
        "NUMBA_CACHE_DIR": "/tmp/numba",  # the root file system is read-only
    }
    if settings.on_aws:
        plain |= {"AWS_REGION": settings.region}
    login = {"MLFLOW_TRACKING_USERNAME": (MLFLOW_LOGIN, "username"), "MLFLOW_TRACKING_PASSWORD": (MLFLOW_LOGIN, "password")}
    return environment(plain, login)
