"""Columns in another's place, turned or stuck, told by what the reference shows of them in time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import lfilter

from drift.statistics import compare
from drift.verdict import Verdict, judge_window
from train.model.reference import Reference, build_reference
from train.model.told import tells_sign, tells_stuck, tells_swap
from vigil.arrays import Floats

WINDOW = 500
NAMES = ("load", "users", "requests", "errors", "noise", "noise 2", "state", "level")
LOAD, USERS, REQUESTS, ERRORS, NOISE, NOISE_2, STATE, LEVEL = range(8)


def telemetry(rows: int, seed: int) -> Floats:
    """A machine: values in [0, 1] with a memory, counts of errors, noise, and columns that rest."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(rows, 8))
    slow, _ = lfilter([0.2], [1, -0.98], noise[:, LOAD], zi=[5 * 0.2 * noise[0, LOAD]])
    load = 1 / (1 + np.exp(-slow))
    return np.column_stack(
        [
            load,
            np.round(300 * load + 10 * noise[:, USERS]) + 200,
            900 * load * np.exp(0.2 * noise[:, REQUESTS]),
            rng.poisson(0.05, rows).astype(float),
            rng.random(rows),
            rng.random(rows),
            (np.arange(rows) // 20 % 7 == 3).astype(float),
            np.where(np.arange(rows) % 2000 < 1500, 0.0, 3 * rng.random(rows)),
        ]
    )


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build_reference(telemetry(8000, 0), NAMES, np.zeros(1), window_rows=WINDOW)


@pytest.fixture
def window() -> Floats:
    return telemetry(WINDOW, 1)


def verdict(reference: Reference, window: Floats) -> Verdict:
    return judge_window(reference, compare(reference, window), 0.01)


def broken(found: Verdict) -> dict[str, str]:
    assert found.kind == "data break", found.sentence
    return {finding.feature: finding.statistic for finding in found.findings}


def test_a_window_as_it_should_be_is_none(reference: Reference, window: Floats) -> None:
    assert verdict(reference, window).kind == "none"


@pytest.mark.parametrize("pair", [(LOAD, NOISE), (USERS, REQUESTS), (ERRORS, STATE)])
def test_columns_in_each_others_places_are_told(
    reference: Reference, window: Floats, pair: tuple[int, int]
) -> None:
    assert tells_swap(reference, *pair)
    window[:, pair] = window[:, pair[::-1]]
    assert broken(verdict(reference, window)) == dict.fromkeys([NAMES[j] for j in pair], "swapped")


def test_three_columns_that_moved_on_are_all_told(reference: Reference, window: Floats) -> None:
    window[:, [LOAD, USERS, NOISE]] = window[:, [USERS, NOISE, LOAD]]
    assert compare(reference, window).swapped[[LOAD, USERS, NOISE]].tolist() == [
        USERS,
        NOISE,
        LOAD,
    ]


def test_columns_that_are_alike_cannot_be_told(reference: Reference, window: Floats) -> None:
    assert not tells_swap(reference, NOISE, NOISE_2)
    window[:, [NOISE, NOISE_2]] = window[:, [NOISE_2, NOISE]]
    assert verdict(reference, window).kind == "none"


def test_rows_in_another_order_are_no_break(reference: Reference, window: Floats) -> None:
    shuffled = np.random.default_rng(0).permutation(window)
    found = compare(reference, shuffled)
    assert (found.swapped < 0).all()
    assert not found.flipped.any()


def test_a_world_that_moved_is_drift_and_no_break(reference: Reference, window: Floats) -> None:
    window[:, [LOAD, NOISE]] += 1.5 * reference.sd[[LOAD, NOISE]]
    assert verdict(reference, window).kind == "population drift"


@pytest.mark.parametrize("column", [LOAD, USERS, REQUESTS, ERRORS, NOISE, STATE])
def test_a_turned_sign_is_told(reference: Reference, window: Floats, column: int) -> None:
    assert tells_sign(reference, column)
    window[:, column] *= -1
    assert broken(verdict(reference, window)) == {NAMES[column]: "sign"}


def test_counts_that_fell_below_zero_have_no_turned_sign(
    reference: Reference, window: Floats
) -> None:
    window[:, ERRORS] -= 3
    assert not compare(reference, window).flipped[ERRORS]


def at_rest(value: float) -> Callable[[Floats], None]:
    def stick(column: Floats) -> None:
        column[:] = value

    return stick


@pytest.mark.parametrize(
    ("column", "value", "is_told"),
    [
        pytest.param(LOAD, 0.4, True, id="never at rest"),
        pytest.param(STATE, 1.0, True, id="a state that is soon left"),
        pytest.param(LEVEL, 0.0, False, id="where it rests for longer than a window"),
        pytest.param(LEVEL, -7.0, False, id="a level that was never seen, of one that rests"),
    ],
)
def test_a_stuck_sensor_is_told_from_one_that_rests(
    reference: Reference, window: Floats, column: int, value: float, is_told: bool
) -> None:
    assert tells_stuck(reference, column, value) == is_told
    window[:, column] = value
    assert compare(reference, window).stuck[column] == is_told


def test_a_sensor_stuck_at_a_value_that_the_reference_soon_leaves_is_told(
    reference: Reference, window: Floats
) -> None:
    seen = float(reference.samples[-1, LEVEL])
    window[:, LEVEL] = seen
    assert tells_stuck(reference, LEVEL, seen)
    assert broken(verdict(reference, window)) == {"level": "stuck"}


def test_a_bundle_without_traits_is_judged_as_before(reference: Reference, window: Floats) -> None:
    old = replace(reference, traits=None)
    assert verdict(old, window).kind == "none"
    window[:, [LOAD, REQUESTS]] = window[:, [REQUESTS, LOAD]]
    assert verdict(old, window).kind == "data break"
    assert not tells_swap(old, LOAD, REQUESTS)


@pytest.mark.parametrize(("share", "kind"), [(0.7, "none"), (1.0, "population drift")])
def test_a_shift_that_large_values_dwarf_is_drift_only_where_half_of_them_moved(
    share: float, kind: str
) -> None:
    rng = np.random.default_rng(0)
    X = (rng.random((8000, 1)) < 0.4).astype(float)
    X[::50] = 500.0
    counts = build_reference(X, ("a",), np.zeros(1), window_rows=WINDOW)
    rows = (rng.random((WINDOW, 1)) < share).astype(float)
    rows[::50] = 500.0
    found = compare(counts, rows)
    assert found.ks[0] > 1.5 * counts.single_feature_floors[0]
    assert found.wasserstein[0] < 0.1
    assert verdict(counts, rows).kind == kind


def test_a_feature_that_strays_anywhere_is_drift_only_when_it_goes_out_of_all_bounds() -> None:
    ramp = np.linspace(0, 10, 8000)
    X = np.column_stack([ramp, np.random.default_rng(0).normal(size=8000)])
    wandering = build_reference(X, ("a", "b"), np.zeros(1), window_rows=WINDOW)
    assert wandering.floors[0] == 1
    further = X[-WINDOW:].copy()
    further[:, 0] += 0.7
    assert verdict(wandering, further).kind == "none"
    further[:, 0] += 100
    assert verdict(wandering, further).kind == "population drift"
