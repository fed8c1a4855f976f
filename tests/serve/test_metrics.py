"""The counts of all replicas in one exposition."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from serve.exposition import MetricFamilies, collect_metrics, render_exposition, sum_metrics
from serve.metrics import DriftMetrics, ServeMetrics, StreamMetrics
from serve.model.canary import RunningCanary
from serve.model.report import ShadowReport
from serve.model.vitals import Vitals
from tests.serve.linted import lint, populate
from vigil.errors import VigilError

# Of one replica; each is stored for each replica on each scrape.
# Histograms are most of them: 17 + 16 + 12.
SERIES_BUDGET = 100


def replica(scored: int, seconds: float, outcome: str) -> MetricFamilies:
    metrics = ServeMetrics()
    metrics.rows.inc(scored)
    metrics.latency.observe(seconds)
    metrics.requests.labels(outcome).inc()
    return collect_metrics(metrics.registry)


def parsed(*snapshots: MetricFamilies) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(render_exposition(snapshots).decode())
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def test_counts_are_summed_over_replicas_by_label() -> None:
    found = parsed(replica(3, 0.002, "ok"), replica(4, 0.2, "ok"), replica(0, 9, "InvalidFeatures"))
    assert found["vigil_rows_scored_total",] == 7
    assert (
        found["vigil_requests_total", "ok"],
        found["vigil_requests_total", "InvalidFeatures"],
    ) == (2, 1)
    assert [
        found["vigil_request_seconds_bucket", le]
        for le in ("0.001", "0.0025", "0.25", "2.5", "+Inf")
    ] == [0, 1, 2, 2, 3]
    assert (found["vigil_request_seconds_count",], found["vigil_request_seconds_sum",]) == (
        3,
        9.202,
    )


def test_help_and_type_are_told_once_and_there_are_no_creation_times() -> None:
    text = render_exposition(
        [replica(1, 1, "ok"), replica(1, 1, "ok"), collect_metrics(DriftMetrics().registry)]
    ).decode()
    assert text.count("# TYPE vigil_rows_scored_total counter") == 1
    assert text.count("# HELP vigil_rows_scored_total Rows scored") == 1
    assert "_created" not in text


def test_serving_and_monitor_share_no_name() -> None:
    serving, monitor = (
        {name for name, *_ in collect_metrics(m.registry)} for m in (ServeMetrics(), DriftMetrics())
    )
    assert not serving & monitor
    assert all(name.startswith("vigil_") for name in serving | monitor)


def test_nothing_to_tell_is_an_empty_exposition() -> None:
    assert parsed() == {}


@pytest.mark.parametrize("made", [ServeMetrics, DriftMetrics, StreamMetrics])
def test_the_linter_finds_nothing(made: Any) -> None:
    metrics = made()
    populate(metrics.registry, ("plain", 'say "no"\n# TYPE x', "a\\b"))
    if made is ServeMetrics:
        metrics.scores.observe(np.array([0.3, 0.5, 0.99]))
    text = render_exposition([collect_metrics(metrics.registry)])
    assert sum(line.startswith(b"# TYPE") for line in text.splitlines()) == len(
        list(metrics.registry.collect())
    )
    assert lint(text) == ""


def test_the_linter_would_find_something() -> None:
    assert "counter metrics should have" in lint(
        b"# HELP vigil_x X\n# TYPE vigil_x counter\nvigil_x 1\n"
    )


def errors(of: type[VigilError] = VigilError) -> set[str]:
    """Those that a replica can meet; other tests of the same process may know more."""
    own = (
        {of.__name__} if of.__module__.split(".")[0] in ("serve", "train", "drift") else set[str]()
    )
    return own.union(*(errors(child) for child in of.__subclasses__()))


def test_a_replica_stays_within_its_budget_of_series() -> None:
    metrics = ServeMetrics()
    for outcome in {"ok"} | errors():
        metrics.requests.labels(outcome).inc()
    series = sum(len(samples) for *_, samples in collect_metrics(metrics.registry))
    assert 60 < series <= SERIES_BUDGET


def test_scores_are_counted_as_a_histogram_of_single_observations_would() -> None:
    metrics = ServeMetrics()
    metrics.scores.observe(np.array([0.1, 0.3, 0.31, 0.55]))
    metrics.scores.observe(np.array([0.9, 0.95]))
    metrics.scores.observe(np.array([]))
    found = parsed(collect_metrics(metrics.registry))
    counted = {
        le: found["vigil_anomaly_score_bucket", le]
        for le in ("0.3", "0.35", "0.5", "0.55", "0.9", "+Inf")
    }
    assert counted == {"0.3": 2, "0.35": 3, "0.5": 3, "0.55": 4, "0.9": 5, "+Inf": 6}
    assert found["vigil_anomaly_score_count",] == 6
    assert found["vigil_anomaly_score_sum",] == pytest.approx(3.11)


def test_sums_of_sums_are_sums() -> None:
    one, two, three = (
        replica(3, 0.002, "ok"),
        replica(4, 0.2, "ok"),
        replica(0, 9, "InvalidFeatures"),
    )
    assert parsed(sum_metrics([one, sum_metrics([two, three])])) == parsed(one, two, three)


def test_a_canary_is_counted_to_its_last_request() -> None:
    metrics = ServeMetrics()
    vitals, running = Vitals(metrics), SimpleNamespace(requests={"champion": 3, "canary": 1})
    shadow = ShadowReport(champion="1", challenger="2", scores=np.zeros((2, 5)))
    vitals.sample(cast(RunningCanary, running), shadow)
    running.requests = {"champion": 9, "canary": 2}
    vitals.sample(None, ShadowReport(champion="1", challenger="2", errors=4))
    vitals.sample(None, None)
    found = parsed(collect_metrics(metrics.registry))
    arms = [found["vigil_canary_requests_total", arm] for arm in ("champion", "canary")]
    assert (arms, found["vigil_shadow_rows_total",], found["vigil_shadow_errors_total",]) == (
        [9, 2],
        5,
        4,
    )
    assert 0 < found["vigil_replica_cpu_seconds_total",] <= time.process_time()
    assert found["vigil_replica_resident_memory_bytes",] > 2**20
