"""Distances of samples are SciPy's; how long a stream remembers is found from it alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.signal import lfilter
from scipy.stats import ks_2samp

from train.model import distances
from vigil.arrays import Floats

values = st.integers(-4, 4).map(float) | st.floats(-3, 3, width=16)


@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning:scipy.*"
)  # of the p-value, which is not looked at
@settings(max_examples=50, deadline=None)
@given(hnp.arrays(float, st.tuples(st.integers(1, 30), st.just(2)), elements=values), st.data())
def test_ks_distances_are_those_of_scipy(samples: Floats, choice: st.DataObject) -> None:
    window = choice.draw(
        hnp.arrays(float, st.tuples(st.integers(1, 30), st.just(2)), elements=values)
    )
    tests: list[Any] = [ks_2samp(samples[:, j], window[:, j], method="asymp") for j in range(2)]
    expected = [test.statistic for test in tests]
    np.testing.assert_allclose(
        distances.ks_distances(np.sort(samples, axis=0), window), expected, atol=1e-12
    )


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(float, st.integers(2, 40), elements=values), st.data())
def test_the_distance_to_the_rest_is_that_to_the_rows_outside(
    whole: Floats, choice: st.DataObject
) -> None:
    size = choice.draw(st.integers(1, len(whole) - 1))
    first = choice.draw(st.integers(0, len(whole) - size))
    part = np.sort(whole[first : first + size])
    rest = np.sort(np.delete(whole, slice(first, first + size)))
    found = distances.ks_distance_to_rest(np.sort(whole), part)
    assert found == distances.ks_distance(rest, part)


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_the_memory_of_a_stream_is_found(memory: float) -> None:
    """The autocorrelation at lag k is 2/pi asin(memory**k).

    It is that of an indicator at the median of an AR(1) series.
    """
    noise = np.random.default_rng(0).normal(size=100_000)
    series = np.asarray(lfilter([1.0], [1, -memory], noise))
    lags = memory ** np.arange(1, 500)
    exact = 1 + 2 * float(np.sum(2 / np.pi * np.arcsin(lags)))
    assert distances.autocorrelation_time(series) == pytest.approx(exact, rel=0.12)
    assert distances.autocorrelation_time(np.ones(100)) == 1.0
