"""Worse challengers are each refused by the gate that should refuse them; a better one passes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from train.challenger import TrainingSetup, assemble_challenger, judge
from train.model.bundle import ModelBundle
from train.model.fit import fit_part
from train.model.gate import GateVerdict
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.dataset import Fingerprint, split_holdout
from train.table.table import Table
from train.table.training_data import TrainingData
from vigil.arrays import Floats

SETTINGS = TrainSettings(n_estimators=60)
SCALES = np.array([1.0, 30.0, 0.1, 5.0, 200.0, 1.0, 12.0, 0.5])


def training_data(X: Floats) -> TrainingData:
    table = Table(X, tuple("abcdefgh"), ordered=True)
    fit, held_out = split_holdout(table, 0.2, 0)
    return TrainingData(
        fit=fit,
        calibration=fit,
        reference_rows=table,
        held_out=held_out,
        test=None,
        fingerprint=Fingerprint("digest", len(X)),
        transform=None,
    )


def train(
    X: Floats,
    prior: ModelBundle | None = None,
    settings: TrainSettings = SETTINGS,
) -> tuple[ModelBundle, TrainingSetup]:
    setup = TrainingSetup(JobSpec(data="t.csv"), settings, training_data(X))
    forest = fit_part(
        setup.data.fit.X,
        trees=settings.n_estimators,
        max_samples=settings.max_samples,
        max_features=1.0,
        seed=1,
    )
    return assemble_challenger(forest, setup, prior), setup


def world(seed: int) -> Floats:
    return np.random.default_rng(seed).normal(size=(4000, 8)) * SCALES + 3 * SCALES


@pytest.fixture(scope="module")
def champion() -> ModelBundle:
    return train(world(0))[0]


def test_the_reference_is_what_was_measured_without_the_forest() -> None:
    """A job measures it while workers start."""
    setup = TrainingSetup(JobSpec(data="t.csv"), SETTINGS, training_data(world(0)))
    measured = setup.measured_rows
    made, _ = train(world(0))
    np.testing.assert_array_equal(measured.samples, made.reference.samples)
    np.testing.assert_array_equal(measured.floors, made.reference.floors)
    assert not measured.scores.any()
    assert made.reference.scores.any()


@pytest.mark.parametrize(
    ("column", "asked", "width"), [("host", 0.02, 0.02), (None, 0.02, 0.0), ("host", 0.0, 0.0)]
)
def test_entities_have_thresholds_where_rows_say_whose_they_are(
    column: str | None, asked: float, width: float
) -> None:
    settings = SETTINGS.model_copy(update={"entity_threshold": asked})
    trained, setup = train(world(0), settings=settings)
    of_hosts = replace(setup, data=replace(setup.data, context_columns={"entity": column}))
    forest = fit_part(
        setup.data.fit.X,
        trees=5,
        max_samples=64,
        max_features=1.0,
        seed=1,
    )
    assert assemble_challenger(forest, of_hosts, None).threshold.entity_width == width
    assert trained.threshold.entity_width == 0.0


def refused(verdict: GateVerdict) -> set[str]:
    return {check.name for check in verdict.checks if not check.passed}


def half_constant(X: Floats) -> Floats:
    X = X.copy()
    X[:, ::2] = X[0, ::2]
    return X


@pytest.mark.parametrize(
    ("spoil", "gate"),
    [
        (lambda X: X[:, ::-1], "rank_agreement"),
        (half_constant, "features_lost"),
        (lambda X: X * 1000, "scale_change"),
    ],
    ids=["shuffled features", "half the columns constant", "wrong scale"],
)
def test_a_challenger_from_a_spoilt_table_is_refused(
    champion: ModelBundle, spoil: Callable[[Floats], Floats], gate: str
) -> None:
    model, setup = train(spoil(world(1)), champion)
    verdict = judge(model, champion, setup).verdict
    assert gate in refused(verdict)


@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_a_challenger_whose_threshold_is_off_is_refused(
    champion: ModelBundle, factor: float
) -> None:
    model, setup = train(world(1), champion)
    off = replace(model, threshold=replace(model.threshold, value=model.threshold.value * factor))
    verdict = judge(off, champion, setup).verdict
    assert "calibration_error" in refused(verdict)
    assert ("alert_rate" in refused(verdict)) == (factor < 1)


def test_a_better_challenger_passes_every_gate(champion: ModelBundle) -> None:
    small = train(world(0), settings=TrainSettings(n_estimators=5))[0]
    for prior in (champion, small):
        model, setup = train(world(1), prior)
        assessment = judge(model, prior, setup)
        assert assessment.verdict.passed, assessment.verdict.text()
        assert assessment.metrics["rank_agreement"] > 0.6
