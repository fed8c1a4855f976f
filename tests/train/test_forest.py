"""train/forest.py and the fit of parts: scores and labels of scikit-learn, attributions, merging, hostile arrays."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.ensemble._iforest import _average_path_length

from train import data
from train.errors import BundleError, DataError
from train.fit import fit_part, merge
from train.forest import LEAF, CompiledForest, set_threshold

Floats = NDArray[np.float64]
few = settings(max_examples=25, deadline=None)


@st.composite
def forests(draw: st.DrawFn) -> tuple[IsolationForest, Floats]:
    """A fitted forest with its rows: few decimals make many duplicated rows, splits between equal values and stumps."""
    d, max_samples = draw(st.integers(1, 6)), draw(st.integers(2, 64))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = max_samples + draw(st.integers(0, 60))
    X = np.round(rng.normal(size=(rows, d)) * 10.0 ** draw(st.integers(-3, 6)), draw(st.integers(0, 3)))
    part = fit_part(
        X,
        trees=draw(st.integers(1, 12)),
        max_samples=max_samples,
        max_features=draw(st.sampled_from([0.2, 0.5, 0.9, 1.0])),
        seed=draw(st.integers(0, 1000)),
    )
    return part, X


def at_thresholds(compiled: CompiledForest, X: Floats) -> Floats:
    """Rows with one value on, just below or just above a split."""
    splits = np.flatnonzero(compiled.feature != LEAF)[:50]
    rows = X[np.arange(3 * len(splits)) % len(X)].copy()
    for i, node in enumerate(splits):
        value = compiled.threshold[node]
        sides = [value, np.nextafter(value, np.float32(-np.inf)), np.nextafter(value, np.float32(np.inf))]
        rows[3 * i : 3 * i + 3, compiled.feature[node]] = sides
    return rows


def assert_scores_and_labels_agree(forest: IsolationForest, X: Floats) -> None:
    scores = CompiledForest.compile(forest).score(X)
    np.testing.assert_allclose(scores, -forest.score_samples(X), rtol=0, atol=1e-6)
    levels = np.unique(np.round(scores, 9))
    for threshold in (
        [*np.quantile((levels[1:] + levels[:-1]) / 2, [0.05, 0.5, 0.95]), 0.0, 1.0] if len(levels) > 1 else [0.0, 1.0]
    ):
        set_threshold(forest, float(threshold))
        np.testing.assert_array_equal(np.where(scores > threshold, -1, 1), forest.predict(X))


@few
@given(forests())
def test_scores_and_labels_are_those_of_scikit_learn(made: tuple[IsolationForest, Floats]) -> None:
    forest, X = made
    compiled = CompiledForest.compile(forest)
    compiled.check()
    assert_scores_and_labels_agree(forest, np.concatenate([X, X * 2, at_thresholds(compiled, X)]))


@few
@given(forests())
def test_attributions_add_up_to_the_path_length_deficit(made: tuple[IsolationForest, Floats]) -> None:
    forest, X = made
    compiled = CompiledForest.compile(forest)
    gains = compiled.attribute(X)
    normaliser = float(_average_path_length([compiled.max_samples])[0])
    mean_length = -np.log2(-forest.score_samples(X)) * normaliser
    np.testing.assert_allclose(gains.sum(axis=1), normaliser - mean_length, atol=1e-9)
    unused = np.setdiff1d(np.arange(X.shape[1]), compiled.feature)
    assert not gains[:, unused].any()


def test_a_planted_feature_gets_the_largest_attribution() -> None:
    X = np.random.default_rng(0).normal(size=(500, 4))
    compiled = CompiledForest.compile(fit_part(X, trees=50, max_samples=128, max_features=1.0, seed=0))
    rows = np.zeros((4, 4))
    np.fill_diagonal(rows, 8.0)
    np.testing.assert_array_equal(compiled.attribute(rows).argmax(axis=1), range(4))


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 2)])
def test_rows_of_another_width_are_refused(shape: tuple[int, ...], compiled: CompiledForest) -> None:
    with pytest.raises(ValueError, match="expected \\[n, 3\\]"):
        compiled.score(np.zeros(shape))


@few
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.sampled_from([0.4, 1.0]))
def test_a_merged_forest_is_a_plain_forest_of_all_trees(trees: list[int], max_features: float) -> None:
    X = np.random.default_rng(sum(trees)).normal(size=(120, 3))
    parts = [fit_part(X[i::2], trees=count, max_samples=32, max_features=max_features, seed=i) for i, count in enumerate(trees)]
    # A score is 2 ** -(mean path length / c): over parts, a geometric mean weighted by their trees.
    expected = np.exp2(np.average([np.log2(-part.score_samples(X)) for part in parts], axis=0, weights=trees))
    merged = merge(parts)
    assert type(merged) is IsolationForest
    assert merged.n_estimators == len(merged.estimators_) == sum(trees)
    np.testing.assert_allclose(-merged.score_samples(X), expected, atol=1e-12)
    assert_scores_and_labels_agree(merged, X)


@pytest.mark.parametrize(("columns", "max_samples"), [(2, 32), (3, 16)], ids=["features", "max_samples"])
def test_parts_that_differ_are_not_merged(columns: int, max_samples: int) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    parts = [
        fit_part(X, trees=2, max_samples=32, max_features=1.0, seed=0),
        fit_part(X[:, :columns], trees=2, max_samples=max_samples, max_features=1.0, seed=1),
    ]
    with pytest.raises(ValueError, match="parts differ"):
        merge(parts)


def test_a_part_needs_max_samples_rows_and_repeats_for_one_seed() -> None:
    X = np.random.default_rng(0).normal(size=(32, 2))
    with pytest.raises(DataError, match="31 rows are fewer than max_samples=32"):
        fit_part(X[1:], trees=1, max_samples=32, max_features=1.0, seed=0)
    one, same, other = (fit_part(X, trees=3, max_samples=32, max_features=1.0, seed=s).score_samples(X) for s in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.fixture(scope="module")
def compiled() -> CompiledForest:
    X = np.random.default_rng(3).normal(size=(200, 3))
    return CompiledForest.compile(fit_part(X, trees=4, max_samples=32, max_features=1.0, seed=0))


def changed(compiled: CompiledForest, array: str, index: int, value: float) -> CompiledForest:
    values = getattr(compiled, array).copy()
    values[index] = value
    return replace(compiled, **{array: values})


@pytest.mark.parametrize(
    ("array", "value", "said"),
    [
        ("feature", 3, "feature out of range"),
        ("feature", 2**31 - 1, "feature out of range"),
        ("feature", -2, "feature out of range"),
        ("threshold", np.nan, "not finite"),
        ("threshold", np.inf, "not finite"),
        ("length", np.nan, "not finite"),
        ("length", -np.inf, "not finite"),
        ("roots", -1, "no tree"),
        ("roots", 1, "no tree"),
    ],
)
def test_check_refuses_values_no_forest_has(compiled: CompiledForest, array: str, value: float, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        changed(compiled, array, 0, value).check()


def without_last(compiled: CompiledForest, array: str) -> dict[str, Any]:
    return {array: getattr(compiled, array)[:-1]}


@pytest.mark.parametrize("array", ["feature", "threshold", "left", "length"])
def test_check_refuses_arrays_of_different_length(compiled: CompiledForest, array: str) -> None:
    with pytest.raises(BundleError, match="damaged"):
        replace(compiled, **without_last(compiled, array)).check()


@pytest.mark.parametrize("roots", [[], [0, 0], [0, 9, 5], [0, 10**6]], ids=["none", "empty tree", "descending", "beyond"])
def test_check_refuses_roots_that_do_not_part_the_nodes(compiled: CompiledForest, roots: list[int]) -> None:
    with pytest.raises(BundleError, match="no tree"):
        replace(compiled, roots=np.array(roots, np.int32)).check()


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_check_refuses_a_child_that_is_an_ancestor_itself_or_of_another_tree(
    compiled: CompiledForest, choice: st.DataObject
) -> None:
    node = choice.draw(st.sampled_from(np.flatnonzero(compiled.feature != LEAF).tolist()))
    end = min([int(root) for root in compiled.roots if root > node], default=len(compiled.feature))
    child = choice.draw(st.integers(-(2**31), node) | st.integers(end - 1, 2**31 - 2) | st.sampled_from([node, 0, end - 1]))
    with pytest.raises(BundleError, match="child out of range"):
        changed(compiled, "left", node, child).check()


@pytest.mark.parametrize("name", ["asd/omi-1.npz", "adbench/38_thyroid.npz"])
def test_every_row_of_real_tables_scores_as_in_scikit_learn(name: str) -> None:
    root = Path(__file__).parents[2]
    folder = root / os.environ.get("VIGIL_TEST_DATA", "../shared/data")
    if not folder.is_dir():
        pytest.skip(f"VIGIL_TEST_DATA names no folder: {folder}")
    dataset = data.read(folder / name)
    X = dataset.train.X if dataset.test is None else np.concatenate([dataset.train.X, dataset.test.X])
    fitted = [dataset.train.X[i::2] for i in (0, 1)]
    parts = [fit_part(rows, trees=50, max_samples=256, max_features=1.0, seed=i) for i, rows in enumerate(fitted)]
    assert_scores_and_labels_agree(merge(parts), X)


@few
@given(st.integers(0, 2**32 - 1))
def test_labels_agree_with_the_threshold_on_a_score(seed: int) -> None:
    X = np.round(np.random.default_rng(seed).normal(size=(120, 3)), 1)
    forest = fit_part(X, trees=13, max_samples=50, max_features=1.0, seed=seed)
    scores = CompiledForest.compile(forest).score(X)
    for limit in np.unique(scores):
        set_threshold(forest, float(limit))
        np.testing.assert_array_equal(np.where(scores > limit, -1, 1), forest.predict(X))


def test_check_refuses_a_child_whose_neighbour_overflows(compiled: CompiledForest) -> None:
    with pytest.raises(BundleError, match="child out of range"):
        changed(compiled, "left", 0, 2**31 - 1).check()


@few
@given(
    seed=st.integers(0, 2**32 - 1),
    max_samples=st.sampled_from([2, 3, 64, 300, 9000]),
    max_features=st.sampled_from([0.5, 1.0]),
    rows=st.integers(1, 80),
)
def test_many_rows_score_as_each_alone(seed: int, max_samples: int, max_features: float, rows: int) -> None:
    X = np.random.default_rng(seed).normal(size=(max(max_samples, 100), 5))
    forest = fit_part(X, trees=7, max_samples=max_samples, max_features=max_features, seed=seed)
    compiled = CompiledForest.compile(forest)
    together = compiled.score(X[:rows])
    np.testing.assert_array_equal(together, np.concatenate([compiled.score(row[None]) for row in X[:rows]]))
    np.testing.assert_allclose(together, -forest.score_samples(X[:rows]), atol=1e-6)
