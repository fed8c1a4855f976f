"""Whether stream consumers keep up."""

from __future__ import annotations

from infra.dashboards.panels import Page, Panel

_EACH = "[$__rate_interval]"

_KEEPING_UP = [
    Panel(
        "Records by outcome",
        "A second: scored, seen before, or a dead letter.",
        "short",
        {"{{outcome}}": f"sum by (outcome) (rate(vigil_stream_records_total{_EACH}))"},
        stack=True,
    ),
    Panel(
        "Unread",
        "By shard: bytes of a file log, milliseconds of Kinesis.",
        "short",
        {"{{shard}}": "max by (shard) (vigil_stream_lag)"},
    ),
    Panel(
        "Since the last checkpoint",
        "By shard. It grows also while there is nothing to read.",
        "s",
        {"{{shard}}": "max by (shard) (vigil_stream_checkpoint_age_seconds)"},
    ),
    Panel(
        "Shards", "Shards that all consumers hold.", "short", {"shards": "sum(vigil_stream_shards)"}
    ),
    Panel(
        "From read to sink",
        "Of a batch.",
        "s",
        {
            name: f"histogram_quantile({q}, sum by (le) (rate(vigil_stream_batch_seconds_bucket{_EACH})))"
            for name, q in (("half", 0.5), ("99 %", 0.99))
        },
    ),
    Panel(
        "Put off, and begun anew",
        "In the last hour: batches that the service was too busy for, and shards that were taken up "
        "from their checkpoint after an error.",
        "short",
        {
            "busy": "sum(increase(vigil_stream_busy_total[1h]))",
            "{{error}}": "sum by (error) (increase(vigil_stream_failures_total[1h]))",
        },
        warn=1,
    ),
]

STREAM_PAGE = Page(
    "stream", "Stream", "Whether stream consumers keep up.", {"Consumers": _KEEPING_UP}
)
