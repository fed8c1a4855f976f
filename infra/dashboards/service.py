"""Traffic, errors, latency, saturation, autoscaling: is it served, and how much more could be?"""

from __future__ import annotations

from infra.dashboards.layout import Page
from infra.dashboards.panels import RATE_WINDOW, Panel
from infra.dashboards.slo import BUDGET, SLOW_S, failure_share

_BUCKETS = f"sum by (le) (rate(vigil_request_seconds_bucket{RATE_WINDOW}))"
_ANSWERED = f'sum(rate(vigil_requests_total{{outcome="ok"}}{RATE_WINDOW}))'
_TURNED_AWAY = f'sum(rate(vigil_requests_total{{outcome="Overloaded"}}{RATE_WINDOW}))'
_NODE_MEMORY = "max by (instance) (ray_node_mem_total)"
_NODE_MEMORY_USED = "max by (instance) (ray_node_mem_used)"
_SPENT = failure_share("30d")
_DEPLOYMENT = '{application="vigil"}'
_TARGET_REQUESTS = f"max(ray_serve_autoscaling_target_ongoing_requests{_DEPLOYMENT})"


def _quantile(share: float) -> str:
    return f"histogram_quantile({share}, {_BUCKETS})"


_GLANCE = [
    Panel(
        "Requests",
        "Scoring requests a second that were answered.",
        "reqps",
        queries={"": _ANSWERED},
        kind="stat",
        width=4,
        height=4,
    ),
    Panel(
        "Rows",
        "Rows scored a second; a request may hold many.",
        "short",
        queries={"": f"sum(rate(vigil_rows_scored_total{RATE_WINDOW}))"},
        kind="stat",
        width=4,
        height=4,
    ),
    Panel(
        "Error budget left",
        "Of the requests that may fail in 30 days (0.1 %), the share that has not. Below 0 the"
        " objective is missed.",
        "percentunit",
        queries={"": f"1 - ({_SPENT} or vector(0)) / {BUDGET:.3f}"},
        kind="stat",
        width=4,
        height=4,
        warn=0.25,
        bad=0,
        low=True,
        least=None,
    ),
    Panel(
        "Slowest of 100",
        "99 % of the requests spend less than this in the handler.",
        "s",
        queries={"": _quantile(0.99)},
        kind="stat",
        width=4,
        height=4,
        warn=SLOW_S / 2,
        bad=SLOW_S,
    ),
    Panel(
        "Replicas",
        "Replicas that have reported within 6 s.",
        "short",
        queries={"": "sum(vigil_model_replicas)"},
        kind="stat",
        width=4,
        height=4,
    ),
    Panel(
        "Champion",
        "The version that should answer everybody.",
        "short",
        queries={"version {{version}}": "max by (version) (vigil_model_info)"},
        kind="stat",
        width=4,
        height=4,
    ),
]

_TRAFFIC = [
    Panel(
        "Requests by outcome",
        "`ok`, or the class of the error that was answered.",
        "reqps",
        queries={"{{outcome}}": f"sum by (outcome) (rate(vigil_requests_total{RATE_WINDOW}))"},
        stack=True,
        width=12,
    ),
    Panel(
        "Share that fails",
        "Requests that failed by the service's own fault. Red: at this rate the budget of 30 days"
        " is spent in 2 days.",
        "percentunit",
        queries={"now": failure_share("$__rate_interval"), "last hour": failure_share("1h")},
        warn=BUDGET,
        bad=14.4 * BUDGET,
        width=12,
    ),
    Panel(
        "Rows scored",
        "Rows a second, and rows in a request.",
        "short",
        queries={
            "rows a second": f"sum(rate(vigil_rows_scored_total{RATE_WINDOW}))",
            "rows a request": f"sum(rate(vigil_rows_scored_total{RATE_WINDOW})) / {_ANSWERED}",
        },
    ),
    Panel(
        "Turned away",
        "Requests that a replica refused because too many bytes were in work; what Serve refuses"
        " before that is not in it.",
        "reqps",
        queries={"overloaded": f"{_TURNED_AWAY} or vector(0)"},
    ),
    Panel(
        "Consoles",
        "Answers a second to open consoles.",
        "reqps",
        queries={"polls": f"sum(rate(vigil_console_polls_total{RATE_WINDOW}))"},
    ),
]

_LATENCY = [
    Panel(
        "Time in the handler",
        "From the first byte of the body to the answer; waiting in Serve's queue is not in it.",
        "s",
        queries={"half": _quantile(0.5), "90 %": _quantile(0.9), "99 %": _quantile(0.99)},
        width=12,
        bad=SLOW_S,
    ),
    Panel(
        "How long requests take",
        "Requests by the time that they took.",
        "s",
        queries={"{{le}}": f"sum by (le) (increase(vigil_request_seconds_bucket{RATE_WINDOW}))"},
        kind="heatmap",
        width=12,
    ),
]

_SATURATION = [
    Panel(
        "Bodies in work",
        "Bytes that replicas read or score at this moment. Each refuses more than "
        "VIGIL_SERVE_MAX_PENDING_BYTES.",
        "bytes",
        queries={"all replicas": "sum(vigil_pending_bytes)"},
    ),
    Panel(
        "Processors in use",
        "CPU seconds a second of all replicas.",
        "short",
        queries={"replicas": f"sum(rate(vigil_replica_cpu_seconds_total{RATE_WINDOW}))"},
    ),
    Panel(
        "Memory",
        "Resident memory of all replicas.",
        "bytes",
        queries={"replicas": "sum(vigil_replica_resident_memory_bytes)"},
    ),
    Panel(
        "Nodes' processors",
        "How busy Ray's nodes are, of their cores.",
        "percent",
        queries={"{{instance}}": "max by (instance) (ray_node_cpu_utilization)"},
        warn=80,
        bad=95,
        most=100,
    ),
    Panel(
        "Nodes' memory",
        "Of what Ray's nodes have.",
        "percentunit",
        queries={"{{instance}}": f"{_NODE_MEMORY_USED} / {_NODE_MEMORY}"},
        warn=0.8,
        bad=0.95,
        most=1,
    ),
    Panel(
        "Lost on the way out",
        "Rows that the monitor never saw, and lines that the request log left out, a second.",
        "short",
        queries={
            "captured rows": f"sum(rate(vigil_capture_dropped_rows_total{RATE_WINDOW}))",
            "log lines": f"sum(rate(vigil_request_log_dropped_total{RATE_WINDOW}))",
        },
        warn=0.001,
    ),
]

_SCALING = [
    Panel(
        "Replicas",
        "What Serve wants before its bounds, what it aims at, and what is healthy. Wanted over"
        " aimed at: `maxReplicas` holds it back.",
        "short",
        queries={
            "wanted": f"max(ray_serve_autoscaling_desired_replicas{_DEPLOYMENT})",
            "aimed at": f"max(ray_serve_autoscaling_target_replicas{_DEPLOYMENT})",
            "healthy": f"sum(ray_serve_deployment_replica_healthy{_DEPLOYMENT})",
        },
    ),
    Panel(
        "Requests in the replicas",
        "In flight, by replica.",
        "short",
        queries={
            "{{replica}}": f"max by (replica) (ray_serve_replica_processing_queries{_DEPLOYMENT})"
        },
        stack=True,
    ),
    Panel(
        "Requests that the autoscaler sees",
        "In flight and waiting, beside what one replica should have.",
        "short",
        queries={
            "all": f"max(ray_serve_autoscaling_total_requests{_DEPLOYMENT})",
            "wanted in a replica": _TARGET_REQUESTS,
        },
    ),
]

SERVICE_PAGE = Page(
    "service",
    "Service",
    "Is it served, and how much more could be?",
    rows={
        "At a glance": _GLANCE,
        "Traffic and errors": _TRAFFIC,
        "Latency": _LATENCY,
        "Saturation": _SATURATION,
        "Scaling": _SCALING,
    },
)
