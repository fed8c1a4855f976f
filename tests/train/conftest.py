"""A tiny real model, shared by the tests of bundle and registry."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from train import reference, threshold
from train.bundle import ModelBundle
from train.fit import fit_part, merge
from train.forest import CompiledForest, set_threshold

Model = tuple[IsolationForest, ModelBundle]
NAMES = ("cpu", "memory", "latency")


@pytest.fixture(scope="session")
def model() -> Callable[[int], Model]:
    """A forest of ten trees and its bundle, by seed."""

    @cache
    def make(seed: int) -> Model:
        X = np.random.default_rng(seed).normal(size=(400, len(NAMES)))
        forest = merge([fit_part(X, trees=5, max_samples=32, max_features=1.0, seed=seed + part) for part in (0, 1)])
        compiled = CompiledForest.compile(forest)
        scores = compiled.score(X)
        limit = threshold.to_alert_rate(scores, 0.05)
        set_threshold(forest, limit.value)
        built = reference.build(X, NAMES, scores, window_rows=100)
        info = {"libraries": {name: importlib.metadata.version(name) for name in ("scikit-learn", "numpy", "skops")}}
        return forest, ModelBundle(NAMES, compiled, limit, built, X[:8], info)

    return make
