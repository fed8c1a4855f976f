"""train/model/reference.py: KS distances, floors from blocks, priors, short references.

The blocks are contiguous.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from train.model import reference
from train.model.floors import MIN_FLOOR
from train.model.reference import Reference
from vigil.arrays import Floats

NAMES = ("a", "b", "c")


def made(X: Floats, **kwargs: Any) -> Reference:
    kwargs = {"window_rows": 1000} | kwargs
    return reference.build_reference(
        X, NAMES[: X.shape[1]], np.linspace(0.3, 0.7, len(X)), **kwargs
    )


def iid(rows: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=(rows, 3))


def wandering(rows: int) -> Floats:
    return np.cumsum(iid(rows), axis=0)


def test_floors_are_least_on_independent_rows_and_higher_on_rows_that_wander() -> None:
    still, moving = made(iid(20_000)), made(wandering(20_000))
    np.testing.assert_array_equal(still.floors, MIN_FLOOR)
    assert still.max_features_over_floor == 0
    assert (moving.floors > 2 * MIN_FLOOR).all()
    assert (moving.floors <= 1).all()
    assert still.blocks == moving.blocks == 20


def test_each_feature_has_its_own_floor() -> None:
    X = iid(20_000)
    X[:, 1] = wandering(20_000)[:, 1]
    floors = made(X).floors
    np.testing.assert_array_equal(floors > MIN_FLOOR, [False, True, False])


def test_on_rows_that_wander_a_share_of_the_features_is_allowed_over_its_floor() -> None:
    X = np.cumsum(np.random.default_rng(0).normal(size=(4000, 20)), axis=0)
    names = tuple(f"f{i}" for i in range(20))
    assert (
        reference.build_reference(X, names, X[:, 0], window_rows=500).max_features_over_floor >= 3
    )


@pytest.mark.parametrize("wild_first", [True, False])
def test_floors_never_fall_below_those_of_the_prior(wild_first: bool) -> None:
    first, second = (wandering(8000), iid(8000)) if wild_first else (iid(8000), wandering(8000))
    prior = made(first)
    after = made(second, prior=prior)
    np.testing.assert_array_equal(after.floors, np.maximum(prior.floors, made(second).floors))
    assert after.max_features_over_floor >= prior.max_features_over_floor


def test_a_prior_of_other_features_counts_for_nothing() -> None:
    prior = reference.build_reference(
        wandering(8000), ("x", "y", "z"), np.linspace(0, 1, 8000), window_rows=1000
    )
    np.testing.assert_array_equal(made(iid(8000), prior=prior).floors, made(iid(8000)).floors)


@pytest.mark.parametrize(
    ("rows", "blocks"), [(1, 0), (2, 2), (3, 3), (8, 4), (50, 4), (3999, 4), (5000, 5)]
)
def test_a_short_reference_is_cut_finer(rows: int, blocks: int) -> None:
    built = made(iid(rows))
    assert (built.blocks, built.window_rows, built.samples.shape) == (blocks, 1000, (rows, 3))
    assert ((built.floors >= MIN_FLOOR) & (built.floors <= 1)).all()
    assert rows > 50 or blocks == 0 or (built.floors > MIN_FLOOR).all()


def test_samples_are_sorted_and_bounded_and_scores_are_percentiles() -> None:
    X = iid(5000)
    built = made(X, max_rows=300)
    assert built.samples.shape == (300, 3)
    assert (np.diff(built.samples, axis=0) >= 0).all()
    assert np.isin(built.samples[:, 0], X[:, 0]).all()
    np.testing.assert_allclose(built.scores, np.linspace(0.3, 0.7, 101))


def test_centre_and_spread_are_robust_and_never_zero() -> None:
    mostly_zero = np.zeros(1000)
    mostly_zero[:100] = 5.0
    X = np.column_stack([iid(1000)[:, 0], mostly_zero, np.full(1000, 3.0)])
    X[0, 0] = 1e6
    built = made(X)
    assert built.scale[0] == pytest.approx(1, abs=0.15)
    assert built.scale[1:].tolist() == [pytest.approx(1.5), 1.0]
    np.testing.assert_allclose(built.median, [0, 0, 3], atol=0.15)


def test_only_a_feature_that_was_never_constant_can_stick() -> None:
    X = iid(8000)
    X[2000:3000, 1] = 7.0
    X[:, 2] = 1.0
    assert made(X).can_stick.tolist() == [True, False, False]


def test_few_blocks_that_lie_near_by_chance_do_not_lower_the_floors() -> None:
    """Some of these streams have blocks that hardly differ by chance.

    Without the memory a floor would be 0.14.
    """
    floors = []
    for seed in range(40):
        X = np.asarray(
            lfilter([1.0], [1, -0.9], np.random.default_rng(seed).normal(size=(10_000, 3)), axis=0)
        )
        floors.append(
            float(
                reference.build_reference(
                    X, ("a", "b", "c"), np.zeros(1), window_rows=1000
                ).single_feature_floors.min()
            )
        )
    assert min(floors) > 0.21  # three times the mean distance of such a window
