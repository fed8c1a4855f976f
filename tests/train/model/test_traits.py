"""What tells the columns of a reference apart, and where they rest."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from train.model.blocks import cut_blocks
from train.model.column_costs import (
    ORDERED,
    UNORDERED,
    CorrelationCosts,
    QuantileGrid,
    sorted_columns,
    sorted_steps,
)
from train.model.distances import ks_distances, rank_correlation
from train.model.rests import Rests
from train.model.separation import MAX_SEPARATED, measure_traits
from train.model.traits import ColumnTraits
from vigil.arrays import Floats

WHITE, ALIKE, SLOW, TIED = range(4)


def world(rows: int, seed: int = 0) -> Floats:
    """Four columns, all standard normal: two alike, one with a memory, one tied to that one."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(rows, 4))
    memory = 0.95
    slow, _ = lfilter([np.sqrt(1 - memory**2)], [1, -memory], noise[:, SLOW], zi=[noise[0, SLOW]])
    tied = 0.8 * slow + 0.6 * noise[:, TIED]
    return np.column_stack([noise[:, WHITE], noise[:, ALIKE], slow, tied])


def traits_of(X: Floats, window_rows: int = 500) -> ColumnTraits:
    return measure_traits(X, cut_blocks(X, window_rows))


def test_columns_are_alike_that_differ_in_nothing() -> None:
    traits = traits_of(world(8000))
    assert not traits.tells_apart(WHITE, ALIKE)
    assert traits.tells_apart(WHITE, SLOW)
    assert traits.tells_apart(SLOW, TIED)


def test_a_memory_tells_by_the_steps_alone() -> None:
    separation = traits_of(world(8000)).separation
    by_steps = separation[ORDERED, WHITE, SLOW] - separation[UNORDERED, WHITE, SLOW]
    assert by_steps > 0.4


def test_a_sign_is_told_where_a_column_is_not_symmetric_or_is_tied_to_others() -> None:
    X = world(8000)
    X[:, ALIKE] += 5
    traits = traits_of(X)
    assert [traits.tells_sign(j) for j in range(4)] == [False, True, True, True]


@pytest.mark.parametrize("shape", [(1000, 4), (400, MAX_SEPARATED + 1), (2, 3)])
def test_nothing_is_told_apart_by_few_blocks_or_among_too_many_columns(
    shape: tuple[int, int],
) -> None:
    X = np.random.default_rng(0).normal(size=shape)
    traits = measure_traits(X, cut_blocks(X, 500)[:2])
    assert traits.separated == 0
    assert not traits.tells_apart(0, 1)
    assert not traits.tells_sign(0)
    assert traits.fits(shape[1])


def test_a_prior_takes_away_what_it_did_not_tell_apart() -> None:
    steady, shaken = traits_of(world(8000)), traits_of(np.cumsum(world(8000), axis=0))
    joined = steady.with_prior(shaken)
    assert (joined.separation <= steady.separation).all()
    assert (joined.separation <= shaken.separation).all()
    assert (joined.step_floors >= shaken.step_floors).all()


def resting(values: list[float], runs: list[int]) -> Floats:
    return np.repeat(values, runs)[:, None]


def test_a_rest_is_the_longest_at_its_value() -> None:
    rests = Rests.of(resting([0, 5, 0, 7, 1, 2], [30, 10, 40, 20, 3, 1]))
    assert rests.values[0].tolist() == [0, 7, 5]
    assert rests.runs[0].tolist() == [40, 20, 10]
    assert rests.longest(0, 7, is_known=True) == 20
    assert rests.longest(0, 1, is_known=True) == 10  # no longer than the last that is kept
    assert rests.longest(0, 3.3, is_known=False) == 40  # it may rest anywhere


def test_a_column_of_one_value_has_one_rest() -> None:
    rests = Rests.of(np.full((50, 1), 4.0))
    assert rests.runs[0].tolist() == [50, 0, 0]
    assert rests.longest(0, 4, is_known=True) == 50


def test_rests_of_two_references_are_the_longest_of_both() -> None:
    one = Rests.of(resting([0, 5, 7], [30, 10, 5]))
    other = Rests.of(resting([0, 5, 9], [20, 15, 8]))
    joined = one.joined(other)
    assert joined.values[0].tolist() == [0, 5, 9]
    assert joined.runs[0].tolist() == [30, 15, 8]


def test_distances_of_a_grid_are_near_those_of_all_values() -> None:
    X = world(4000)
    X[:, ALIKE] = np.round(X[:, ALIKE])
    window = world(500, seed=1) + 0.3
    exact = ks_distances(np.sort(X, axis=0), window)
    grid = QuantileGrid.of(sorted_columns(X))
    own = grid.own_distances(sorted_columns(window))
    np.testing.assert_allclose(own, exact, atol=0.06)
    np.testing.assert_allclose(own, np.diag(grid.distances(sorted_columns(window))))


def test_a_correlation_costs_nothing_at_the_place_that_a_column_came_from() -> None:
    reference = rank_correlation(world(4000))
    order = [WHITE, ALIKE, TIED, SLOW]
    exchanged = reference[np.ix_(order, order)]
    found = CorrelationCosts(exchanged, reference, np.ones(4, bool))
    costs = found.at_all()
    assert costs[SLOW, TIED] == pytest.approx(0, abs=1e-6)
    assert costs[TIED, SLOW] == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(np.diag(costs), found.at_own())


def test_steps_are_none_to_and_from_a_missing_value() -> None:
    X = np.array([[1.0, 1.0], [np.nan, 2.0], [4.0, 4.0], [5.0, 8.0]])
    assert [steps.tolist() for steps in sorted_steps(X)] == [[1.0], [1.0, 2.0, 4.0]]
    assert [steps.tolist() for steps in sorted_steps(X[:1])] == [[0.0], [0.0]]
