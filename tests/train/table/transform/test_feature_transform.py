"""Steps of a transform: the formulas of other libraries, and the same bits in every form."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.fitted import FittedSteps, fitted_shapes
from train.table.transform.grammar import Step
from vigil.arrays import Floats
from vigil.errors import DataError

NAMES = ("a", "b")
WINDOW_KINDS = ("diff", "mean", "sd", "min", "max", "zscore", "ewm")
values = st.floats(-1e6, 1e6, width=32)
rows = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=values)


def one_clock(declared: list[Step]) -> tuple[Step, ...]:
    """The steps without the second that knows hours, or leaves the largest."""
    clocks = [step for step in declared if step.zone]
    tops = [step for step in declared if step.kind == "top"]
    return tuple(step for step in declared if step not in (*clocks[1:], *tops[1:]))


window_steps = st.builds(Step, st.sampled_from(WINDOW_KINDS), st.integers(2, 5), st.just(""))
single_steps = st.sampled_from(
    [
        Step("baseline", 50),
        Step("calendar", zone="Europe/Berlin"),
        Step("season", zone="Asia/Kolkata"),
        Step("residual"),
        Step("rotate", 3),
        Step("top", 1),
        Step("top", 9),
    ]
)
steps = st.lists(window_steps | single_steps, max_size=5, unique=True).map(one_clock)
start_times = st.floats(0, 4e9)


def learnt(declared: tuple[Step, ...], features: int = 2) -> FittedSteps:
    """Positive numbers where steps have learnt something."""
    rng = np.random.default_rng(0)
    shapes = fitted_shapes(declared, features)
    return FittedSteps({name: rng.uniform(0.1, 9, shape) for name, shape in shapes.items()})


@settings(max_examples=80, deadline=None)
@given(rows, steps, st.integers(0, 12), start_times)
def test_rows_give_the_same_bits_one_by_one_and_many_at_once(
    X: np.ndarray, declared: tuple[Step, ...], cut: int, start: float
) -> None:
    transform = FeatureTransform(NAMES, declared, learnt(declared))
    times: Floats = start + 700.0 * np.arange(len(X), dtype=np.float64)
    whole = transform.apply(X, None, times)
    assert whole.shape == (len(X), len(transform.outputs))
    in_two = transform.apply(X[cut:], X[:cut], times[cut:])
    np.testing.assert_array_equal(in_two, whole[cut:])
    width = transform.length + 1
    windows = np.full((len(X), width, X.shape[1]), np.nan)  # what is not real may be anything
    counts = np.minimum(np.arange(1, len(X) + 1), width)
    carried = np.empty((len(X), transform.carried_width))
    for i, count in enumerate(counts):
        windows[i, width - count :] = X[i + 1 - count : i + 1]
        carried[i] = transform.advance(X[:i])
    latest, after = transform.apply_latest(windows, counts, times, carried)
    np.testing.assert_array_equal(latest, whole)
    np.testing.assert_array_equal(after[:-1], carried[1:])
    np.testing.assert_array_equal(after[-1], transform.follow(X, None, times)[1])


def test_steps_over_rows_are_those_of_pandas() -> None:
    X = np.random.default_rng(0).normal(size=(30, 2))
    text = "diff:2,mean:4,sd:4,min:3,max:3,ewm:5,zscore:4"
    found = FeatureTransform.parse(text, NAMES).apply(X)
    frame = pd.DataFrame(X)
    rolling = frame.rolling(4, min_periods=1)
    expected = [
        frame.diff(2),
        rolling.mean(),
        rolling.std(ddof=0),
        frame.rolling(3).min(),
        frame.rolling(3).max(),
        frame.ewm(span=5).mean(),
        (frame - rolling.mean()) / rolling.std(ddof=0),
    ]
    np.testing.assert_array_equal(found[:, :2], X)
    for k, part in enumerate(expected, start=1):
        np.testing.assert_allclose(found[4:, 2 * k : 2 * k + 2], part.to_numpy()[4:], atol=1e-9)


def test_a_zscore_of_equal_values_is_zero_whatever_rounding_makes_of_their_mean() -> None:
    X = np.full((20, 2), 0.1)
    found = FeatureTransform.parse("zscore:10", NAMES).apply(X)
    np.testing.assert_array_equal(found[:, 2:], 0)


def test_names_and_length() -> None:
    transform = FeatureTransform.parse("diff:1, mean:10", NAMES)
    assert transform.outputs == ("a", "b", "a:diff1", "b:diff1", "a:mean10", "b:mean10")
    assert transform.carried_width == 0
    assert not transform.needs_time
    lengths = [
        FeatureTransform.parse(text, NAMES).length
        for text in ("diff:1,mean:10", "diff:12,max:3", "min:1", "ewm:9")
    ]
    assert lengths == [9, 12, 0, 0]


def test_what_is_expected_takes_the_place_of_the_raw_features() -> None:
    declared = (Step("baseline", 50), Step("calendar", zone="UTC"), Step("rotate"), Step("ewm", 40))
    transform = FeatureTransform(NAMES, declared, learnt(declared))
    assert transform.outputs[:2] == ("a:baseline:calendar", "b:baseline:calendar")
    assert transform.outputs[2:6] == (
        "calendar:hour_sin",
        "calendar:hour_cos",
        "calendar:weekday_sin",
        "calendar:weekday_cos",
    )
    assert transform.outputs[6:] == ("rotate:1", "rotate:2", "a:ewm40", "b:ewm40")
    assert (transform.length, transform.warming_rows, transform.carried_width) == (0, 40, 5 + 3)
    assert transform.needs_time


@pytest.mark.parametrize(
    "text",
    [
        "",
        "diff",
        "mean:0",
        "mean:9999",
        "median:3",
        "diff:-1",
        "diff:1,,sd:2",
        "sd:2,sd:2",
        "zscore:1",
        "mean:1.5",
        "residual:3",
        "baseline:1",
        "baseline,baseline:99",
        "rotate:0,rotate",
        "rotate:999",
        "calendar:UTC,calendar:Europe/Berlin",
        "calendar,season",
    ],
)
def test_what_is_no_transform_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="transform"):
        FeatureTransform.parse(text, NAMES, learnt(()))


@pytest.mark.parametrize(
    "zone", ["Europe", "Europe/Atlantis", "../../etc/passwd", "/etc/localtime", "europe/berlin_"]
)
def test_a_zone_that_is_not_there_is_refused_with_how_to_write_it(zone: str) -> None:
    with pytest.raises(DataError, match="as Europe/Berlin"):
        FeatureTransform.parse(f"calendar:{zone}", NAMES)


def test_rows_without_times_are_refused_where_a_calendar_needs_them() -> None:
    declared = (Step("calendar", zone="UTC"),)
    transform = FeatureTransform(NAMES, declared, learnt(declared))
    with pytest.raises(DataError, match="`time`"):
        transform.apply(np.zeros((3, 2)))


def test_what_was_learnt_must_fit_the_steps() -> None:
    declared = (Step("baseline", 50),)
    sound = dict(learnt(declared).arrays)
    damaged = [
        {},
        {"residual.centre": np.zeros(2)},
        {"baseline.level": np.zeros(3)},
        {"baseline.level": np.array([0.0, np.nan])},
        {"baseline.spread": np.zeros(2)},
        {"baseline.floor": np.ones(2, np.float32)},
    ]
    for change in damaged:
        arrays_of_it = {**sound, **change} if change else {}
        with pytest.raises(DataError, match="transform"):
            FeatureTransform(NAMES, declared, FittedSteps(arrays_of_it))


def test_steps_come_in_the_order_in_which_they_are_written() -> None:
    X = np.random.default_rng(1).normal(size=(8, 2))
    words = ["diff:1", "ewm:3", "max:2"]
    expected = {word: FeatureTransform.parse(word, NAMES).apply(X)[:, 2:] for word in words}
    for order in itertools.permutations(words):
        found = FeatureTransform.parse(",".join(order), NAMES).apply(X)
        np.testing.assert_array_equal(found, np.hstack([X, *(expected[word] for word in order)]))
