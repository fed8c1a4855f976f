"""Small real models, and polling instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from serve.model_watch import Snapshot
from train import reference, threshold
from train.bundle import ModelBundle
from train.fit import fit_part
from train.forest import CompiledForest

NAMES = ("cpu", "memory", "disk", "net")


@pytest.fixture(scope="session")
def make_bundle() -> Callable[[int], ModelBundle]:
    """make_bundle(seed): a forest of 20 trees on four features."""

    def make(seed: int) -> ModelBundle:
        X = np.random.default_rng(seed).normal(10, 1, (1000, len(NAMES)))
        forest = CompiledForest.compile(fit_part(X, trees=20, max_samples=64, max_features=1.0, seed=seed))
        scores = forest.score(X)
        ref = reference.build(X, NAMES, scores, window_rows=100)
        return ModelBundle(NAMES, forest, threshold.to_alert_rate(scores, 0.01), ref, X[:8], {"seed": seed})

    return make


@pytest.fixture(scope="session")
def model(make_bundle: Callable[[int], ModelBundle]) -> Snapshot:
    """A model as a request sees it."""
    return Snapshot.warm("7", "d" * 64, make_bundle(0))


@pytest.fixture(scope="session")
def until() -> Callable[..., Any]:
    """until(condition, seconds=10): the first truthy value of `condition()`, or an AssertionError."""

    def wait(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)
        return found

    return wait
