"""Every metric, once: what a replica counts, and how the counts of all replicas become one exposition."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

# Sub-millisecond steps: a row is scored in microseconds.
LATENCY_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
Snapshot = list[tuple[str, str, str, list[tuple[str, tuple[tuple[str, str], ...], float]]]]


class ServeMetrics:
    """What one replica counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        made: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("vigil_requests", "Scoring requests by outcome", ["outcome"], **made)
        self.rows = Counter("vigil_rows_scored", "Rows scored", **made)
        self.anomalies = Counter("vigil_anomalies", "Rows over the threshold", **made)
        self.latency = Histogram("vigil_request_seconds", "Time in the handler", buckets=LATENCY_BUCKETS_S, **made)
        self.capture_dropped = Counter("vigil_capture_dropped_rows", "Captured rows dropped because the ring was full", **made)
        self.swaps = Counter("vigil_model_swaps", "Models published on a replica", **made)
        self.swap_failures = Counter("vigil_model_swap_failures", "Versions that could not be loaded or verified", **made)
        self.registry_failures = Counter("vigil_registry_failures", "Polls of the registry that failed", **made)
        good = "Replicas that serve the last known good model because the registry did not give one"
        self.last_known_good = Gauge("vigil_model_last_known_good", good, **made)


class DriftMetrics:
    """What the monitor counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        made: dict[str, Any] = {"registry": self.registry}
        self.windows = Counter("vigil_drift_windows", "Windows judged, by verdict", ["verdict"], **made)
        self.severity = Gauge("vigil_drift_severity", "Largest KS distance over its floor in the last window", **made)
        self.retrains = Counter("vigil_retrains", "Retrainings by outcome", ["outcome"], **made)
        self.capture_failures = Counter("vigil_capture_write_failures", "Windows that could not be written", **made)
        self.skipped = Counter("vigil_drift_skipped_rows", "Rows of another model version than the champion's", **made)
        self.replicas = Gauge("vigil_model_replicas", "Replicas by the model version they serve", ["version"], **made)
        self.desired = Gauge("vigil_model_desired", "1 for the version that replicas should serve", ["version"], **made)
        self.lagging = Gauge("vigil_model_lagging_replicas", "Replicas that do not serve the desired version", **made)
        alert = "1 while a replica has not served the desired version for more polls than allowed"
        self.disagreement = Gauge("vigil_model_disagreement", alert, **made)
        self.feedback = Gauge("vigil_feedback_labels", "Rows that people labelled, by outcome", ["outcome"], **made)
        interval = "with the bounds of its 95 % interval"
        self.precision = Gauge("vigil_feedback_precision", f"Precision on labelled rows, {interval}", ["bound"], **made)
        self.recall = Gauge("vigil_feedback_recall", f"Recall on labelled rows, {interval}", ["bound"], **made)
        self.canary_stops = Counter("vigil_canary_stops", "Canaries that the guard stopped", **made)


class StreamMetrics:
    """What one stream consumer counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        made: dict[str, Any] = {"registry": self.registry}
        self.records = Counter("vigil_stream_records", "Records by outcome: scored, duplicate or dead", ["outcome"], **made)
        self.lag = Gauge("vigil_stream_lag", "Unread part of a shard: bytes of a file log, ms of Kinesis", ["shard"], **made)
        self.checkpoint_age = Gauge("vigil_stream_checkpoint_age_seconds", "Since the last checkpoint", ["shard"], **made)
        self.shards = Gauge("vigil_stream_shards", "Shards this consumer has", **made)
        self.busy = Counter("vigil_stream_busy", "Batches that the service put off", **made)
        self.failures = Counter("vigil_stream_failures", "Times a shard was taken up anew, by error", ["error"], **made)
        self.batch = Histogram("vigil_stream_batch_seconds", "From read to sink", buckets=LATENCY_BUCKETS_S, **made)

    def forget(self, shard: str) -> None:
        """Another consumer tells of this shard from now on."""
        for gauge in (self.lag, self.checkpoint_age):
            gauge.remove(shard)


def snapshot(registry: CollectorRegistry) -> Snapshot:
    """The samples of a registry as plain values that travel between processes."""
    return [
        (
            m.name,
            m.type,
            m.documentation,
            [(s.name, tuple(sorted(s.labels.items())), s.value) for s in m.samples if not s.name.endswith("_created")],
        )
        for m in registry.collect()
    ]


def exposition(snapshots: Iterable[Snapshot]) -> bytes:
    """Prometheus text of the sums over `snapshots`."""
    registry = CollectorRegistry()
    registry.register(_Sum(list(snapshots)))
    return generate_latest(registry)


class _Sum(Collector):
    def __init__(self, snapshots: list[Snapshot]) -> None:
        self._snapshots = snapshots

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
        for one in self._snapshots:
            for name, kind, documentation, samples in one:
                families.setdefault(name, Metric(name, documentation, kind))
                family = sums.setdefault(name, {})
                for sample, labels, value in samples:
                    family[sample, labels] = family.get((sample, labels), 0.0) + value
        for name, metric in families.items():
            for (sample, labels), value in sums[name].items():
                metric.add_sample(sample, dict(labels), value)
            yield metric
