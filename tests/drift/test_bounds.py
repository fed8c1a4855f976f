"""A reduced, seeded form of the table that `make bench ARGS=drift` measures: counts, not times."""

from __future__ import annotations

import numpy as np
import pytest

from drift.statistics import compare
from tests.bench.drift import BREAKS, FEATURES, POWER, World, broken, power, quiet
from train.model.floors import MAX_RAISE
from train.model.reference import build_reference


@pytest.mark.parametrize("memory", [0.0, 0.9])
def test_a_quiet_world_opens_next_to_no_episode(memory: float) -> None:
    found = quiet(memory, 60, 3)
    assert found["Vigil"] == 0
    assert found["always"] > found["never"] == 0


@pytest.mark.parametrize(("kind", "within", "least"), POWER)
def test_a_changed_world_is_found(kind: str, within: int, least: float) -> None:
    assert power(kind, 4, within)["Vigil"] >= least


@pytest.mark.parametrize("kind", list(BREAKS))
def test_a_broken_column_is_a_data_break_and_opens_no_episode(kind: str) -> None:
    found = broken(kind, 4)
    assert found["called data break"] >= 0.95
    assert found["retrains"] == 0


def test_a_swap_is_told_by_its_two_columns_and_a_turned_sign_by_one() -> None:
    world = World(0)
    reference = build_reference(
        world.take(10_000), tuple(f"f{j}" for j in range(FEATURES)), np.zeros(1), window_rows=1000
    )
    window = world.take()
    window[:, [3, 8]] = window[:, [8, 3]]
    found = compare(reference, window)
    assert (found.swapped[3], found.swapped[8]) == (8, 3)
    turned = world.take()
    turned[:, 5] *= -1
    assert np.flatnonzero(compare(reference, turned).flipped).tolist() == [5]


def test_a_unit_change_of_a_feature_around_zero_is_its_factor() -> None:
    X = np.random.default_rng(0).normal(size=(5000, 12))
    reference = build_reference(X, tuple(f"f{j}" for j in range(12)), np.zeros(1), window_rows=500)
    window = np.random.default_rng(1).normal(size=(500, 12))
    window[:, 4] *= 1000
    assert compare(reference, window).unit.tolist() == [
        pytest.approx(1000, rel=0.1) if j == 4 else 1 for j in range(12)
    ]


def test_the_calibration_says_what_it_promises() -> None:
    rows = np.random.default_rng(0).normal(size=(12_000, 4))
    names = ("a", "b", "c", "d")
    steady = build_reference(rows, names, np.zeros(1), window_rows=1000).calibration
    assert steady.promised
    assert steady.expected <= steady.budget == 1
    short = build_reference(rows[:3000], names, np.zeros(1), window_rows=1000).calibration
    assert not short.promised
    assert "too short" in short.note
    wild = build_reference(np.cumsum(rows, axis=0), names, np.zeros(1), window_rows=1000)
    assert wild.calibration.expected > steady.expected
    assert MAX_RAISE >= 1


def test_scores_that_moved_and_alerts_that_multiplied_are_told() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.3, 0.6, 5000)
    reference = build_reference(
        rng.normal(size=(5000, 3)), ("a", "b", "c"), scores, window_rows=500
    )
    same = compare(reference, rng.normal(size=(500, 3)), rng.uniform(0.3, 0.6, 500), 0.57).scores
    other = compare(reference, rng.normal(size=(500, 3)), rng.uniform(0.4, 0.7, 500), 0.57).scores
    assert same is not None
    assert other is not None
    assert (same.ks < same.floor, other.ks > other.floor) == (True, True)
    assert abs(same.z) < 4 < other.z
    assert same.usual == pytest.approx(0.1, abs=0.02)
