"""The reasons for an anomaly name the feature that is off."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from serve.http.predict import reasons_by_row
from serve.model.loaded import LoadedModel
from train.model import reference, threshold
from train.model.bundle import ModelBundle
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.model.reasons import weigh_reasons
from vigil.arrays import Floats

SHIFT = (6.0, 8.0)  # robust standard deviations
# Ranked by path gain alone the wide worlds fail, by z alone the wild ones.
WORLDS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "wide": lambda rng, rows: rng.normal(size=(rows, 30)) * 10.0 ** np.linspace(-3, 5, 30),
    "correlated": lambda rng, rows: (
        rng.normal(size=(rows, 3)) @ np.ones((3, 8)) / 4 + rng.normal(size=(rows, 8))
    ),
    "wild": lambda rng, rows: np.c_[
        rng.normal(size=(rows, 6)), rng.standard_t(1.3, size=(rows, 2))
    ],
}


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_feature_is_the_first_reason(world: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = WORLDS[world](rng, 4000)
    names = tuple(f"f{j}" for j in range(X.shape[1]))
    forest = CompiledForest.compile(
        fit_part(X, trees=100, max_samples=256, max_features=1.0, seed=seed)
    )
    scores = forest.score(X)
    about = reference.build_reference(X, names, scores, window_rows=500)
    model = LoadedModel.warm(
        "1",
        "d" * 64,
        ModelBundle(names, forest, threshold.to_alert_rate(scores, 0.05), about, X[:8], {}),
    )
    ordinary = X[scores <= np.quantile(scores, 0.8)]
    rows = ordinary[rng.integers(0, len(ordinary), 20_000)]
    planted = rng.integers(0, X.shape[1], len(rows))
    rows[np.arange(len(rows)), planted] += (
        rng.uniform(*SHIFT, len(rows)) * rng.choice([-1, 1], len(rows)) * about.scale[planted]
    )
    over = forest.score(rows) > model.bundle.threshold.value
    told = reasons_by_row(model, rows[over], np.ones(over.sum(), bool), 1)
    assert over.sum() > 100
    right = [
        reasons[0]["feature"] == names[j] for reasons, j in zip(told, planted[over], strict=True)
    ]
    assert np.mean(right) >= 0.95


def test_what_the_model_did_not_go_by_is_no_reason() -> None:
    gains, z = np.array([[0.1, 0.0, -0.3]]), np.array([[-2.0, 1e9, 5.0]])
    np.testing.assert_array_equal(weigh_reasons(gains, z), [[0.2, 0, 0]])
