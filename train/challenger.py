"""The challenger that a job trains: its bundle, what is measured of it, and the gate's verdict."""

from __future__ import annotations

import importlib.metadata
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest

from train.model import bundle, forest, gate, reference, threshold
from train.model.bundle import ModelBundle
from train.model.distances import ks_distances
from train.model.evaluate import (
    evaluate,
    golden_rates,
    measure_row_microseconds,
    plant_anomalies,
    score_agreement,
)
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.model.gate import GateVerdict
from train.model.reference import Reference
from train.model.threshold import Threshold
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.table import Table
from train.table.training_data import TrainingData
from train.table.unix_times import reference_times
from train.trial import TuneTrial
from vigil.arrays import Floats
from vigil.json_types import JsonObject

_LIBRARIES = ("ray", "scikit-learn", "numpy", "mlflow", "skops", "safetensors")
_FOREST_PARAMETERS = {"n_estimators", "max_samples", "max_features"}
_OTHER_SEED = 7919
_GOLDEN_ROWS = 24
_GOLDEN_ANOMALIES = 8
_VALUE_BYTES = 8
_REFERENCE_SHARE = 0.75  # of the largest bundle that passes, for the drift reference
_MIN_REFERENCE_ROWS = 200


@dataclass(frozen=True)
class TrainingSetup:
    """What a forest is fitted with; `trials` are those of the search for it, if there was one."""

    spec: JobSpec
    settings: TrainSettings
    data: TrainingData
    trials: tuple[TuneTrial, ...] = ()

    @property
    def is_retraining(self) -> bool:
        """Whether live rows are trained on as well, as after drift."""
        return self.spec.captured is not None

    @cached_property
    def measured_rows(self) -> Reference:
        """What the rows of the drift reference tell without a forest."""
        rows = self.data.reference_rows
        return reference.measure_rows(
            rows.X,
            rows.names,
            window_rows=self.settings.window_rows,
            max_rows=_reference_rows(self.settings, len(rows.names)),
            budget=self.settings.drift_budget,
            times=reference_times(rows),
        )


def assemble_challenger(
    fitted: IsolationForest,
    setup: TrainingSetup,
    champion: ModelBundle | None,
) -> ModelBundle:
    """Return the bundle of a forest: with its threshold, reference, and golden rows.

    The threshold is set in `fitted` as well.
    """
    data = setup.data
    compiled = CompiledForest.compile(fitted)
    scores = compiled.score(data.calibration.X)
    limit = replace(
        fit_threshold(scores, data.calibration.mixed_labels, setup.settings),
        entity_width=_entity_width(setup),
    )
    forest.set_threshold(fitted, limit.value)
    drift_reference = _build_reference(scores, setup, champion)
    return ModelBundle(
        names=data.fit.names,
        forest=compiled,
        threshold=limit,
        reference=drift_reference,
        golden=_golden_rows(data.held_out, drift_reference),
        info=_describe(setup),
        transform=data.transform,
        imputation=data.imputation,
        categories=data.categories,
    )


def _entity_width(setup: TrainingSetup) -> float:
    """How far the threshold of an entity may be from the model's: rows must say whose they are."""
    has_entities = bool(setup.data.context_columns.get("entity"))
    return setup.settings.entity_threshold if has_entities else 0.0


def fit_threshold(
    scores: Floats,
    labels: NDArray[np.int64] | None,
    settings: TrainSettings,
) -> Threshold:
    """Return the threshold for the alert budget or, where there are labels, for the label goal."""
    budget = settings.budget
    if labels is None:
        return threshold.to_alert_rate(scores, budget)
    if settings.label_goal == "precision_at_k":
        return threshold.to_count(scores, settings.alerts_k, budget)
    return threshold.to_labels(scores, labels, budget, settings.beta)


def _build_reference(
    scores: Floats,
    setup: TrainingSetup,
    champion: ModelBundle | None,
) -> Reference:
    prior = champion.reference if champion and setup.is_retraining else None
    return setup.measured_rows.completed(scores, prior)


def _reference_rows(settings: TrainSettings, features: int) -> int:
    """Most rows of the reference, so that a wide table does not fail for its size alone."""
    room = _REFERENCE_SHARE * settings.max_bundle_mb * 2**20
    correlation = _VALUE_BYTES * features**2
    row = _VALUE_BYTES * features
    fitting = int((room - correlation) / row)
    return min(settings.reference_rows, max(fitting, _MIN_REFERENCE_ROWS))


def _golden_rows(held_out: Table, drift_reference: Reference) -> Floats:
    planted = _planted_rows(held_out.X, drift_reference)
    return np.concatenate([held_out.X[:_GOLDEN_ROWS], planted])


def _planted_rows(rows: Floats, drift_reference: Reference) -> Floats:
    return plant_anomalies(
        rows,
        drift_reference.visible_scale,
        sides=drift_reference.free_sides,
        most=_GOLDEN_ANOMALIES,
    )


def _describe(setup: TrainingSetup) -> JsonObject:
    """What the bundle says of its training; a retraining begins with it."""
    data = setup.data
    libraries = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {
        **setup.spec.kept(),
        "forest": setup.settings.model_dump(include=_FOREST_PARAMETERS),
        "rows": len(data.fit),
        "trained": time.time(),
        "data_fingerprint": data.fingerprint.digest,
        "unused_columns": data.unused,
        "context_columns": dict(data.context_columns),
        "libraries": libraries,
    }


@dataclass(frozen=True)
class Assessment:
    """What was measured of a challenger, and what the gate makes of it."""

    metrics: dict[str, float]
    verdict: GateVerdict


def judge(
    challenger: ModelBundle,
    champion: ModelBundle | None,
    setup: TrainingSetup,
) -> Assessment:
    """Measure a challenger, alone and beside the champion, and have the gate judge it."""
    held_out = setup.data.held_out
    metrics = {
        **_evaluate_on(held_out, challenger, challenger),
        **standalone_metrics(challenger, setup),
        **_held_out_distance(setup.data),
        **_unknown_words(setup.data),
    }
    rival: dict[str, float] | None = None
    # Another table is another detector: its rows mean nothing to the champion.
    if champion and champion.names == challenger.names:
        of_champion = setup.data.of_champion or held_out
        rival = _evaluate_on(of_champion, champion, challenger)
        metrics |= compare_with_champion(
            challenger,
            champion,
            held_out,
            of_champion,
        )
    verdict = gate.judge_challenger(
        metrics,
        rival,
        setup.settings,
        drifted=setup.is_retraining,
    )
    metrics |= _test_metrics(challenger, setup.data.test)
    metrics |= _prefixed("champion_", rival or {})
    return Assessment(metrics, verdict)


def _held_out_distance(data: TrainingData) -> dict[str, float]:
    """How unlike the rest the latest rows are: the largest KS distance of a feature.

    Rows that were chosen at random are like the rest.
    """
    if not data.held_out.ordered:
        return {}
    return {"held_out_distance": _largest_distance(data.fit.X, data.held_out.X)}


def _largest_distance(fitted: Floats, held_out: Floats) -> float:
    distances = ks_distances(np.sort(fitted, axis=0), held_out)
    return float(distances.max())


def _unknown_words(data: TrainingData) -> dict[str, float]:
    """How many rows have a word that the categories do not know, where there are any."""
    if data.categories is None:
        return {}
    return {"unknown_categories": float(sum(data.unknown.values()))}


def _test_metrics(challenger: ModelBundle, test: Table | None) -> dict[str, float]:
    if test is None or test.labels is None:
        return {}
    return _prefixed("test_", _evaluate_on(test, challenger, challenger))


def _evaluate_on(
    rows: Table,
    model: ModelBundle,
    challenger: ModelBundle,
) -> dict[str, float]:
    """Both models are measured with anomalies of the challenger's scale."""
    known = challenger.reference
    return evaluate(
        model.forest,
        model.threshold.value,
        rows,
        known.visible_scale,
        sides=known.free_sides,
    )


def _prefixed(prefix: str, metrics: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}{name}": value for name, value in metrics.items()}


def standalone_metrics(model: ModelBundle, setup: TrainingSetup) -> dict[str, float]:
    """Return what only this model can tell.

    Does its threshold do what it says, does another seed's forest agree, is it small and fast?
    """
    data = setup.data
    limit = model.threshold
    alerts = model.forest.score(data.calibration.X) > limit.value
    alert_rate = float(np.mean(alerts))
    return {
        "calibration_error": abs(alert_rate - limit.expected_rate),
        "seed_agreement": _seed_agreement(model, setup),
        "bundle_mb": _bundle_bytes(model) / 2**20,
        "row_us": measure_row_microseconds(model.forest, data.held_out.X),
    }


def _seed_agreement(model: ModelBundle, setup: TrainingSetup) -> float:
    """Rank correlation of the scores of held-out rows with those of a forest of another seed."""
    settings = setup.settings
    rows = setup.data.held_out.X
    other = fit_part(
        setup.data.fit.X,
        trees=settings.n_estimators,
        max_samples=settings.max_samples,
        max_features=settings.max_features,
        seed=settings.seed + _OTHER_SEED,
        names=setup.data.fit.names,
    )
    scores = model.forest.score(rows)
    others = CompiledForest.compile(other).score(rows)
    return score_agreement(scores, others)


def _bundle_bytes(model: ModelBundle) -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle.write_bundle(model, folder)
        return sum(file.stat().st_size for file in folder.iterdir())


def compare_with_champion(
    challenger: ModelBundle,
    champion: ModelBundle,
    held_out: Table,
    of_champion: Table,
) -> dict[str, float]:
    """Return how a model differs from the champion.

    It does on the same rows, each as the two models make it, on the champion's golden ones, and in
    what it was fitted on.
    """
    alerts = champion.forest.score(champion.golden) > champion.threshold.value
    metrics = golden_rates(
        challenger.forest,
        challenger.threshold.value,
        champion.golden,
        alerts,
    )
    metrics["rank_agreement"] = score_agreement(
        challenger.forest.score(held_out.X),
        champion.forest.score(of_champion.X),
    )
    return metrics | _reference_changes(challenger.reference, champion.reference)


def _reference_changes(ours: Reference, theirs: Reference) -> dict[str, float]:
    """The share of features that became constant, and the median change of spread of the others."""
    lost = theirs.varies & ~ours.varies
    both = theirs.varies & ours.varies
    varying = max(theirs.varies.sum(), 1)
    change = 1.0
    if both.any():
        ratios = ours.scale[both] / theirs.scale[both]
        change = float(np.exp(np.median(np.abs(np.log(ratios)))))
    return {
        "features_lost": float(lost.sum() / varying),
        "scale_change": change,
    }
