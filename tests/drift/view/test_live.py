"""What the monitor keeps for people, all bounded.

It keeps rates, quantiles, points with reasons, and what happened in words.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from drift.release import Retraining
from drift.view.live import Live
from drift.view.points import MAX_ANOMALY_POINTS, MAX_NORMAL_POINTS
from drift.view.timeline import timeline
from drift.view.traffic import SPAN_S, STEP_S
from serve.exposition import collect_metrics
from serve.metrics import ServeMetrics
from serve.model.report import CapturedRows, ReplicaReport, ServedModel
from train.model.bundle import ModelBundle
from train.registry.moves import Move
from train.registry.versions import Desired, Version

Make = Callable[..., Any]
NOW = 1_700_000_000.0


class Replica:
    """Counts like a replica and reports like one."""

    def __init__(self, name: str = "r1") -> None:
        self.name, self.metrics = name, ServeMetrics()

    def did(
        self,
        ok: int = 0,
        refused: int = 0,
        rows: int = 0,
        anomalies: int = 0,
        seconds: float = 0.002,
    ) -> None:
        self.metrics.requests.labels("ok").inc(ok)
        self.metrics.requests.labels("Overloaded").inc(refused)
        self.metrics.rows.inc(rows)
        self.metrics.anomalies.inc(anomalies)
        for _ in range(ok):
            self.metrics.latency.observe(seconds)

    def report(self, *rows: CapturedRows) -> ReplicaReport:
        return ReplicaReport(
            served=ServedModel(replica=self.name),
            counts=collect_metrics(self.metrics.registry),
            rows=list(rows),
        )


def test_rates_are_even_however_reports_fall_into_steps() -> None:
    live, one, other = Live(), Replica("a"), Replica("b")
    one.did(ok=5000)  # before this monitor began
    at = NOW
    for k in range(60):
        for replica, late in ((one, 0.0), (other, 0.3)):
            live.ingest(replica.report(), at + late)
            replica.did(ok=10 if k % 2 else 9, rows=20, refused=1)
        at += 0.9 if k % 2 else 1.0
    columns = live.traffic.columns(at)
    inner = np.array(columns["ok"][2:-1])
    assert len(inner) > 20
    assert inner.min() == pytest.approx(20, rel=0.1)
    assert inner.max() == pytest.approx(20, rel=0.1)
    assert np.diff(columns["at"]).tolist() == [STEP_S] * (len(columns["at"]) - 1)
    assert columns["refused_by"] == {"Overloaded": pytest.approx(116, abs=5)}
    assert live.traffic.totals(at)["ok"] < 1200
    assert columns["p50_ms"][3] == pytest.approx(
        1.75, abs=0.01
    )  # in the middle of the bucket from 1 to 2.5 ms
    assert columns["p99_ms"][3] <= 2.5


def test_without_traffic_nothing_changes_with_the_clock() -> None:
    live, replica = Live(), Replica()
    for k in range(5):
        live.ingest(replica.report(), NOW + k)
    assert live.traffic.columns(NOW + 5)["at"] == []


def test_steps_end_after_ten_minutes_and_a_silent_replica_does_not_make_a_spike() -> None:
    live, replica = Live(), Replica()
    live.ingest(replica.report(), NOW)
    replica.did(ok=1)
    live.ingest(replica.report(), NOW + 1)
    replica.did(ok=100)
    live.ingest(replica.report(), NOW + SPAN_S + 10)
    columns = live.traffic.columns(NOW + SPAN_S + 20)
    assert columns["at"][0] >= NOW + 20
    assert sum(columns["ok"]) * STEP_S == pytest.approx(100, rel=0.01)


def test_points_are_bounded_spread_over_time_and_anomalies_have_reasons(
    bundle: ModelBundle, live: Make
) -> None:
    seen, replica = Live(), Replica()
    seen.points.follow("1", bundle)
    limit = bundle.threshold.value
    for k in range(300):
        rows = live(40, seed=k)
        rows[:2, 2], rows[:2, 3:] = 99.0, 14.0
        scores = bundle.forest.score(rows)
        seen.ingest(
            replica.report(
                CapturedRows("1", rows, scores, [f"q{k}"] * 40),
                CapturedRows("9", rows, scores, ["other"] * 40),
            ),
            NOW + 2 * k,
        )
    found = seen.points.columns()
    assert len(found["at"]) == MAX_NORMAL_POINTS
    assert len(found["anomalies"]) == MAX_ANOMALY_POINTS
    assert found["at"] == sorted(found["at"])
    assert max(found["score"]) <= limit + 1e-4
    early, late = np.histogram(found["at"], bins=2, range=(NOW, NOW + 600))[0]
    assert min(early, late) > MAX_NORMAL_POINTS / 4
    told = np.array([a["at"] for a in found["anomalies"]])
    assert min(np.histogram(told, bins=3, range=(NOW, NOW + 600))[0]) > MAX_ANOMALY_POINTS / 6
    planted = [a for a in found["anomalies"] if a["reasons"] and a["reasons"][0]["value"] == 99.0]
    assert len(planted) > 100
    assert all(
        a["reasons"][0]["feature"] == "c" and a["version"] == "1" and len(a["reasons"]) == 3
        for a in planted
    )
    assert found["anomalies"][0]["at"] > found["anomalies"][-1]["at"]
    seen.ingest(replica.report(), NOW + 600 + 2 * SPAN_S)
    assert seen.points.columns()["at"] == seen.points.columns()["anomalies"] == []


def test_a_flood_of_anomalies_costs_no_more_than_a_few(bundle: ModelBundle, live: Make) -> None:
    seen = Live()
    seen.points.follow("1", bundle)
    rows = live(5000, shift=30.0)
    scores = bundle.forest.score(rows)
    seen.ingest(Replica().report(CapturedRows("1", rows, scores, ["q"] * len(rows))), NOW)
    found = seen.points.columns()["anomalies"]
    assert len(found) == 50
    assert sum(bool(a["reasons"]) for a in found) == 20


def test_the_timeline_tells_of_drift_retraining_gate_promotion_and_swap_in_order(
    watch: Make, report: Make, live: Make, bundle: ModelBundle, version: Callable[[str], Version]
) -> None:
    seen, at = watch(), NOW
    for k in range(8):
        seen.ingest(report(live(100, shift=3.0, seed=k)), at := at + 10)
    assert seen.state.phase == "retraining"
    seen.finish(
        Retraining.decided(
            "promoted", "version 2 passed the gate", ["a is within 1", "b is at least 2"], "2"
        ),
        at := at + 10,
    )
    gates = {"passed": True, "checks": [{"sentence": "a is within 1"}]}
    seen.display.ledger = [
        Move(
            "promote",
            "1",
            "2",
            "d",
            "drift: 6 of 6 features",
            "drift-monitor",
            gates,
            at - 1,
            "m",
            "done",
        )
    ]
    seen.rollout.follow(Desired(version("2")))
    seen.follow(version("2"), bundle, at)
    seen.ingest(report(live(10), version="2", since=at + 1), at := at + 5)
    told = json.loads(seen.display.console(at))["timeline"]
    assert [event["kind"] for event in reversed(told)] == [
        "swap",
        "drift",
        "episode",
        "retrain",
        "promote",
        "gate",
        "swap",
    ]
    by_kind = {event["kind"]: event for event in reversed(told)}
    assert by_kind["promote"]["text"] == "Version 2 became champion, after 1 (by drift-monitor)"
    assert by_kind["promote"]["detail"] == ["drift: 6 of 6 features", "a is within 1"]
    assert by_kind["gate"]["text"] == "The gate: version 2 passed the gate"
    assert by_kind["gate"]["detail"][:2] == ["a is within 1", "b is at least 2"]
    assert "6 of 6 features have drifted" in by_kind["retrain"]["detail"][0]
    assert by_kind["swap"]["text"].startswith("The one replica serves version 2")
    assert len({event["id"] for event in told}) == len(told)


@pytest.mark.parametrize("kind", ["promote", "rollback", "canary", "canary stopped", "outside"])
def test_every_kind_of_move_has_its_words(kind: Any) -> None:
    (event,) = timeline(
        [], [Move(kind, "1", "2", "d", "why", "me", {"checks": "no list"}, 5.0)], [], ""
    )
    assert "2" in event.text
    assert event.detail == ["why"]


def test_the_document_before_the_first_window_and_with_broken_data(
    watch: Make, report: Make, live: Make
) -> None:
    seen = watch()
    document = json.loads(seen.display.console(NOW))
    assert (
        document["status"],
        document["features"],
        document["feature_count"],
        document["verdict"],
    ) == ("ok", [], 6, None)
    assert document["window"] == {"rows": 0, "size": 100}
    broken = live(100)
    broken[:, 1] = 7.0
    seen.ingest(report(broken), NOW)
    document = json.loads(seen.display.console(NOW))
    assert document["status"] == "data break"
    assert document["timeline"][0]["kind"] == "break"
    assert document["features"][0]["feature"] == "b"
    assert document["governor"]["retrains_left"] == 4
    assert document["models"]["convergence"] == "the one replica serves version 1"
    assert json.loads(watch().display.console(NOW))["epoch"] != document["epoch"]
