"""The counts of all replicas in one exposition."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from serve.metrics import DriftMetrics, ServeMetrics, Snapshot, exposition, snapshot


def replica(scored: int, seconds: float, outcome: str) -> Snapshot:
    metrics = ServeMetrics()
    metrics.rows.inc(scored)
    metrics.latency.observe(seconds)
    metrics.requests.labels(outcome).inc()
    return snapshot(metrics.registry)


def parsed(*snapshots: Snapshot) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(exposition(snapshots).decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_counts_are_summed_over_replicas_by_label() -> None:
    found = parsed(replica(3, 0.002, "ok"), replica(4, 0.2, "ok"), replica(0, 9, "InvalidFeatures"))
    assert found["vigil_rows_scored_total",] == 7
    assert (found["vigil_requests_total", "ok"], found["vigil_requests_total", "InvalidFeatures"]) == (2, 1)
    assert [found["vigil_request_seconds_bucket", le] for le in ("0.001", "0.0025", "0.25", "2.5", "+Inf")] == [0, 1, 2, 2, 3]
    assert (found["vigil_request_seconds_count",], found["vigil_request_seconds_sum",]) == (3, 9.202)


def test_help_and_type_are_told_once_and_there_are_no_creation_times() -> None:
    text = exposition([replica(1, 1, "ok"), replica(1, 1, "ok"), snapshot(DriftMetrics().registry)]).decode()
    assert text.count("# TYPE vigil_rows_scored_total counter") == 1
    assert text.count("# HELP vigil_rows_scored_total Rows scored") == 1
    assert "_created" not in text


def test_serving_and_monitor_share_no_name() -> None:
    serving, monitor = ({name for name, *_ in snapshot(m.registry)} for m in (ServeMetrics(), DriftMetrics()))
    assert not serving & monitor
    assert all(name.startswith("vigil_") for name in serving | monitor)


def test_nothing_to_tell_is_an_empty_exposition() -> None:
    assert parsed() == {}
