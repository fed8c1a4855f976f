"""Steps of a transform; one row with its past gives the bits that a table gives."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from train.table.transform import STEP_KINDS, RollingTransform
from vigil.errors import DataError

NAMES = ("a", "b")
values = st.floats(-1e6, 1e6, width=32)
rows = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=values)
steps = st.lists(
    st.tuples(st.sampled_from(STEP_KINDS), st.integers(1, 5)), max_size=4, unique=True
).map(tuple)


@settings(max_examples=60, deadline=None)
@given(rows, steps)
def test_a_row_with_its_past_gives_the_bits_that_the_table_gives(
    X: np.ndarray, steps: tuple[tuple[str, int], ...]
) -> None:
    transform = RollingTransform(NAMES, steps)
    whole = transform.apply(X)
    assert whole.shape == (len(X), len(transform.outputs))
    for i in range(len(X)):
        np.testing.assert_array_equal(transform.row(X[:i], X[i]), whole[i])
        if i >= transform.length:  # older rows change nothing
            np.testing.assert_array_equal(
                transform.row(X[i - transform.length : i], X[i]), whole[i]
            )


def test_the_steps_are_those_of_pandas() -> None:
    X = np.random.default_rng(0).normal(size=(30, 2))
    found = RollingTransform.parse("diff:2,mean:4,sd:4,min:3,max:3", NAMES).apply(X)
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
    transform = RollingTransform.parse("diff:1, mean:10", NAMES)
    assert transform.outputs == ("a", "b", "a:diff1", "b:diff1", "a:mean10", "b:mean10")
    assert (
        transform.length,
        RollingTransform.parse("diff:12,max:3", NAMES).length,
        RollingTransform.parse("min:1", NAMES).length,
    ) == (9, 12, 0)


@pytest.mark.parametrize(
    "text", ["", "diff", "mean:0", "mean:9999", "median:3", "diff:-1", "diff:1,,sd:2", "sd:2,sd:2"]
)
def test_what_is_no_transform_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="transform"):
        RollingTransform.parse(text, NAMES)
