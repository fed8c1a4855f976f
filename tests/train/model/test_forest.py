"""train/model/forest.py and the fit of parts, against scikit-learn on every path.

Scores and labels are the same; also attributions and hostile arrays.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest
from sklearn.ensemble._iforest import _average_path_length

from tests.running import ROOT
from tests.tables import read_labelled
from train.model.fit import fit_part, merge_forests
from train.model.forest import BATCH_ROWS, LEAF, ROWS_PER_THREAD, CompiledForest, set_threshold
from vigil.arrays import Floats
from vigil.errors import BundleError, DataError

few = settings(max_examples=25, deadline=None)
FLOAT32 = np.finfo(np.float32)
TINY, MOST = float(FLOAT32.tiny), float(FLOAT32.max)
EXTREMES = [0.0, -0.0, 1.0, 1e-7, 1e-45, -1e-45, 1e-310, TINY, -TINY, MOST, -MOST]
Isolation: Any = IsolationForest  # its parameters are typed wrongly
Span = tuple[int, int]


@st.composite
def forests(
    draw: st.DrawFn, trees: Span = (1, 12), samples: Span = (2, 64), features: Span = (1, 8)
) -> tuple[IsolationForest, Floats]:
    """A fitted forest with its rows.

    Few decimals make many duplicated rows, splits between equal values and stumps; some features
    hold extremes only.
    """
    d, max_samples = draw(st.integers(*features)), draw(st.integers(*samples))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = max_samples + draw(st.integers(0, 60))
    X = np.round(
        rng.normal(size=(rows, d)) * 10.0 ** draw(st.integers(-3, 6)), draw(st.integers(0, 3))
    )
    extreme = rng.random(d) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    X[:, extreme] = rng.choice(EXTREMES, (rows, int(extreme.sum())))
    forest = Isolation(
        n_estimators=draw(st.integers(*trees)),
        max_samples=max_samples,
        max_features=draw(st.sampled_from([0.2, 0.5, 0.9, 1.0])),
        bootstrap=draw(st.booleans()),
        contamination=draw(st.sampled_from(["auto", 0.01, 0.1, 0.5])),
        random_state=draw(st.integers(0, 1000)),
    )
    return forest.fit(X), X


def at_thresholds(compiled: CompiledForest, X: Floats) -> Floats:
    """Rows with one value on, just below or just above a split.

    Some are so little above that float32 rounds them down.
    """
    splits = np.flatnonzero(compiled.feature != LEAF)[:50]
    rows = X[np.arange(4 * len(splits)) % len(X)].copy()
    for i, node in enumerate(splits):
        value = compiled.threshold[node]
        sides = [
            value,
            np.nextafter(value, np.float32(-np.inf)),
            np.nextafter(value, np.float32(np.inf)),
        ]
        rows[4 * i : 4 * i + 4, compiled.feature[node]] = [
            *sides,
            np.nextafter(float(value), np.inf),
        ]
    return rows


def assert_scores_and_labels_agree(forest: IsolationForest, X: Floats) -> None:
    scores = CompiledForest.compile(forest).score(X)
    np.testing.assert_allclose(scores, -forest.score_samples(X), rtol=0, atol=1e-6)
    levels = np.unique(np.round(scores, 9))
    middles = (
        np.quantile((levels[1:] + levels[:-1]) / 2, [0.05, 0.5, 0.95]) if len(levels) > 1 else []
    )
    for limit in (-forest.offset_, *middles, np.median(scores), 0.0, 1.0):
        set_threshold(forest, float(limit))
        np.testing.assert_array_equal(np.where(scores > limit, -1, 1), forest.predict(X))


def assert_all_paths_agree(forest: IsolationForest, X: Floats) -> None:
    compiled = CompiledForest.compile(forest)
    compiled.check()
    rows = np.concatenate([X[:100], at_thresholds(compiled, X)])
    odd = rows[::10]
    odd[:] = np.random.default_rng(0).choice(EXTREMES, odd.shape)
    assert_scores_and_labels_agree(forest, rows)
    scores = compiled.score(rows)
    np.testing.assert_array_equal(scores, [compiled.score(row[None])[0] for row in rows])
    many = 3 * ROWS_PER_THREAD + 7
    np.testing.assert_array_equal(
        compiled.score(np.resize(rows, (many, X.shape[1])), threads=3), np.resize(scores, many)
    )


@few
@given(forests())
def test_scores_and_labels_are_those_of_scikit_learn_on_every_path(
    made: tuple[IsolationForest, Floats],
) -> None:
    assert_all_paths_agree(*made)


@settings(max_examples=6, deadline=None)
@given(forests(trees=(100, 300), samples=(256, 4096), features=(20, 200)))
def test_large_forests_score_as_in_scikit_learn_on_every_path(
    made: tuple[IsolationForest, Floats],
) -> None:
    assert_all_paths_agree(*made)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int64, ">f8", np.bool_])
def test_rows_of_any_kind_and_layout_score_alike(compiled: CompiledForest, dtype: Any) -> None:
    X = np.random.default_rng(0).integers(-2, 3, (60, 3)).astype(dtype)
    expected = compiled.score(X.astype(np.float64))
    frozen = X.copy()
    frozen.flags.writeable = False
    for same in (X, np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2], frozen):
        np.testing.assert_array_equal(compiled.score(same), expected)


def test_a_whole_number_is_rounded_once() -> None:
    X = np.array(
        [[2**60 + 2**36 + 1]]
    )  # by way of float64 it would be rounded to a tie, and then down
    once, twice = (
        float(X.astype(np.float32)[0, 0]),
        float(X.astype(np.float64).astype(np.float32)[0, 0]),
    )
    assert once > twice
    rows = np.array(
        [[once]] + 7 * [[twice]]
    )  # one split, between the two; a single row below it is more anomalous
    forest = Isolation(n_estimators=1, max_samples=8, random_state=0).fit(rows)
    np.testing.assert_array_equal(CompiledForest.compile(forest).score(X), -forest.score_samples(X))


def test_no_row_has_no_score(compiled: CompiledForest) -> None:
    assert compiled.score(np.empty((0, 3)), threads=2).shape == (0,)


def test_a_batch_is_split_over_the_threads_it_is_given(
    compiled: CompiledForest, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts: list[tuple[int, str]] = []
    monkeypatch.setattr(
        CompiledForest,
        "_score",
        lambda _, rows, out: parts.append((len(rows), threading.current_thread().name)),
    )
    here = threading.current_thread().name
    for rows, threads, shares in (
        (4 * ROWS_PER_THREAD, 1, [4]),
        (4 * ROWS_PER_THREAD, 2, [2, 2]),
        (4 * ROWS_PER_THREAD, 9, [1, 1, 1, 1]),
        (2 * ROWS_PER_THREAD - 1, 2, [2]),
    ):
        parts.clear()
        compiled.score(np.zeros((rows, 3)), threads=threads)
        assert sorted(-(-part // ROWS_PER_THREAD) for part, _ in parts) == shares
        assert [name for _, name in parts].count(here) == 1


@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_a_single_row_is_scored_without_a_copy_of_it(dtype: Any) -> None:
    d = 5000
    forest = CompiledForest.compile(
        Isolation(n_estimators=3, max_samples=16, random_state=0).fit(np.eye(16, d))
    )
    row = np.zeros((1, d), dtype)
    forest.score(row)
    tracemalloc.start()
    try:
        forest.score(row)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        result = forest.score(row)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.shape == (1,)
    assert (peak - before < 2000) == (dtype is np.float64)


NEW_PROCESS = """
import numpy as np
from sklearn.ensemble import IsolationForest
from train.model import forest, kernels
X = np.random.default_rng(0).normal(size=(32, 3))
compiled = forest.CompiledForest.compile(IsolationForest(n_estimators=2, max_samples=32).fit(X))
X.flags.writeable = False
compiled.score(X), compiled.score(X[:1]), compiled.attribute(X)
for kernel in (kernels.exponents, kernels.padded_exponents, kernels.path_gains):
    print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
"""


def test_a_new_process_does_not_compile(compiled: CompiledForest) -> None:
    X = np.zeros((BATCH_ROWS, 3))
    for kernel in (compiled.score, lambda X: compiled.score(X[:1]), compiled.attribute):
        kernel(X)  # leaves it in the cache
    command = [sys.executable, "-c", NEW_PROCESS]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=100
    )
    assert done.stdout.split() == ["1", "0"] * 3


@few
@given(forests())
def test_attributions_add_up_to_the_path_length_deficit(
    made: tuple[IsolationForest, Floats],
) -> None:
    forest, X = made
    compiled = CompiledForest.compile(forest)
    gains = compiled.attribute(X)
    normaliser = float(_average_path_length([compiled.max_samples])[0])
    mean_length = -np.log2(-forest.score_samples(X)) * normaliser
    distinct = [
        tree.tree_.n_node_samples[0] for tree in forest.estimators_
    ]  # max_samples, but for bootstrap
    expected = _average_path_length(distinct).mean() - mean_length
    np.testing.assert_allclose(gains.sum(axis=1), expected, rtol=0, atol=1e-9)
    unused = np.setdiff1d(np.arange(X.shape[1]), compiled.feature)
    assert not gains[:, unused].any()


@pytest.mark.parametrize("shape", [(3,), (2, 4), (2, 2)])
def test_rows_of_another_width_are_refused(
    shape: tuple[int, ...], compiled: CompiledForest
) -> None:
    with pytest.raises(ValueError, match="expected \\[n, 3\\]"):
        compiled.score(np.zeros(shape))


@few
@given(st.lists(st.integers(1, 6), min_size=1, max_size=4), st.sampled_from([0.4, 1.0]))
def test_a_merged_forest_is_a_plain_forest_of_all_trees(
    trees: list[int], max_features: float
) -> None:
    X = np.random.default_rng(sum(trees)).normal(size=(120, 3))
    parts = [
        fit_part(X[i::2], trees=count, max_samples=32, max_features=max_features, seed=i)
        for i, count in enumerate(trees)
    ]
    # A score is 2 ** -(mean path length / c): over parts, a geometric mean weighted by their trees.
    expected = np.exp2(
        np.average([np.log2(-part.score_samples(X)) for part in parts], axis=0, weights=trees)
    )
    merged = merge_forests(parts)
    assert type(merged) is IsolationForest
    assert merged.n_estimators == len(merged.estimators_) == sum(trees)
    np.testing.assert_allclose(-merged.score_samples(X), expected, atol=1e-12)
    assert_scores_and_labels_agree(merged, X)


@pytest.mark.parametrize(
    ("columns", "max_samples"), [(2, 32), (3, 16)], ids=["features", "max_samples"]
)
def test_parts_that_differ_are_not_merged(columns: int, max_samples: int) -> None:
    X = np.random.default_rng(0).normal(size=(40, 3))
    parts = [
        fit_part(X, trees=2, max_samples=32, max_features=1.0, seed=0),
        fit_part(X[:, :columns], trees=2, max_samples=max_samples, max_features=1.0, seed=1),
    ]
    with pytest.raises(ValueError, match="parts differ"):
        merge_forests(parts)


@pytest.mark.parametrize("trees", [1, 7, 23, 100])
def test_a_part_that_tells_how_far_it_is_is_what_scikit_learn_fits_at_once(trees: int) -> None:
    X, told = np.random.default_rng(0).normal(size=(300, 4)), []
    part = fit_part(X, trees=trees, max_samples=64, max_features=0.5, seed=3, fitted=told.append)
    whole = Isolation(
        n_estimators=trees, max_samples=64, max_features=0.5, random_state=3, n_jobs=1
    ).fit(X)
    assert part.get_params() == whole.get_params()
    np.testing.assert_array_equal(part.score_samples(X), whole.score_samples(X))
    assert told == sorted(set(told))
    assert told[-1] == trees
    assert len(told) == min(trees, 10)


def test_a_part_needs_max_samples_rows_and_repeats_for_one_seed() -> None:
    X = np.random.default_rng(0).normal(size=(32, 2))
    with pytest.raises(DataError, match="31 rows are fewer than max_samples=32"):
        fit_part(X[1:], trees=1, max_samples=32, max_features=1.0, seed=0)
    one, same, other = (
        fit_part(X, trees=3, max_samples=32, max_features=1.0, seed=s).score_samples(X)
        for s in (1, 1, 2)
    )
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
def test_check_refuses_values_no_forest_has(
    compiled: CompiledForest, array: str, value: float, said: str
) -> None:
    with pytest.raises(BundleError, match=said):
        changed(compiled, array, 0, value).check()


def without_last(compiled: CompiledForest, array: str) -> dict[str, Any]:
    return {array: getattr(compiled, array)[:-1]}


@pytest.mark.parametrize("array", ["feature", "threshold", "left", "length"])
def test_check_refuses_arrays_of_different_length(compiled: CompiledForest, array: str) -> None:
    with pytest.raises(BundleError, match="damaged"):
        replace(compiled, **without_last(compiled, array)).check()


@pytest.mark.parametrize(
    "roots", [[], [0, 0], [0, 9, 5], [0, 10**6]], ids=["none", "empty tree", "descending", "beyond"]
)
def test_check_refuses_roots_that_do_not_part_the_nodes(
    compiled: CompiledForest, roots: list[int]
) -> None:
    with pytest.raises(BundleError, match="no tree"):
        replace(compiled, roots=np.array(roots, np.int32)).check()


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_check_refuses_a_child_that_is_an_ancestor_itself_or_of_another_tree(
    compiled: CompiledForest, choice: st.DataObject
) -> None:
    node = choice.draw(st.sampled_from(np.flatnonzero(compiled.feature != LEAF).tolist()))
    end = min([int(root) for root in compiled.roots if root > node], default=len(compiled.feature))
    child = choice.draw(
        st.integers(-(2**31), node)
        | st.integers(end - 1, 2**31 - 2)
        | st.sampled_from([node, 0, end - 1])
    )
    with pytest.raises(BundleError, match="child out of range"):
        changed(compiled, "left", node, child).check()


def test_every_row_of_a_table_scores_as_in_scikit_learn(labelled_table: Path) -> None:
    dataset = read_labelled(labelled_table)
    train, test = dataset.train, dataset.test
    X = train.X if test is None else np.concatenate([train.X, test.X])
    forest = fit_part(train.X, trees=30, max_samples=256, max_features=1.0, seed=0)
    compiled = CompiledForest.compile(forest)
    scores = compiled.score(X, threads=2)
    np.testing.assert_allclose(scores, -forest.score_samples(X), rtol=0, atol=1e-6)
    limit = float(np.quantile(scores, 0.99, method="inverted_cdf"))
    set_threshold(forest, limit)
    some = X[:: max(1, len(X) // 10_000)]
    labels = np.where(compiled.score(some) > limit, -1, 1)
    np.testing.assert_array_equal(labels, forest.predict(some))


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
def test_many_rows_score_as_each_alone(
    seed: int, max_samples: int, max_features: float, rows: int
) -> None:
    X = np.random.default_rng(seed).normal(size=(max(max_samples, 100), 5))
    forest = fit_part(X, trees=7, max_samples=max_samples, max_features=max_features, seed=seed)
    compiled = CompiledForest.compile(forest)
    together = compiled.score(X[:rows])
    np.testing.assert_array_equal(
        together, np.concatenate([compiled.score(row[None]) for row in X[:rows]])
    )
    np.testing.assert_allclose(together, -forest.score_samples(X[:rows]), atol=1e-6)
