"""`residual` is ridge regression on all other features; `rotate` is a random direction."""

from __future__ import annotations

import numpy as np
from sklearn.linear_model import Ridge

from train.table.transform.linear import RIDGE, fit_residual, fit_rotation, project_centred

rng = np.random.default_rng(0)
n = 2000
driver = rng.normal(size=n)
X = np.column_stack(
    [
        driver + 0.1 * rng.normal(size=n),
        50 - 20 * driver + rng.normal(size=n),
        rng.normal(size=n),
        np.full(n, 7.0),
    ]
)


def test_residuals_are_those_of_ridge_regression_on_all_other_features() -> None:
    learnt = fit_residual(X)
    found = project_centred(X, learnt["centre"], learnt["weights"])
    low, middle, high = np.percentile(X, [25, 50, 75], axis=0)
    spread = np.where(high > low, (high - low) / 1.349, 1.0)
    Z = np.clip((X - middle) / spread, -5, 5)
    for j in range(X.shape[1]):
        others = np.delete(Z, j, axis=1)
        ridge = Ridge(alpha=RIDGE * n, fit_intercept=False).fit(others, Z[:, j])
        expected = (X - middle)[:, j] / spread[j] - ridge.predict(
            np.delete((X - middle) / spread, j, axis=1)
        )
        np.testing.assert_allclose(found[:, j], expected, atol=1e-8)


def test_a_row_that_breaks_with_the_others_stands_out_in_its_residual_alone() -> None:
    learnt = fit_residual(X)
    odd = np.array([[1.5, 50 + 30.0, 0.0, 7.0]])  # each value is ordinary
    usual = np.abs(project_centred(X, learnt["centre"], learnt["weights"]))
    found = np.abs(project_centred(odd, learnt["centre"], learnt["weights"]))[0]
    assert (found[:2] > 3 * np.percentile(usual[:, :2], 99, axis=0)).all()
    assert found[2] < usual[:, 2].max()


def test_directions_are_random_of_one_spread_and_follow_from_the_seed() -> None:
    learnt = fit_rotation(X, 300, seed=3)
    found = project_centred(X, learnt["centre"], learnt["weights"])
    assert found.std(axis=0).max() < 1.1
    assert np.median(found.std(axis=0)) > 0.7
    np.testing.assert_array_equal(learnt["weights"], fit_rotation(X, 300, seed=3)["weights"])
    assert not np.allclose(learnt["weights"], fit_rotation(X, 300, seed=4)["weights"])


def test_a_projection_is_a_matrix_product() -> None:
    weights = rng.normal(size=(4, 3))
    centre = rng.normal(size=4)
    found = project_centred(X, centre, weights)
    np.testing.assert_allclose(found, (X - centre) @ weights, atol=1e-9)
