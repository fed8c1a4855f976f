"""A tiny real model, and a registry in a database of its own."""

from __future__ import annotations

import importlib.metadata
import uuid
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from train.challenger import TrainingSetup, assemble_challenger
from train.model import reference, threshold
from train.model.bundle import ModelBundle
from train.model.fit import fit_part, merge_forests
from train.model.forest import CompiledForest, set_threshold
from train.registry.candidate import Candidate
from train.registry.versions import Registry
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.training_data import TrainingData

Model = tuple[IsolationForest, ModelBundle]
NAMES = ("cpu", "memory", "latency")


def mlflow_of(registry: Registry) -> Any:
    """The client of the registry as MLflow's own, of which Vigil asks a part."""
    return registry.server.client


def candidate(made: Model, job: str = "job") -> Candidate:
    """What a job registers."""
    forest, bundle = made
    return Candidate(
        forest,
        bundle,
        {"seed": 0},
        {"alert_rate": 0.05},
        {"job": job, "trigger": "manual"},
        {"passed": True},
    )


def fit_challenger(
    spec: JobSpec,
    settings: TrainSettings,
    data: TrainingData,
    champion: ModelBundle | None,
) -> tuple[ModelBundle, TrainingSetup]:
    """The model that a job fits to its data, in this process, and what it was made by."""
    setup = TrainingSetup(spec, settings, data)
    forest = fit_part(
        data.fit.X,
        trees=settings.n_estimators,
        max_samples=settings.max_samples,
        max_features=1.0,
        seed=settings.seed,
    )
    return assemble_challenger(forest, setup, champion), setup


@pytest.fixture(scope="session")
def model() -> Callable[[int], Model]:
    """A forest of ten trees and its bundle, by seed."""

    @cache
    def make(seed: int) -> Model:
        X = np.random.default_rng(seed).normal(size=(400, len(NAMES)))
        forest = merge_forests(
            [
                fit_part(X, trees=5, max_samples=32, max_features=1.0, seed=seed + part)
                for part in (0, 1)
            ]
        )
        compiled = CompiledForest.compile(forest)
        scores = compiled.score(X)
        limit = threshold.to_alert_rate(scores, 0.05)
        set_threshold(forest, limit.value)
        built = reference.build_reference(X, NAMES, scores, window_rows=100)
        info = {
            "libraries": {
                name: importlib.metadata.version(name)
                for name in ("scikit-learn", "numpy", "skops")
            }
        }
        return forest, ModelBundle(NAMES, compiled, limit, built, X[:8], info)

    return make


@pytest.fixture(scope="session")
def vigil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry whose database is made once, for that takes seconds."""
    import mlflow

    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:  # MLflow hands its address on in the environment
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
        yield Registry(f"sqlite:///{folder}/mlflow.db", "vigil", folder / "artifacts")
        mlflow.set_tracking_uri(before)


@pytest.fixture
def registry(vigil: Registry) -> Registry:
    """The same database with a registered model of the test's own."""
    return Registry(vigil.tracking_uri, f"vigil-{uuid.uuid4().hex}", vigil.server.artifacts)
