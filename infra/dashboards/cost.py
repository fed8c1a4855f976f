"""What scoring and retraining cost. The price of a processor is the reader's to set."""

from __future__ import annotations

from infra.dashboards.layout import Constant, Page
from infra.dashboards.panels import RATE_WINDOW, Panel
from infra.prices import price

_CPU_S = f"sum(rate(vigil_replica_cpu_seconds_total{RATE_WINDOW}))"
_ROWS = f"sum(rate(vigil_rows_scored_total{RATE_WINDOW}))"
_CORES = "sum(ray_node_cpu_count)"
_CORES_AT_WORK = "sum(ray_node_cpu_count * ray_node_cpu_utilization / 100)"
_PRICE = Constant("price", "USD for a vCPU-hour", str(price("m6i vCPU")))

_SCORING = [
    Panel(
        "CPU seconds in a million rows",
        "Of all replicas, idle time between requests included: more load makes it cheaper.",
        "s",
        queries={"replicas": f"{_CPU_S} / {_ROWS} * 1e6"},
    ),
    Panel(
        "Price of a million rows",
        "The same, at the price of a vCPU-hour above.",
        "currencyUSD",
        queries={"used": f"{_CPU_S} / {_ROWS} * 1e6 / 3600 * $price"},
    ),
    Panel(
        "Rows that a CPU second scores",
        "Of all replicas, idle time included.",
        "short",
        queries={"rows": f"{_ROWS} / {_CPU_S}"},
    ),
    Panel(
        "Replicas",
        "By the version that they serve.",
        "short",
        queries={"version {{version}}": "sum by (version) (vigil_model_replicas)"},
        stack=True,
    ),
    Panel(
        "Memory",
        "Resident, of all replicas and of one.",
        "bytes",
        queries={
            "all": "sum(vigil_replica_resident_memory_bytes)",
            "one": "sum(vigil_replica_resident_memory_bytes) / sum(vigil_model_replicas)",
        },
    ),
    Panel(
        "Processors in use",
        "Of the replicas.",
        "short",
        queries={"replicas": _CPU_S},
    ),
]

_NODES = [
    Panel(
        "Processors that are paid for",
        "Cores of Ray's nodes, and how many of them work.",
        "short",
        queries={
            "there": _CORES,
            "at work": _CORES_AT_WORK,
        },
    ),
    Panel(
        "Price of an hour",
        "Cores of Ray's nodes at the price of a vCPU-hour; databases, balancers and storage are in "
        "docs/cost.md.",
        "currencyUSD",
        queries={"nodes": f"{_CORES} * $price"},
    ),
    Panel(
        "Idle",
        "Share of the cores that are paid for and do nothing.",
        "percentunit",
        queries={"idle": f"1 - {_CORES_AT_WORK} / {_CORES}"},
        most=1,
    ),
]

_RETRAINING = [
    Panel(
        "Seconds of retraining",
        "In the last day. VIGIL_DRIFT_MAX_RETRAIN_SECONDS_PER_DAY bounds them.",
        "s",
        queries={"seconds": "sum(increase(vigil_retrain_seconds_total[1d]))"},
        width=12,
    ),
    Panel(
        "Retrainings",
        "In the last day, by outcome: what was kept or failed was paid for too.",
        "short",
        queries={"{{outcome}}": "sum by (outcome) (increase(vigil_retrains_total[1d]))"},
        width=12,
        stack=True,
    ),
]

COST_PAGE = Page(
    "cost",
    "Cost",
    "What scoring and retraining cost; what an environment costs a month is in docs/cost.md.",
    rows={"Scoring": _SCORING, "Nodes": _NODES, "Retraining": _RETRAINING},
    constants=(_PRICE,),
    since="now-6h",
)
