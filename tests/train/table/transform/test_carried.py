"""Level and spread of an entity: learnt from its rows one by one, and hardly moved by outliers."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from train.table.transform.carried import walk_baseline, walk_ewm
from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.fitted import FittedSteps

GROUP = FittedSteps(
    {
        "baseline.level": np.array([0.0]),
        "baseline.spread": np.array([10.0]),
        "baseline.floor": np.array([0.01]),
    }
)
rng = np.random.default_rng(0)


def level_and_spread(values: np.ndarray, memory: int = 1000) -> np.ndarray:
    """Level and spread after the values, as the transform carries them."""
    transform = FeatureTransform.parse(f"baseline:{memory}", ("a",), GROUP)
    return transform.advance(values[:, None])[1:]


def by_formula(values: np.ndarray, memory: int) -> tuple[list[float], list[float]]:
    """Huber's clipped deviations, in plain Python: level and spread before each value."""
    level, spread = 0.0, 10.0
    levels, spreads = [], []
    for seen, value in enumerate(values):
        width = max(spread, 0.01)
        levels.append(level)
        spreads.append(width)
        clip = 3 if seen >= 8 else np.inf
        off = np.clip(value - level, -clip * width, clip * width)
        level += off * max(2 / (seen + 2), 1 / memory)
        if seen >= 8:
            spread += (1.2545 * abs(off) - spread) * max(2 / (seen - 6), 1 / memory)
    return levels, spreads


def test_rows_are_scaled_by_what_was_known_before_them() -> None:
    values = rng.standard_t(3, size=400) * 2 + 5
    found = FeatureTransform.parse("baseline:60,mean:3,diff:1", ("a",), GROUP).apply(
        values[:, None]
    )
    levels, spreads = map(np.array, by_formula(values, 60))
    np.testing.assert_allclose(found[:, 0], (values - levels) / spreads, rtol=1e-9)
    means = np.convolve(values, np.ones(3) / 3)[2:-2]
    np.testing.assert_allclose(found[2:, 1], ((means - levels[2:]) / spreads[2:]), atol=1e-9)
    np.testing.assert_allclose(found[1:, 2], np.diff(values) / spreads[1:], atol=1e-9)


def test_level_and_spread_become_those_of_the_entity() -> None:
    level, spread = level_and_spread(rng.normal(1000, 3, size=2000))
    assert level == pytest.approx(1000, abs=0.5)
    assert spread == pytest.approx(3, rel=0.1)


def test_an_entity_far_from_its_group_is_scaled_by_itself_when_it_has_warmed_up() -> None:
    values = rng.normal(1000, 3, size=100)
    found = FeatureTransform.parse("baseline", ("a",), GROUP).apply(values[:, None])
    assert np.abs(found[32:]).max() < 6


def test_outliers_hardly_move_what_was_learnt() -> None:
    values = rng.normal(5, 2, size=3000)
    values[49::50] = 1e6
    level, spread = level_and_spread(values)
    assert level == pytest.approx(5, abs=1)
    assert spread == pytest.approx(2, rel=0.2)


def test_they_follow_an_entity_that_has_changed() -> None:
    before = rng.normal(0, 1, size=1000)
    after = rng.normal(100, 5, size=1500)
    level, spread = level_and_spread(np.concatenate([before, after]), memory=100)
    assert level == pytest.approx(100, abs=2)
    assert spread == pytest.approx(5, rel=0.3)


def test_a_feature_that_never_changes_has_the_least_spread() -> None:
    values = np.full((200, 1), 7.0)
    found = FeatureTransform.parse("baseline", ("a",), GROUP).apply(values)
    np.testing.assert_array_equal(found[60:], 0)
    later = FeatureTransform.parse("baseline", ("a",), GROUP).row(values, np.array([7.02]))
    assert later[0] == pytest.approx(2)


def test_a_warm_transform_compiles_nothing_more() -> None:
    transform = FeatureTransform.parse("baseline,ewm:3", ("a",), GROUP)
    transform.warm()
    kernels = (walk_baseline, walk_ewm)
    before = [len(kernel.signatures) for kernel in kernels]
    rows = rng.normal(size=(5, 1))
    transform.row(rows, rows[0])
    transform.follow(rows)
    transform.apply_latest(rows[:, None], np.ones(5, np.int64))
    transform.apply_latest(rows[:1, None], np.ones(1, np.int64), None, transform.new_carried(1))
    assert [len(kernel.signatures) for kernel in kernels] == before


def test_the_spread_is_a_standard_deviation_of_normal_values() -> None:
    normal = NormalDist()
    clipped = 2 * (normal.pdf(0) - normal.pdf(3)) + 6 * normal.cdf(-3)
    assert pytest.approx(1 / clipped, rel=1e-3) == 1.2545
