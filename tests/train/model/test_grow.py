"""Trees grown from the rows drawn for them alone: those of scikit-learn's own fit, to the bit."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from train.model.fit import fit_part
from train.model.grow import grow_trees
from vigil.arrays import Singles

few = settings(max_examples=25, deadline=None)
Isolation: Any = IsolationForest  # its parameters are typed wrongly
_OF_TREES = {"estimators_", "_average_path_length_per_tree", "_decision_path_lengths"}


def table(seed: int, rows: int) -> Singles:
    """Rows of 5 columns, with a narrow one, one of few values and one that hardly varies."""
    X = np.random.default_rng(seed).normal(size=(rows, 5))
    X[:, 1] *= 1e-6
    X[:, 2] = np.round(X[:, 2])
    X[:, 3] = np.arange(rows) == rows // 2
    return X.astype(np.float32)


def grown(forest: Any, X: Singles) -> Any:
    trees = forest.n_estimators
    assert list(grow_trees(forest, X.__getitem__, len(X))) == list(range(1, trees + 1))
    return forest


def assert_same_members(found: Any, expected: Any) -> None:
    for one, other in zip(found.estimators_, expected.estimators_, strict=True):
        assert one.get_params() == other.get_params()
        state, known = one.tree_.__getstate__(), other.tree_.__getstate__()
        np.testing.assert_array_equal(state["nodes"], known["nodes"])
        np.testing.assert_array_equal(state["values"], known["values"])


@few
@given(
    seed=st.integers(0, 2**31),
    rows=st.sampled_from([40, 300, 9000]),
    max_samples=st.sampled_from([2, 3, 33]),
    max_features=st.sampled_from([0.5, 1.0]),
)
def test_a_forest_has_all_that_a_fit_gives_it(
    seed: int, rows: int, max_samples: int, max_features: float
) -> None:
    X = table(seed, rows)
    parameters = {
        "n_estimators": 5,
        "max_samples": max_samples,
        "max_features": max_features,
        "random_state": seed,
        "n_jobs": 1,
    }
    found, expected = grown(Isolation(**parameters), X), Isolation(**parameters).fit(X)
    assert_same_members(found, expected)
    assert vars(found).keys() == vars(expected).keys()
    for name in vars(expected).keys() - _OF_TREES - {"estimator_"}:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.estimator_.get_params() == expected.estimator_.get_params()
    np.testing.assert_array_equal(found.score_samples(X), expected.score_samples(X))
    np.testing.assert_array_equal(found.estimators_samples_, expected.estimators_samples_)


@few
@given(st.integers(0, 2**31), st.sampled_from([0.5, 1.0]))
def test_a_shard_of_a_table_is_fitted_as_its_copy(seed: int, max_features: float) -> None:
    X = table(seed, 4000).astype(np.float64)
    places = np.random.default_rng(seed).permutation(len(X))[::2]
    settings: dict[str, Any] = {
        "trees": 4,
        "max_samples": 64,
        "max_features": max_features,
        "seed": seed,
    }
    found = fit_part(X, places=places, **settings)
    copied = fit_part(X[places].astype(np.float32), **settings)
    assert_same_members(found, copied)


def test_a_fit_copies_few_of_many_rows() -> None:
    X = np.random.default_rng(0).normal(size=(200_000, 10))
    tracemalloc.start()
    try:
        fit_part(X, trees=2, max_samples=64, max_features=1.0, seed=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < X.nbytes / 4
