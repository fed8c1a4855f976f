"""A model that looks back in time, rows of several entities, and what training makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from serve.model.loaded import LoadedModel
from train.model import reference, threshold
from train.model.bundle import ModelBundle
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.fitted import FittedSteps
from vigil.arrays import Floats
from vigil.timestamps import iso_time

RAW_NAMES = ("cpu", "memory")
STEPS = "diff:1,mean:3"
COLUMNS = {"entity": "host", "time": "at"}
BEGIN = 1_795_946_400.0


BASELINE = {
    "baseline.level": np.array([10.0, 10.0]),
    "baseline.spread": np.ones(2),
    "baseline.floor": np.full(2, 0.01),
}
CALENDAR = {"calendar.level": np.arange(336.0).reshape(168, 2) / 100}


def looking_back(
    steps: str = STEPS,
    seed: int = 0,
    version: str = "7",
    *,
    fitted: dict[str, Floats] | None = None,
) -> LoadedModel:
    """A small forest on two raw features and what `steps`, which have learnt so, make of them."""
    transform = FeatureTransform.parse(steps, RAW_NAMES, FittedSteps(fitted or {}))
    raw = np.random.default_rng(seed).normal(10, 1, (1000, len(RAW_NAMES)))
    X = transform.apply(raw, times=BEGIN + np.arange(1000.0))
    grown = fit_part(X, trees=20, max_samples=64, max_features=1.0, seed=seed)
    forest = CompiledForest.compile(grown)
    scores = forest.score(X)
    about = reference.build_reference(X, transform.outputs, scores, window_rows=100)
    bundle = ModelBundle(
        transform.outputs,
        forest,
        threshold.to_alert_rate(scores, 0.2),
        about,
        X[:8],
        {"context_columns": COLUMNS, "unused_columns": list(COLUMNS.values())},
        transform,
    )
    return LoadedModel.warm(version, version * 64, bundle)


class EntityRows:
    """Raw rows of a few entities in turn, one each second, and what they must be scored."""

    def __init__(self, rows: int = 30, seed: int = 1, named: str = "host") -> None:
        rng = np.random.default_rng(seed)
        self.X: Floats = rng.normal(10, 2, (rows, len(RAW_NAMES)))
        self.entities = [f"{named}-{number}" for number in rng.integers(0, 3, rows)]
        self.seconds = [BEGIN + row for row in range(rows)]
        self.times = [iso_time(at) for at in self.seconds]

    def records(self) -> list[dict[str, Any]]:
        """Rows as a table has them, with entity and time in their columns."""
        return [
            {**dict(zip(RAW_NAMES, row, strict=True)), "host": entity, "at": at}
            for row, entity, at in zip(self.X.tolist(), self.entities, self.times, strict=True)
        ]

    def expected(self, model: LoadedModel) -> Floats:
        """The scores of training: each entity's rows transformed in their order."""
        transform = model.bundle.transform
        assert transform is not None
        made = np.empty((len(self.X), len(transform.outputs)))
        names = np.array(self.entities)
        times = np.array(self.seconds)
        for entity in set(self.entities):
            own = names == entity
            made[own] = transform.apply(self.X[own], times=times[own])
        return model.bundle.forest.score(made)

    def warming(self, model: LoadedModel) -> list[bool]:
        """Which rows have fewer before them than the model looks back on."""
        transform = model.bundle.transform
        assert transform is not None
        return [
            self.entities[:row].count(entity) < transform.warming_rows
            for row, entity in enumerate(self.entities)
        ]
