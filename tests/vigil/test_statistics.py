"""The interval of a share, and quantiles of histograms."""

from __future__ import annotations

import math

import pytest
from scipy.special import ndtr

from vigil.statistics import THREE_SIGMA_LEVEL, histogram_quantile, share_interval


def wilson(hits: int, trials: int, z: float) -> tuple[float, float]:
    """The formula of Wilson's paper."""
    rate = hits / trials
    spread = z * z / trials
    middle = (rate + spread / 2) / (1 + spread)
    half = math.sqrt(rate * (1 - rate) * spread + spread * spread / 4) / (1 + spread)
    return middle - half, middle + half


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (1, 1), (9, 10), (40, 400), (123, 1_000_000)])
@pytest.mark.parametrize("z", [1.959963984540054, 3.0])
def test_the_interval_is_wilsons(hits: int, trials: int, z: float) -> None:
    level = 2 * float(ndtr(z)) - 1
    expected = pytest.approx(wilson(hits, trials, z), abs=1e-12)
    assert tuple(share_interval(hits, trials, level)) == expected


def test_three_deviations() -> None:
    assert pytest.approx(2 * ndtr(3.0) - 1, abs=1e-15) == THREE_SIGMA_LEVEL


def test_without_trials_nothing_is_known_of_a_share() -> None:
    assert tuple(share_interval(0, 0)) == (0.0, 1.0)


@pytest.mark.parametrize(("q", "expected"), [(0.25, 0.5), (0.5, 0.75), (0.95, 2.0), (1.0, 2.0)])
def test_quantiles_are_those_of_prometheus(q: float, expected: float) -> None:
    cumulative = {0.5: 10, 1.0: 30, 2.0: 38, math.inf: 40}
    assert histogram_quantile(q, cumulative) == pytest.approx(expected)


@pytest.mark.parametrize("empty", [{}, {1.0: 0, math.inf: 0}])
def test_an_empty_histogram_has_no_quantile(empty: dict[float, float]) -> None:
    assert histogram_quantile(0.5, empty) is None
