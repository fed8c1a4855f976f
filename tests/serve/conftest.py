"""Small real models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from serve.model.loaded import LoadedModel
from tests.serve.service import Service
from train.model import reference, threshold
from train.model.bundle import ModelBundle
from train.model.fit import fit_part
from train.model.forest import CompiledForest

NAMES = ("cpu", "memory", "disk", "net")


@pytest.fixture(scope="session")
def make_bundle() -> Callable[[int], ModelBundle]:
    """make_bundle(seed): a forest of 20 trees on four features."""

    def make(seed: int) -> ModelBundle:
        X = np.random.default_rng(seed).normal(10, 1, (1000, len(NAMES)))
        forest = CompiledForest.compile(
            fit_part(X, trees=20, max_samples=64, max_features=1.0, seed=seed)
        )
        scores = forest.score(X)
        ref = reference.build_reference(X, NAMES, scores, window_rows=100)
        return ModelBundle(
            NAMES, forest, threshold.to_alert_rate(scores, 0.01), ref, X[:8], {"seed": seed}
        )

    return make


@pytest.fixture(scope="session")
def model(make_bundle: Callable[[int], ModelBundle]) -> LoadedModel:
    """A model as a request sees it."""
    return LoadedModel.warm("7", "d" * 64, make_bundle(0))


@pytest.fixture
def service(model: LoadedModel) -> Service:
    """The service with that model and the usual settings."""
    return Service(model)
