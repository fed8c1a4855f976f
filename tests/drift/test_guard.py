"""The canary's guard: evidence that holds however often one looks, and reasons for it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from drift.guard import MAX_ERROR_RATE, CanaryGuard, evidence, sum_arms
from serve.model.canary import LATENCY_BUCKETS, Arm
from serve.model.report import ArmCounts

BUDGET, BAND = 0.01, 4.0


def counts(
    requests: int, errors: int = 0, alerts: int = 0, microseconds: float = 50.0, slow: int = 0
) -> ArmCounts:
    """One row a request; `slow` of them took a hundred times as long."""
    arm = Arm(errors=errors)
    for i in range(requests):
        arm.add(1, i < alerts, microseconds * (100 if i < slow else 1) / 1e6)
    return arm.counts()


def stop(champion: ArmCounts, canary: ArmCounts) -> str:
    return CanaryGuard(champion, canary, BUDGET, BAND).reason_to_stop() or ""


def test_evidence_is_the_mixture_over_higher_rates_against_the_tolerated_one() -> None:
    rates = np.linspace(0.1, 1, 200_001)
    likelihood = np.mean(rates**3 * (1 - rates) ** 17) / (0.1**3 * 0.9**17)
    assert evidence(3, 20, 0.1) == pytest.approx(math.log(likelihood), abs=1e-3)
    assert evidence(0, 0, 0.1) == pytest.approx(0.0)
    assert evidence(1, 0, 0.1) == evidence(0, 9, 1.0) == -math.inf


def test_at_the_tolerated_rate_a_guard_that_always_looks_is_seldom_wrong() -> None:
    alpha = 0.05
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(200):
        hits = np.cumsum(rng.random(300) < MAX_ERROR_RATE).tolist()
        wrong += any(
            CanaryGuard(
                counts(0), ArmCounts(requests=n - errors, errors=errors), BUDGET, BAND, alpha
            ).reason_to_stop()
            for n, errors in enumerate(hits, 1)
        )
    assert wrong <= alpha * 200


def test_two_failures_in_a_row_are_enough_and_one_is_not() -> None:
    assert stop(counts(100), counts(0, errors=1)) == ""
    assert stop(counts(100), counts(0, errors=2)) == "it failed on 2 of 2 requests"
    assert stop(counts(100), counts(1000, errors=5)) == ""


def test_an_alert_rate_outside_the_band_ends_it() -> None:
    assert stop(counts(900, alerts=9), counts(60, alerts=2)) == ""
    found = stop(counts(900, alerts=9), counts(40, alerts=20))
    assert found == "20 of 40 rows alert, over 0.0400; 9 of the champion's 900 do"
    assert "under" in stop(counts(900, alerts=400), counts(8000))
    assert (
        stop(counts(900, alerts=400), counts(8000, alerts=80)) == ""
    )  # after drift a quiet challenger is what is wanted


def test_what_the_champion_does_too_is_no_fault_of_the_canary() -> None:
    assert stop(counts(900, alerts=450), counts(40, alerts=20)) == ""
    assert "over" in stop(counts(900, alerts=270), counts(100, alerts=90))


def test_a_slow_canary_ends_but_a_slow_machine_does_not() -> None:
    assert "took more than" in stop(counts(200), counts(30, slow=10))
    assert stop(counts(200, slow=20), counts(30, slow=10)) == ""
    assert stop(counts(20), counts(30, slow=30)) == ""  # too few of the champion's to compare with
    assert stop(counts(200), counts(200, microseconds=150.0)) == ""


def test_nothing_seen_is_no_reason() -> None:
    assert stop(sum_arms([]), sum_arms([])) == ""
    assert stop(counts(0), counts(0)) == ""


def test_replicas_add_up() -> None:
    first = ArmCounts(2, 1, 5, 1, (1,) * LATENCY_BUCKETS)
    second = ArmCounts(3, 0, 7, 2, (2,) * LATENCY_BUCKETS)
    assert sum_arms([first, second]) == ArmCounts(5, 1, 12, 3, (3,) * LATENCY_BUCKETS)
