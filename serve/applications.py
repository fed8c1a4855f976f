"""The Serve applications of a platform: their names, and their configuration.

Who deploys one and who asks one by its handle agree on the names here.
"""

from __future__ import annotations

import math

from serve.settings import ServeSettings
from vigil.json_types import JsonObject
from vigil.room_settings import RoomSettings

SCORING_APPLICATION = "vigil"
MONITOR_APPLICATION = "drift"
STREAM_APPLICATION = "stream"
KEPT_HEAP_BYTES = 4 * 2**20
MAX_MESSAGE_BYTES = 64 * 2**20
HEALTH_CHECK_INTERVAL = "5s"  # Serve's own default
HAPROXY_RESERVE_BYTES = 1024  # of its buffer HAProxy keeps so much for rewriting headers
# Requests whose bodies HAProxy does not wait for.
_COMES_IN_PARTS = "{ req.hdr(content-type) -i -m beg application/x-ndjson application/grpc }"
_STREAM_PREFIX = "stream_"
_STREAM_PREFIXES = (_STREAM_PREFIX, "context_")  # of what consumers read, some with the replicas


def platform_config(settings: ServeSettings, monitor: RoomSettings) -> JsonObject:
    """Return the Serve configuration (`ray.serve.schema.ServeDeploySchema`) of the platform.

    The effect of each field says where it is: `args` restart a replica, `user_config` does not.
    The model version is in neither: a change of either would restart or unroute replicas.
    """
    applications = [_scoring_application(settings), _monitor_application(monitor)]
    if settings.stream_source:
        applications.append(_stream_application(settings))
    return {
        "http_options": {
            "host": settings.host,
            "port": settings.port,
            "request_timeout_s": settings.request_timeout_s,
        },
        **_grpc_options(settings),
        # At INFO the record of every request is built even where the access log is off: a tenth of
        # a request's time.
        "logging_config": {
            "encoding": settings.log_encoding,
            "log_level": "WARNING",
            "enable_access_log": False,
        },
        "applications": applications,
    }


def _grpc_options(settings: ServeSettings) -> JsonObject:
    if not settings.grpc_port:
        return {}
    options = {
        "port": settings.grpc_port,
        "grpc_servicer_functions": ["serve.http.infer_messages:add_open_inference"],
        "enable_reflection": False,  # it knows no messages that are made at run time
    }
    return {"grpc_options": options}


def _scoring_application(settings: ServeSettings) -> JsonObject:
    return {
        "name": SCORING_APPLICATION,
        "route_prefix": "/",
        "import_path": "serve.http.app:build",
        "args": _without_streams(settings.values_at_start()),
        "deployments": [_detector(settings)],
    }


def _monitor_application(monitor: RoomSettings) -> JsonObject:
    return {
        "name": MONITOR_APPLICATION,
        "route_prefix": None,
        "import_path": "drift.monitor:build",
        "args": monitor.values_at_start(),
        "deployments": [{"name": "DriftMonitor", "user_config": monitor.live_values()}],
    }


def _stream_application(settings: ServeSettings) -> JsonObject:
    home = {"home": str(settings.home)}
    return {
        "name": STREAM_APPLICATION,
        "route_prefix": None,
        "import_path": "serve.stream.app:build",
        "args": home | _of_streams(settings.values_at_start()),
        "deployments": [_stream_consumer(settings)],
    }


def _detector(settings: ServeSettings) -> JsonObject:
    return {
        "name": "Detector",
        "max_ongoing_requests": settings.max_ongoing_requests,
        "max_queued_requests": settings.max_queued_requests,
        "backpressure_config": {
            "status_code": settings.overload_status,
            "retry_after_s": settings.retry_after_s,
        },
        "autoscaling_config": {
            "min_replicas": settings.min_replicas,
            "max_replicas": max(settings.min_replicas, settings.max_replicas),
            "target_ongoing_requests": settings.target_ongoing_requests,
            "downscale_delay_s": settings.downscale_delay_s,
        },
        "ray_actor_options": {"num_cpus": settings.cpus_per_replica},
        "user_config": _without_streams(settings.live_values()),
    }


def _stream_consumer(settings: ServeSettings) -> JsonObject:
    return {
        "name": "StreamConsumer",
        "autoscaling_config": _scaling_by_lag(settings),
        "user_config": _of_streams(settings.live_values()),
    }


def _scaling_by_lag(settings: ServeSettings) -> JsonObject:
    return {
        "min_replicas": settings.stream_consumers,
        "max_replicas": settings.max_consumers,
        "target_ongoing_requests": settings.stream_lag,
        "policy": {"policy_function": "serve.stream.app:by_lag"},
        "downscale_delay_s": settings.downscale_delay_s,
    }


def _of_streams(values: JsonObject) -> JsonObject:
    """Settings of the application that scores streams."""
    return {name: value for name, value in values.items() if name.startswith(_STREAM_PREFIXES)}


def _without_streams(values: JsonObject) -> JsonObject:
    """Settings of the replicas that score requests."""
    return {name: value for name, value in values.items() if not name.startswith(_STREAM_PREFIX)}


def ray_process_environment(settings: ServeSettings) -> dict[str, str]:
    """Return the environment of every Ray process, on one machine and in a pod."""
    return {
        **_haproxy_environment(settings),
        # Three checks that fail and HAProxy is started anew: at the default period nobody is
        # served for half a minute.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "2",
        # The largest message of gRPC that is read at all; `max_body_bytes` is held in the replica.
        "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(MAX_MESSAGE_BYTES),
        # Small rows and streams of lines go without what Serve does for each request.
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.http.door:middlewares",
        # Serve's processes go without pandas.
        "RAY_preload_python_modules": "serve.ray_worker",
        # Serve would write a replica's log a thousand lines at a time; at WARNING a line is no
        # request, and wanted at once.
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",
        # The body and the matrix of a batch would be new pages for each request: what is free is
        # kept instead.
        "MALLOC_MMAP_THRESHOLD_": str(KEPT_HEAP_BYTES),
        "MALLOC_TRIM_THRESHOLD_": str(KEPT_HEAP_BYTES),
    }


def _haproxy_environment(settings: ServeSettings) -> dict[str, str]:
    """How Serve's HAProxy treats clients.

    A request goes to a replica when its body is there, or fills the buffer: a client that is slow
    with a small one holds no slot of a replica. Lines and gRPC go on as they come. Serve has no
    setting for that, but the value of RETRY_ON is put into HAProxy's `defaults` as it is, and that
    of HEALTH_CHECK_INTER into each `backend`.
    """
    timeout_s = max(settings.header_timeout_s, math.ceil(settings.body_timeout_s))
    defaults = (
        "conn-failure",
        f"    timeout http-request {timeout_s}s",
        # A datagram for each request, which nobody reads; Serve's metrics are made of them.
        *(() if settings.haproxy_metrics else ("    option dontlog-normal",)),
    )
    backend = (
        HEALTH_CHECK_INTERVAL,
        f"    http-request wait-for-body time {timeout_s}s unless {_COMES_IN_PARTS}",
        "    default-server",
    )
    buffer_bytes = settings.max_header_bytes + HAPROXY_RESERVE_BYTES
    return {
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(settings.header_timeout_s),
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(buffer_bytes),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": str(int(settings.haproxy_metrics)),
        "RAY_SERVE_HAPROXY_RETRY_ON": "\n".join(defaults),
        "RAY_SERVE_HAPROXY_HEALTH_CHECK_INTER": "\n".join(backend),
    }
