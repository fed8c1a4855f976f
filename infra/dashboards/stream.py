"""Whether stream consumers keep up."""

from __future__ import annotations

from infra.dashboards.layout import Page
from infra.dashboards.panels import RATE_WINDOW, Panel

_BATCH_BUCKETS = f"sum by (le) (rate(vigil_stream_batch_seconds_bucket{RATE_WINDOW}))"

_KEEPING_UP = [
    Panel(
        "Records by outcome",
        "A second: scored, seen before, or a dead letter.",
        "short",
        queries={
            "{{outcome}}": f"sum by (outcome) (rate(vigil_stream_records_total{RATE_WINDOW}))"
        },
        stack=True,
    ),
    Panel(
        "Unread",
        "By shard: bytes of a file log, milliseconds of Kinesis.",
        "short",
        queries={"{{shard}}": "max by (shard) (vigil_stream_lag)"},
    ),
    Panel(
        "Since the last checkpoint",
        "By shard. It grows also while there is nothing to read.",
        "s",
        queries={"{{shard}}": "max by (shard) (vigil_stream_checkpoint_age_seconds)"},
    ),
    Panel(
        "Shards",
        "Shards that all consumers hold.",
        "short",
        queries={"shards": "sum(vigil_stream_shards)"},
    ),
    Panel(
        "From read to sink",
        "Of a batch.",
        "s",
        queries={
            "half": f"histogram_quantile(0.5, {_BATCH_BUCKETS})",
            "99 %": f"histogram_quantile(0.99, {_BATCH_BUCKETS})",
        },
    ),
    Panel(
        "Put off, and begun anew",
        "In the last hour: batches that the service was too busy for, and shards that were taken"
        " up from their checkpoint after an error.",
        "short",
        queries={
            "busy": "sum(increase(vigil_stream_busy_total[1h]))",
            "{{error}}": "sum by (error) (increase(vigil_stream_failures_total[1h]))",
        },
        warn=1,
    ),
]

STREAM_PAGE = Page(
    "stream",
    "Stream",
    "Whether stream consumers keep up.",
    rows={"Consumers": _KEEPING_UP},
)
