"""Every metric, once: what a replica, the monitor and a stream consumer count, and how all counts become one exposition."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from vigil.arrays import Floats

log = logging.getLogger("ray.serve")
# Sub-millisecond steps: a row is scored in microseconds.
LATENCY_BUCKETS_S = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
)
SWAP_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SCORE_BUCKETS = tuple(step / 100 for step in range(30, 95, 5))
MetricFamilies = list[tuple[str, str, str, list[tuple[str, tuple[tuple[str, str], ...], float]]]]


class ScoreHistogram(Collector):
    """A histogram that takes many values in one step: prometheus_client's own takes them one by one."""

    def __init__(
        self, name: str, documentation: str, buckets: tuple[float, ...], registry: CollectorRegistry
    ) -> None:
        self._name, self._documentation, self._buckets = name, documentation, buckets
        self._counts, self._sum = np.zeros(len(buckets) + 1, np.int64), 0.0
        registry.register(self)

    def observe(self, values: Floats) -> None:
        """Count the values [n]."""
        found = np.searchsorted(self._buckets, values)
        self._counts += np.bincount(found, minlength=len(self._counts))
        self._sum += float(values.sum())

    def collect(self) -> Iterator[Metric]:
        bounds = [*(str(bound) for bound in self._buckets), "+Inf"]
        counted = [
            (bound, float(count))
            for bound, count in zip(bounds, self._counts.cumsum(), strict=True)
        ]
        yield HistogramMetricFamily(
            self._name, self._documentation, buckets=counted, sum_value=self._sum
        )


class _Metrics:
    """Makes metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, registry=self.registry)

    def _unknown(self, name: str, documentation: str) -> Gauge:
        """A gauge that is not a number until something is known: 0 would be a figure, and might raise an alarm."""
        gauge = self._gauge(name, documentation)
        gauge.set(math.nan)
        return gauge

    def _histogram(self, name: str, documentation: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, documentation, buckets=buckets, registry=self.registry)


class ServeMetrics(_Metrics):
    """What one replica counts."""

    def __init__(self) -> None:
        super().__init__()
        self.requests = self._counter(
            "vigil_requests", "Scoring requests by outcome: ok, or the error's class", "outcome"
        )
        self.rows = self._counter("vigil_rows_scored", "Rows scored")
        self.anomalies = self._counter("vigil_anomalies", "Rows over the threshold")
        self.latency = self._histogram(
            "vigil_request_seconds", "Time in the handler", LATENCY_BUCKETS_S
        )
        told = "Anomaly scores s(x) of the rows that went to the monitor"
        self.scores = ScoreHistogram("vigil_anomaly_score", told, SCORE_BUCKETS, self.registry)
        self.capture_dropped = self._counter(
            "vigil_capture_dropped_rows", "Captured rows dropped because the ring was full"
        )
        self.swaps = self._counter("vigil_model_swaps", "Models published on a replica")
        self.swap_failures = self._counter(
            "vigil_model_swap_failures", "Versions that could not be loaded or verified"
        )
        self.swap = self._histogram(
            "vigil_model_swap_seconds", "From noticing a version to serving it", SWAP_BUCKETS_S
        )
        self.registry_failures = self._counter(
            "vigil_registry_failures", "Polls of the registry that failed"
        )
        good = "Replicas that serve the last known good model because the registry did not give one"
        self.last_known_good = self._gauge("vigil_model_last_known_good", good)
        self.pending = self._gauge(
            "vigil_pending_bytes", "Bytes of request bodies that are being read or scored"
        )
        self.cpu = self._counter(
            "vigil_replica_cpu_seconds", "Processor time that replicas have used"
        )
        self.memory = self._gauge(
            "vigil_replica_resident_memory_bytes", "Memory that replicas hold"
        )
        self.shadow_rows = self._counter(
            "vigil_shadow_rows", "Rows that the challenger scored in the shadow"
        )
        self.shadow_errors = self._counter(
            "vigil_shadow_errors", "Rows that the challenger failed on in the shadow"
        )
        arms = "Requests while a canary runs, by the model that answered"
        self.canary_requests = self._counter("vigil_canary_requests", arms, "arm")
        lost = "Lines of the request log that were over its bound"
        self.log_dropped = self._counter("vigil_request_log_dropped", lost)
        self.console_polls = self._counter("vigil_console_polls", "Answers to the console")
        for arm in ("champion", "canary"):
            self.canary_requests.labels(arm)


class DriftMetrics(_Metrics):
    """What the monitor counts."""

    def __init__(self) -> None:
        super().__init__()
        self._drift()
        self._models()
        self._governor()
        self.feedback = self._gauge(
            "vigil_feedback_labels", "Rows that people labelled, by outcome", "outcome"
        )
        interval = "with the bounds of its 95 % interval"
        self.precision = self._gauge(
            "vigil_feedback_precision", f"Precision on labelled rows, {interval}", "bound"
        )
        self.recall = self._gauge(
            "vigil_feedback_recall", f"Recall on labelled rows, {interval}", "bound"
        )

    def _drift(self) -> None:
        self.windows = self._counter("vigil_drift_windows", "Windows judged, by verdict", "verdict")
        self.severity = self._gauge(
            "vigil_drift_severity", "Largest KS distance over its floor in the last window"
        )
        self.statistic = self._gauge(
            "vigil_drift_statistic", "KS distance of a feature in the last window", "feature"
        )
        self.floor = self._gauge(
            "vigil_drift_floor", "KS distance that is ordinary for a feature", "feature"
        )
        self.alert_rate = self._unknown(
            "vigil_alert_rate", "Share of rows over the threshold in the last window"
        )
        self.alert_budget = self._unknown(
            "vigil_alert_budget", "Share of rows that the champion is meant to alert on"
        )
        self.episodes = self._counter("vigil_drift_episodes", "Drift episodes that have begun")
        self.episode_open = self._gauge(
            "vigil_drift_episode_open", "1 while a drift episode is open"
        )
        self.capture_failures = self._counter(
            "vigil_capture_write_failures", "Windows that could not be written"
        )
        self.skipped = self._counter(
            "vigil_drift_skipped_rows", "Rows of another model version than the champion's"
        )
        for verdict in ("none", "population drift", "data break"):
            self.windows.labels(verdict)

    def _models(self) -> None:
        self.info = self._gauge(
            "vigil_model_info",
            "1 for the champion, with the start of its digest",
            "version",
            "digest",
        )
        self.replicas = self._gauge(
            "vigil_model_replicas", "Replicas by the model version they serve", "version"
        )
        self.desired = self._gauge(
            "vigil_model_desired", "1 for the version that replicas should serve", "version"
        )
        self.lagging = self._gauge(
            "vigil_model_lagging_replicas", "Replicas that do not serve the desired version"
        )
        self.lag = self._gauge(
            "vigil_model_lag_seconds", "Since when some replica has not served the desired version"
        )
        alert = "1 while a replica has not served the desired version for more polls than allowed"
        self.disagreement = self._gauge("vigil_model_disagreement", alert)
        self.canary_share = self._gauge(
            "vigil_canary_share", "Share of the requests that the canary answers; 0: there is none"
        )
        self.canary_stops = self._counter("vigil_canary_stops", "Canaries that the guard stopped")
        ranks = "Kendall's tau of champion's and challenger's scores of the same rows"
        self.shadow_ranks = self._unknown("vigil_shadow_rank_correlation", ranks)
        rate = "Share of the same rows that champion and challenger alert on"
        self.shadow_alert_rate = self._gauge("vigil_shadow_alert_rate", rate, "model")

    def _governor(self) -> None:
        self.phase = self._gauge(
            "vigil_governor_phase", "1 for the phase that the governor is in", "phase"
        )
        self.mode = self._gauge("vigil_governor_mode", "1 for what the governor may do", "mode")
        self.retrains_left = self._gauge(
            "vigil_governor_retrains_left", "Retrainings that the budget of 24 hours has left"
        )
        self.retrains = self._counter("vigil_retrains", "Retrainings by outcome", "outcome")
        self.retrain_seconds = self._counter(
            "vigil_retrain_seconds", "Time spent in retrainings that have ended"
        )
        self.gate_value = self._gauge(
            "vigil_gate_value", "What a gate measured of the version judged last", "check"
        )
        self.gate_limit = self._gauge(
            "vigil_gate_limit", "What that gate compared it with", "check"
        )
        self.gate_passed = self._unknown(
            "vigil_gate_passed", "1 when the version judged last passed every gate, else 0"
        )
        training = "Time that the champion's training took, by phase"
        self.training_phase = self._gauge("vigil_training_phase_seconds", training, "phase")
        for outcome in ("promoted", "kept", "failed"):
            self.retrains.labels(outcome)


class StreamMetrics(_Metrics):
    """What one stream consumer counts."""

    def __init__(self) -> None:
        super().__init__()
        self.records = self._counter(
            "vigil_stream_records", "Records by outcome: scored, duplicate or dead", "outcome"
        )
        self.lag = self._gauge(
            "vigil_stream_lag",
            "Unread part of a shard: bytes of a file log, ms of Kinesis",
            "shard",
        )
        self.checkpoint_age = self._gauge(
            "vigil_stream_checkpoint_age_seconds", "Since the last checkpoint", "shard"
        )
        self.shards = self._gauge("vigil_stream_shards", "Shards this consumer has")
        self.busy = self._counter("vigil_stream_busy", "Batches that the service put off")
        self.failures = self._counter(
            "vigil_stream_failures", "Times a shard was taken up anew, by error", "error"
        )
        self.batch = self._histogram(
            "vigil_stream_batch_seconds", "From read to sink", LATENCY_BUCKETS_S
        )

    def forget(self, shard: str) -> None:
        """Another consumer tells of this shard from now on."""
        for gauge in (self.lag, self.checkpoint_age):
            gauge.remove(shard)


def collect_metrics(registry: CollectorRegistry) -> MetricFamilies:
    """The samples of a registry as plain values that travel between processes."""
    return [
        (
            m.name,
            m.type,
            m.documentation,
            [
                (s.name, tuple(sorted(s.labels.items())), s.value)
                for s in m.samples
                if not s.name.endswith("_created")
            ],
        )
        for m in registry.collect()
    ]


def label_metrics(counts: MetricFamilies, **labels: str) -> MetricFamilies:
    """The same samples as series of their own: in those of the sum, a part of it would look like a counter that began anew."""
    more = tuple(labels.items())
    return [
        (
            name,
            kind,
            documentation,
            [(sample, (*own, *more), value) for sample, own, value in samples],
        )
        for name, kind, documentation, samples in counts
    ]


def sum_metrics(snapshots: Iterable[MetricFamilies]) -> MetricFamilies:
    """The sums over `snapshots`, sample by sample."""
    about: dict[str, tuple[str, str]] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for one in snapshots:
        for name, kind, documentation, samples in one:
            about.setdefault(name, (kind, documentation))
            family = sums.setdefault(name, {})
            for sample, labels, value in samples:
                family[sample, labels] = family.get((sample, labels), 0.0) + value
    return [
        (name, *about[name], [(*key, value) for key, value in family.items()])
        for name, family in sums.items()
    ]


def render_exposition(snapshots: Iterable[MetricFamilies]) -> bytes:
    """Prometheus text of the sums over `snapshots`."""
    registry = CollectorRegistry()
    registry.register(_Plain(sum_metrics(snapshots)))
    return generate_latest(registry)


class _Plain(Collector):
    """Makes a snapshot metrics again."""

    def __init__(self, snapshot: MetricFamilies) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        for name, kind, documentation, samples in self._snapshot:
            metric = Metric(name, documentation, kind)
            for sample, labels, value in samples:
                metric.add_sample(sample, dict(labels), value)
            yield metric


class RayMirror:
    """Sets the same samples through Ray's metrics: the endpoint of each node has them as `ray_vigil_...`, with the worker's id.

    As gauges all of them, counts too: of a process that has ended Ray forgets a gauge, but keeps a counter for ever.
    """

    def __init__(self) -> None:
        from ray.util.metrics import Gauge as RayGauge  # here: who only names metrics needs no Ray

        self._make, self._gauges = RayGauge, dict[str, RayGauge]()

    def update(self, counts: MetricFamilies) -> None:
        """Set every sample of `counts`; what is not a number is left out. Never raises: the counts go to the monitor as well."""
        try:
            self._set(counts)
        except Exception:
            log.exception("Ray does not take these metrics")

    def _set(self, counts: MetricFamilies) -> None:
        for _, _, documentation, samples in counts:
            for name, labels, value in samples:
                if name not in self._gauges:
                    self._gauges[name] = self._make(
                        name, documentation, tuple(label for label, _ in labels)
                    )
                if not math.isnan(value):
                    self._gauges[name].set(value, dict(labels))
