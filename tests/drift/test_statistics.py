"""The statistics of a window against its reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from drift.statistics import compare
from train.model.reference import Reference, build_reference
from vigil.arrays import Floats

NAMES = ("steady", "moving", "other")
ks_2samp: Any = stats.ks_2samp  # its result is not typed


def rows(n: int, seed: int) -> Floats:
    """Rows [n, 3] of which the first column is always 7."""
    X = np.random.default_rng(seed).normal(10, 1, (n, 3))
    X[:, 0] = 7
    return X


@pytest.fixture(scope="module")
def reference() -> Reference:
    return build_reference(rows(4000, 0), NAMES, np.zeros(1), window_rows=200)


@pytest.mark.parametrize("size", [200, 500])
def test_ks_and_p_are_scipys(reference: Reference, size: int) -> None:
    window = rows(size, 1) + np.array([0, 0.2, 0])
    found = compare(reference, window)
    for j in range(3):
        expected = ks_2samp(reference.samples[:, j], window[:, j], method="asymp")
        assert found.ks[j] == pytest.approx(expected.statistic)
    # The limit distribution that scipy's "asymp" refines for finite samples.
    assert found.p[1] == pytest.approx(
        ks_2samp(reference.samples[:, 1], window[:, 1], method="asymp").pvalue, rel=0.15
    )


def test_ties_do_not_raise_the_distance() -> None:
    X = np.random.default_rng(0).integers(0, 3, (3000, 1)).astype(float)
    found = compare(build_reference(X[:2000], ("a",), np.zeros(1), window_rows=500), X[2000:])
    assert found.ks[0] == pytest.approx(ks_2samp(X[:2000, 0], X[2000:, 0]).statistic)


def test_missing_is_the_share_of_nan_and_does_not_poison_the_rest(reference: Reference) -> None:
    window = rows(200, 1)
    window[:50, 1] = np.nan
    window[:, 2] = np.nan
    found = compare(reference, window)
    assert found.missing.tolist() == [0, 0.25, 1]
    assert np.isfinite([found.ks, found.p, found.psi, found.unit]).all()
    assert not found.stuck[2]


@pytest.mark.parametrize(("column", "stuck"), [(0, False), (1, True)])
def test_stuck_is_a_feature_that_used_to_move(
    reference: Reference, column: int, stuck: bool
) -> None:
    window = rows(200, 1)
    window[:, column] = 7
    assert compare(reference, window).stuck.tolist() == [stuck and j == column for j in range(3)]


@pytest.mark.parametrize(
    ("change", "factor"),
    [
        pytest.param(lambda x: x * 1000, 1000, id="unit"),
        pytest.param(lambda x: x / 1000, 0.001, id="smaller unit"),
        pytest.param(lambda x: x + 50, 1, id="shift"),
        pytest.param(lambda x: x.mean() + (x - x.mean()) * 50, 1, id="wider"),
    ],
)
def test_unit_is_the_factor_of_centre_and_spread_together(
    reference: Reference, change: Any, factor: float
) -> None:
    window = rows(200, 1)
    window[:, 1] = change(window[:, 1])
    assert compare(reference, window).unit == pytest.approx([1, factor, 1], rel=0.1)


def test_psi_is_near_zero_for_the_same_and_grows_with_the_shift(reference: Reference) -> None:
    psi = [
        float(compare(reference, rows(500, 1) + np.array([0, shift, 0])).psi[1])
        for shift in (0, 0.5, 1, 3)
    ]
    assert psi[0] < 0.1
    assert psi == sorted(psi)
    assert psi[-1] > 1


@pytest.mark.parametrize("size", [1, 2, 5])
def test_few_rows_give_finite_numbers(reference: Reference, size: int) -> None:
    found = compare(reference, rows(size, 1))
    assert np.isfinite([found.ks, found.p, found.psi, found.unit]).all()
    assert (found.p > 0.001).all()
