"""Steps of a transform; one row with its past gives the bits that a table gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.grammar import STEP_KINDS
from vigil.errors import DataError

NAMES = ("a", "b")
values = st.floats(-1e6, 1e6, width=32)
rows = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=values)
steps = st.lists(
    st.tuples(st.sampled_from(STEP_KINDS), st.integers(1, 5)), max_size=4, unique=True
).map(tuple)


@settings(max_examples=60, deadline=None)
@given(rows, steps, st.integers(0, 12))
def test_rows_give_the_same_bits_one_by_one_and_many_at_once(
    X: np.ndarray, steps: tuple[tuple[str, int], ...], cut: int
) -> None:
    transform = FeatureTransform(NAMES, steps)
    whole = transform.apply(X)
    assert whole.shape == (len(X), len(transform.outputs))
    np.testing.assert_array_equal(transform.apply(X[cut:], X[:cut]), whole[cut:])
    width = transform.length + 1
    windows = np.full((len(X), width, X.shape[1]), np.nan)  # what is not real may be anything
    counts = np.minimum(np.arange(1, len(X) + 1), width)
    for i, count in enumerate(counts):
        windows[i, width - count :] = X[i + 1 - count : i + 1]
    latest, _ = transform.apply_latest(windows, counts)
    np.testing.assert_array_equal(latest, whole)


def test_the_steps_are_those_of_pandas() -> None:
    X = np.random.default_rng(0).normal(size=(30, 2))
    found = FeatureTransform.parse("diff:2,mean:4,sd:4,min:3,max:3", NAMES).apply(X)
    frame = pd.DataFrame(X)
    rolling = frame.rolling(4, min_periods=1)
    expected = [
        frame.diff(2),
        rolling.mean(),
        rolling.std(ddof=0),
        frame.rolling(3).min(),
        frame.rolling(3).max(),
    ]
    np.testing.assert_array_equal(found[:, :2], X)
    for k, part in enumerate(expected, start=1):
        np.testing.assert_allclose(found[4:, 2 * k : 2 * k + 2], part.to_numpy()[4:], atol=1e-9)


def test_names_and_length() -> None:
    transform = FeatureTransform.parse("diff:1, mean:10", NAMES)
    assert transform.outputs == ("a", "b", "a:diff1", "b:diff1", "a:mean10", "b:mean10")
    assert (
        transform.length,
        FeatureTransform.parse("diff:12,max:3", NAMES).length,
        FeatureTransform.parse("min:1", NAMES).length,
    ) == (9, 12, 0)


@pytest.mark.parametrize(
    "text", ["", "diff", "mean:0", "mean:9999", "median:3", "diff:-1", "diff:1,,sd:2", "sd:2,sd:2"]
)
def test_what_is_no_transform_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="transform"):
        FeatureTransform.parse(text, NAMES)
