"""Every metric, once: what a replica, the monitor and a stream consumer count."""

from __future__ import annotations

import math

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serve.context_metrics import ContextFigures
from serve.score_histogram import ScoreHistogram

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


class _Metrics:
    """Metrics in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry(auto_describe=True)

    def _counter(
        self,
        name: str,
        documentation: str,
        *labels: str,
    ) -> Counter:
        return Counter(
            name,
            documentation,
            labels,
            registry=self.registry,
        )

    def _gauge(
        self,
        name: str,
        documentation: str,
        *labels: str,
    ) -> Gauge:
        return Gauge(
            name,
            documentation,
            labels,
            registry=self.registry,
        )

    def _unset_gauge(self, name: str, documentation: str) -> Gauge:
        """A gauge that is not a number until something is known.

        0 would be a figure, and might raise an alarm.
        """
        gauge = self._gauge(name, documentation)
        gauge.set(math.nan)
        return gauge

    def _histogram(
        self,
        name: str,
        documentation: str,
        buckets: tuple[float, ...],
    ) -> Histogram:
        return Histogram(
            name,
            documentation,
            buckets=buckets,
            registry=self.registry,
        )


class ServeMetrics(_Metrics):
    """What one replica counts."""

    def __init__(self) -> None:
        super().__init__()
        self._add_requests()
        self._add_context()
        self._add_captured_rows()
        self._add_model()
        self._add_canary_and_shadow()
        self._add_process()

    def _add_requests(self) -> None:
        self.requests = self._counter(
            "vigil_requests", "Scoring requests by outcome: ok, or the error's class", "outcome"
        )
        self.rows = self._counter("vigil_rows_scored", "Rows scored")
        self.anomalies = self._counter("vigil_anomalies", "Rows over the threshold")
        self.imputed = self._counter(
            "vigil_imputed_values", "Missing values that others stand for, by feature", "feature"
        )
        self.unknown_categories = self._counter(
            "vigil_unknown_categories", "Words that training has not seen, by feature", "feature"
        )
        self.latency = self._histogram(
            "vigil_request_seconds", "Time in the handler", LATENCY_BUCKETS_S
        )
        self.pending = self._gauge(
            "vigil_pending_bytes", "Bytes of request bodies that are being read or scored"
        )
        self.log_dropped = self._counter(
            "vigil_request_log_dropped", "Lines of the request log that were over its bound"
        )
        self.console_polls = self._counter("vigil_console_polls", "Answers to the console")

    def _add_context(self) -> None:
        self.warming = self._counter(
            "vigil_rows_warming", "Rows that lack earlier rows of their entity, and alert nobody"
        )
        self.context_failures = self._counter(
            "vigil_context_failures", "Requests to a shard of the context without an answer in time"
        )

    def _add_captured_rows(self) -> None:
        self.scores = ScoreHistogram(
            "vigil_anomaly_score",
            "Anomaly scores s(x) of the rows that went to the monitor",
            SCORE_BUCKETS,
            registry=self.registry,
        )
        self.capture_dropped = self._counter(
            "vigil_capture_dropped_rows", "Captured rows dropped because the ring was full"
        )

    def _add_model(self) -> None:
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
        self.last_known_good = self._gauge(
            "vigil_model_last_known_good",
            "Replicas that serve the last known good model because the registry did not give one",
        )

    def _add_canary_and_shadow(self) -> None:
        self.shadow_rows = self._counter(
            "vigil_shadow_rows", "Rows that the challenger scored in the shadow"
        )
        self.shadow_errors = self._counter(
            "vigil_shadow_errors", "Rows that the challenger failed on in the shadow"
        )
        self.canary_requests = self._counter(
            "vigil_canary_requests",
            "Requests while a canary runs, by the model that answered",
            "arm",
        )
        for arm in ("champion", "canary"):
            self.canary_requests.labels(arm)

    def _add_process(self) -> None:
        self.cpu = self._counter(
            "vigil_replica_cpu_seconds", "Processor time that replicas have used"
        )
        self.memory = self._gauge(
            "vigil_replica_resident_memory_bytes", "Memory that replicas hold"
        )


class DriftMetrics(_Metrics):
    """What the monitor counts."""

    def __init__(self) -> None:
        super().__init__()
        self._add_windows()
        self._add_alerts_and_episodes()
        self._add_models()
        self._add_convergence()
        self._add_comparison()
        self._add_governor()
        self._add_retrainings()
        self._add_gate()
        self._add_feedback()
        self._add_incidents()

    def _add_incidents(self) -> None:
        self.incidents_open = self._gauge("vigil_incidents_open", "Incidents that are open")
        self.incidents_held = self._gauge(
            "vigil_incidents_held", "Open incidents that a dismissal rule holds back"
        )
        self.incidents_opened = self._counter(
            "vigil_incidents_opened", "Incidents that people were to hear of, by kind", "kind"
        )
        self.incidents_closed = self._counter(
            "vigil_incidents_closed", "Incidents that are over, by what people said", "outcome"
        )
        self.incident_rows = self._counter(
            "vigil_incident_suppressed_rows", "Rows that alerted and opened nothing, by why", "why"
        )
        self.incident_store_failures = self._counter(
            "vigil_incident_store_failures", "Times that incidents could not be stored"
        )
        self.notify_failures = self._counter(
            "vigil_notify_failures", "Messages that a channel did not take, by channel", "channel"
        )
        self.notify_waiting = self._gauge(
            "vigil_notify_waiting_messages", "Messages that a channel has not taken", "channel"
        )
        self.notify_oldest = self._gauge(
            "vigil_notify_oldest_seconds", "Age of the oldest message that waits", "channel"
        )
        for kind in ("rows", "drift", "data break"):
            self.incidents_opened.labels(kind)
        for outcome in ("confirmed", "dismissed", "none"):
            self.incidents_closed.labels(outcome)

    def _add_feedback(self) -> None:
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

    def _add_windows(self) -> None:
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
        for verdict in ("none", "population drift", "data break"):
            self.windows.labels(verdict)

    def _add_alerts_and_episodes(self) -> None:
        self.alert_rate = self._unset_gauge(
            "vigil_alert_rate", "Share of rows over the threshold in the last window"
        )
        self.alert_budget = self._unset_gauge(
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

    def _add_models(self) -> None:
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

    def _add_convergence(self) -> None:
        self.lagging = self._gauge(
            "vigil_model_lagging_replicas", "Replicas that do not serve the desired version"
        )
        self.lag = self._gauge(
            "vigil_model_lag_seconds", "Since when some replica has not served the desired version"
        )
        self.disagreement = self._gauge(
            "vigil_model_disagreement",
            "1 while a replica has not served the desired version for more polls than allowed",
        )

    def _add_comparison(self) -> None:
        self.canary_share = self._gauge(
            "vigil_canary_share", "Share of the requests that the canary answers; 0: there is none"
        )
        self.canary_stops = self._counter("vigil_canary_stops", "Canaries that the guard stopped")
        self.shadow_ranks = self._unset_gauge(
            "vigil_shadow_rank_correlation",
            "Kendall's tau of champion's and challenger's scores of the same rows",
        )
        self.shadow_alert_rate = self._gauge(
            "vigil_shadow_alert_rate",
            "Share of the same rows that champion and challenger alert on",
            "model",
        )

    def _add_governor(self) -> None:
        self.phase = self._gauge(
            "vigil_governor_phase", "1 for the phase that the governor is in", "phase"
        )
        self.mode = self._gauge("vigil_governor_mode", "1 for what the governor may do", "mode")
        self.retrains_left = self._gauge(
            "vigil_governor_retrains_left", "Retrainings that the budget of 24 hours has left"
        )

    def _add_retrainings(self) -> None:
        self.retrains = self._counter("vigil_retrains", "Retrainings by outcome", "outcome")
        self.retrain_seconds = self._counter(
            "vigil_retrain_seconds", "Time spent in retrainings that have ended"
        )
        self.training_phase = self._gauge(
            "vigil_training_phase_seconds",
            "Time that the champion's training took, by phase",
            "phase",
        )
        for outcome in ("promoted", "kept", "failed"):
            self.retrains.labels(outcome)

    def _add_gate(self) -> None:
        self.gate_value = self._gauge(
            "vigil_gate_value", "What a gate measured of the version judged last", "check"
        )
        self.gate_limit = self._gauge(
            "vigil_gate_limit", "What that gate compared it with", "check"
        )
        self.gate_passed = self._unset_gauge(
            "vigil_gate_passed", "1 when the version judged last passed every gate, else 0"
        )


class StreamMetrics(_Metrics):
    """What one stream consumer counts."""

    def __init__(self) -> None:
        super().__init__()
        self.context = ContextFigures(self.registry)
        self.records = self._counter(
            "vigil_stream_records", "Records by outcome: scored, duplicate or dead", "outcome"
        )
        self.imputed = self._counter(
            "vigil_stream_imputed_values",
            "Missing values that others stand for, by feature",
            "feature",
        )
        self.unknown_categories = self._counter(
            "vigil_stream_unknown_categories",
            "Words that training has not seen, by feature",
            "feature",
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

    def worst_lag(self) -> float:
        """The lag of the shard that is furthest behind."""
        (family,) = self.lag.collect()
        return max((sample.value for sample in family.samples), default=0.0)

    def forget(self, shard: str) -> None:
        """Another consumer tells of this shard from now on."""
        for gauge in (self.lag, self.checkpoint_age):
            gauge.remove(shard)
