"""Which version answers where, how it got there, and what is tried beside it."""

from __future__ import annotations

from infra.dashboards.layout import Mark, Page
from infra.dashboards.panels import RATE_WINDOW, Panel

_BECAME = (
    "max by (version) (vigil_model_desired) unless max by (version) (vigil_model_desired offset 1m)"
)
_SWAP_BUCKETS = "sum by (le) (increase(vigil_model_swap_seconds_bucket[1h]))"
PROMOTION_MARK = Mark("promotion", _BECAME, "version {{version}} is champion")

_VERSIONS = [
    Panel(
        "Replicas by version",
        "Which version the replicas serve. While two are drawn, a swap is under way.",
        "short",
        queries={"version {{version}}": "sum by (version) (vigil_model_replicas)"},
        stack=True,
        width=12,
    ),
    Panel(
        "Desired and served",
        "The version of the alias `champion`, and the one that the monitor compares with.",
        "short",
        queries={
            "desired {{version}}": "max by (version) (vigil_model_desired)",
            "compared with {{version}} ({{digest}})": "max by (version, digest) (vigil_model_info)",
        },
        kind="state-timeline",
        width=12,
    ),
    Panel(
        "Behind",
        "Since when some replica has not served the desired version; 0 while all do.",
        "s",
        queries={"lag": "max(vigil_model_lag_seconds)"},
        warn=6,
    ),
    Panel(
        "Replicas that lag",
        "Replicas that do not serve the desired version.",
        "short",
        queries={
            "replicas": "max(vigil_model_lagging_replicas)",
            "for too long": "max(vigil_model_disagreement)",
        },
        warn=1,
    ),
    Panel(
        "From the last known good",
        "Replicas that started while the registry was away, from the bundle on their node.",
        "short",
        queries={"replicas": "sum(vigil_model_last_known_good)"},
        warn=1,
    ),
]

_SWAPS = [
    Panel(
        "How long a swap takes",
        "In a replica, from noticing a version to serving it.",
        "s",
        queries={
            "half": f"histogram_quantile(0.5, {_SWAP_BUCKETS})",
            "99 %": f"histogram_quantile(0.99, {_SWAP_BUCKETS})",
        },
        bad=30,
    ),
    Panel(
        "Swaps",
        "Models that replicas have published in the last hour, the first ones included.",
        "short",
        queries={
            "swaps": "sum(increase(vigil_model_swaps_total[1h]))",
            "timed": "sum(increase(vigil_model_swap_seconds_count[1h]))",
        },
    ),
    Panel(
        "What went wrong",
        "In the last hour: versions that could not be loaded or verified, and polls of the"
        " registry that failed.",
        "short",
        queries={
            "failed swaps": "sum(increase(vigil_model_swap_failures_total[1h]))",
            "failed polls": "sum(increase(vigil_registry_failures_total[1h]))",
        },
        warn=1,
    ),
]

_CANARY = [
    Panel(
        "Share of the canary",
        "Share of the requests that a canary answers; 0: there is none.",
        "percentunit",
        queries={"share": "max(vigil_canary_share)"},
        most=1,
    ),
    Panel(
        "Requests by arm",
        "While a canary runs, who answers.",
        "reqps",
        queries={"{{arm}}": f"sum by (arm) (rate(vigil_canary_requests_total{RATE_WINDOW}))"},
        stack=True,
    ),
    Panel(
        "Canaries stopped",
        "By the guard, in the last day: it failed, was slow, or alerted outside its band.",
        "short",
        queries={"stopped": "sum(increase(vigil_canary_stops_total[1d]))"},
        warn=1,
    ),
]

_SHADOW = [
    Panel(
        "Agreement",
        "Rank correlation of champion's and challenger's scores of the same rows; 1: the same"
        " order.",
        "short",
        queries={"rank correlation": "max(vigil_shadow_rank_correlation)"},
        bad=0.5,
        warn=0.8,
        low=True,
        least=-1,
        most=1,
    ),
    Panel(
        "Alert rates",
        "Share of the same rows over each model's own threshold.",
        "percentunit",
        queries={"{{model}}": "max by (model) (vigil_shadow_alert_rate)"},
    ),
    Panel(
        "Rows in the shadow",
        "Rows a second that the challenger scored, and failed on.",
        "short",
        queries={
            "scored": f"sum(rate(vigil_shadow_rows_total{RATE_WINDOW}))",
            "failed": f"sum(rate(vigil_shadow_errors_total{RATE_WINDOW}))",
        },
    ),
]

MODELS_PAGE = Page(
    "models",
    "Models",
    "Which version answers where, how it got there, and what is tried beside it.",
    rows={"Versions": _VERSIONS, "Swaps": _SWAPS, "Canary": _CANARY, "Shadow": _SHADOW},
    marks=(PROMOTION_MARK,),
    since="now-6h",
)
