"""The metrics that dashboards and rules may name, read from the code that counts them.

So none is left behind by a renaming.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from prometheus_client import CollectorRegistry

from serve.metrics import DriftMetrics, ServeMetrics, StreamMetrics

METRIC_NAME = re.compile(r"(?<![\w:])(?:vigil|ray|haproxy)_\w+")

# Ray's own, each with who tells it. Ray declares them where it counts them, so there is nothing to
# read them from: tests/flow/test_demo.py scrapes a running platform for every one.
RAY_METRICS = frozenset(
    {
        "ray_serve_deployment_replica_healthy",  # Serve's controller
        "ray_serve_autoscaling_target_replicas",
        "ray_serve_autoscaling_desired_replicas",
        "ray_serve_autoscaling_total_requests",
        "ray_serve_autoscaling_target_ongoing_requests",
        "ray_serve_replica_processing_queries",  # each replica
        "ray_node_cpu_utilization",  # each node
        "ray_node_cpu_count",
        "ray_node_mem_used",
        "ray_node_mem_total",
        "ray_resources",
        "ray_vigil_training_rows_read",  # a training job, while it runs
        "ray_vigil_training_trees_fitted",
        "ray_vigil_training_phase",
    }
)

# HAProxy's own, from the exporter that Serve switches on in it: tests/flow/test_platform.py reads
# them from a running one.
HAPROXY_METRICS = frozenset(
    {"haproxy_backend_http_responses_total", "haproxy_server_http_responses_total"}
)


# What Prometheus' client adds to a metric's name, by the metric's type.
_UNKNOWN = "is no metric of Vigil, nor one of Ray's or HAProxy's that is used"
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


@cache
def exposed_metrics() -> frozenset[str]:
    """Return every sample name of `/metrics`: of the service, and of a stream consumer."""
    names: set[str] = set()
    for metrics in (ServeMetrics(), DriftMetrics(), StreamMetrics()):
        names.update(_sample_names(metrics.registry))
    return frozenset(names)


def _sample_names(registry: CollectorRegistry) -> Iterator[str]:
    for metric in registry.collect():
        for suffix in _SUFFIXES.get(metric.type, ("",)):
            yield metric.name + suffix


def check_metrics(expression: str) -> str:
    """Return `expression`, if the code exposes every metric in it; raise LookupError otherwise."""
    allowed = exposed_metrics() | RAY_METRICS | HAPROXY_METRICS
    unknown = [name for name in METRIC_NAME.findall(expression) if name not in allowed]
    if unknown:
        raise LookupError(f"{unknown[0]} {_UNKNOWN}: {', '.join(sorted(allowed))}")
    return expression
