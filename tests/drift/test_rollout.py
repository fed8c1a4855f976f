"""The rollout: who lags and for how long, a canary from start to end, the shadow's evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from drift.rollout import Rollout
from drift.settings import DriftSettings
from drift.shadow import MAX_RANKED_ROWS, ShadowEvidence
from serve.metrics import DriftMetrics
from serve.model.canary import Arm
from serve.model.report import CanaryReport, ReplicaReport, ServedModel, ShadowReport
from tests.train.registry.test_promotion import Shelf
from train.model.gate import judge_shadow
from train.registry.canary import Canary
from train.registry.moves import completed_moves
from train.registry.promotion import promote_version, start_canary
from train.registry.versions import Desired, Version

STEPS = ((0.1, 60.0), (0.5, 60.0))


@pytest.fixture
def shelf() -> Shelf:
    made = Shelf()
    promote_version(made, "1", reason="", actor="")
    return made


@pytest.fixture
def canary(shelf: Shelf) -> Canary:
    return start_canary(shelf, "2", STEPS, reason="try", actor="ann")


@pytest.fixture
def clock() -> list[float]:
    """The seconds that a rollout counts."""
    return [100.0]


@pytest.fixture
def rollout(canary: Canary, clock: list[float]) -> Rollout:
    made = Rollout(DriftSettings(), DriftMetrics(), lambda: clock[0])
    made.follow(desired("1"))
    made.follow(desired("1", canary))
    return made


def desired(version: str, canary: Canary | None = None) -> Desired:
    return Desired(Version(version, "run", "digest", 0.0), canary=canary)


def report(canary: Canary, replica: str = "r1", **arm: Any) -> ReplicaReport:
    """The canary's arm as given, beside a champion that does what it should."""
    running = CanaryReport(
        started=canary.started,
        budget=0.01,
        champion=Arm(1000, 0, 1000, 10).counts(),
        canary=Arm(**arm).counts(),
    )
    return ReplicaReport(served=ServedModel(replica=replica), canary=running)


def test_a_replica_that_lags_longer_than_allowed_is_an_alert(
    rollout: Rollout, clock: list[float]
) -> None:
    live = [ServedModel(replica="a", version="1"), ServedModel(replica="b", version="0")]
    first = rollout.status(live)
    assert (first["desired_version"], first["lagging"], first["disagreement"]["alert"]) == (
        "1",
        ["b"],
        False,
    )
    clock[0] = 106.0
    assert rollout.status(live)["disagreement"] == {
        "alert": False,
        "seconds": 6.0,
        "allowed_polls": 3,
    }
    clock[0] = 106.1
    assert rollout.status(live)["disagreement"]["alert"] is True
    agreed = [ServedModel(replica="a", version="1"), ServedModel(replica="b", version="1")]
    assert rollout.status(agreed)["lagging"] == []
    clock[0] = 108.0
    assert rollout.status(live)["disagreement"]["seconds"] == 0.0


def test_a_bad_canary_is_stopped_with_the_reason_in_the_ledger(
    rollout: Rollout, canary: Canary, shelf: Shelf
) -> None:
    rollout.ingest(report(canary, requests=5, rows=5))
    assert (rollout.due(), rollout.stopped) == (None, None)
    rollout.ingest(report(canary, replica="r2", requests=5, errors=5, rows=5))
    assert (rollout.due(), rollout.stopped) == ("stop", canary.started)
    status = rollout.status([])["canary"]
    assert (status["share"], status["stopped"]) == (0.1, "it failed on 5 of 15 requests")
    rollout.carry_out("stop", shelf)  # type: ignore[arg-type]
    latest = completed_moves(shelf)[0]
    assert (latest.kind, latest.reason, latest.actor, shelf.canary()) == (
        "canary stopped",
        "it failed on 5 of 15 requests",
        "canary-guard",
        None,
    )
    rollout.follow(desired("1"))
    assert (rollout.due(), rollout.status([])["canary"]) == (None, None)
    assert rollout.metrics.registry.get_sample_value("vigil_canary_stops_total") == 1


def test_a_good_canary_is_promoted_at_its_end_and_not_before_it_was_used(
    rollout: Rollout, canary: Canary, shelf: Shelf, clock: list[float]
) -> None:
    clock[0] += 120
    assert rollout.due() is None
    rollout.ingest(report(canary, requests=30, rows=30))
    clock[0] -= 1
    assert rollout.due() is None
    clock[0] += 1
    assert rollout.due() == "promote"
    rollout.carry_out("promote", shelf)  # type: ignore[arg-type]
    latest = completed_moves(shelf)[0]
    assert (latest.kind, latest.to, latest.reason, shelf.canary()) == (
        "promote",
        "2",
        "canary passed: try",
        None,
    )
    assert latest.gates["canary"] == {"requests": 30, "rows": 30, "alerts": 0, "errors": 0}


def test_reports_of_another_canary_count_nothing(
    rollout: Rollout, canary: Canary, clock: list[float]
) -> None:
    other = Canary("3", "1", canary.started - 1, STEPS)
    rollout.ingest(report(other, requests=5, errors=5))
    assert rollout.due() is None
    rollout.ingest(report(canary, requests=30, rows=30))
    rollout.follow(desired("1", Canary("2", "1", canary.started + 1, STEPS)))
    clock[0] += 200
    assert rollout.due() is None


def shadow(ours: Any, theirs: Any, challenger: str = "2") -> ShadowReport:
    scores = np.stack([ours, theirs])
    return ShadowReport(
        champion="1",
        challenger=challenger,
        scores=scores,
        alerts=scores > 0.9,
        seconds=(0.001, 0.002),
    )


def test_the_shadow_says_how_far_two_models_agree() -> None:
    found, scores = ShadowEvidence(), np.random.default_rng(0).permutation(np.arange(1, 101) / 100)
    assert found.summary() is None
    found.add(shadow(scores[:50], scores[:50]))
    found.add(shadow(scores[50:], scores[50:]))
    same = found.summary("2")
    assert same is not None
    assert (same["rows"], same["kendall_tau"], same["top_overlap"], same["alert_rate_ratio"]) == (
        100,
        pytest.approx(1),
        1.0,
        1.0,
    )
    assert (same["champion_us_per_row"], same["challenger_us_per_row"]) == (
        pytest.approx(20),
        pytest.approx(40),
    )
    assert (same["champion_alert_rate"], found.summary("3")) == (pytest.approx(0.1), None)
    found.add(shadow(scores, 1 - scores, challenger="3"))
    opposite = found.summary()
    assert opposite is not None
    assert (
        opposite["challenger"],
        opposite["rows"],
        opposite["kendall_tau"],
        opposite["top_overlap"],
    ) == (
        "3",
        100,
        pytest.approx(-1),
        0.0,
    )


def test_the_shadow_counts_failures_and_remembers_a_bounded_number_of_rows() -> None:
    found = ShadowEvidence()
    found.add(ShadowReport(champion="1", challenger="2", errors=7, dropped=3))
    empty = found.summary()
    assert empty is not None
    assert (empty["errors"], empty["dropped"], empty["rows"], empty["kendall_tau"]) == (
        7,
        3,
        0,
        None,
    )
    for _ in range(20):
        found.add(shadow(np.linspace(0, 1, 1000), np.linspace(0, 1, 1000)))
    full = found.summary()
    assert full is not None
    assert full["rows"] == 20_000
    assert found.kept_rows == MAX_RANKED_ROWS


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, ""),
        ({"errors": 1}, "shadow_errors"),
        ({"rows": 99}, "shadow_rows"),
        ({"challenger_alert_rate": 0.3}, "shadow_alert_rate"),
        ({"challenger_alert_rate": 0.3, "champion_alert_rate": 0.4}, ""),
        ({"challenger_us_per_row": 50.0}, "shadow_us_per_row"),
    ],
)
def test_the_gate_reads_the_shadow(changes: dict[str, float], word: str) -> None:
    found = {
        "errors": 0,
        "rows": 100,
        "champion_alert_rate": 0.01,
        "challenger_alert_rate": 0.02,
        "champion_us_per_row": 10.0,
        "challenger_us_per_row": 12.0,
    } | changes
    verdict = judge_shadow(found, 100, 0.04)
    assert verdict.passed == (not word)
    assert word in verdict.reason
