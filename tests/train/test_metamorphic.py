"""The gate says the same of a table with dead columns, other units, another order, rows twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.metamorphic import CHANGES, Change, add_dead_columns, duplicate, reorder, scale
from tests.tables import read_labelled
from train.challenger import Assessment, TrainingSetup, assemble_challenger, judge
from train.job import feature_warnings
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.progress import JobProgress
from train.refit import agreement_on_held_out, is_refitted, refit
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.table import Table
from train.table.training_data import TrainingData, load_training_data
from vigil.arrays import Floats

SETTINGS = TrainSettings(n_estimators=40, workers=1)
TIMED = {"row_us"}


def load(table: Table, folder: Path, **spec: Any) -> TrainingData:
    """The rows of a job on a file of this table, whose rows are in order of time.

    As they are: the transform of a job depends on how many columns there are.
    """
    file = folder / "table.npz"
    np.savez(file, train=table.X, names=np.array(table.names))
    progress = JobProgress(gauge=lambda *_, **__: _Silent())
    job = JobSpec(data=str(file), **{"over_time": "none", **spec})
    return load_training_data(job, SETTINGS, progress)


class _Silent:
    def set(self, *_: Any) -> None: ...


def train(data: TrainingData, settings: TrainSettings = SETTINGS) -> tuple[Any, TrainingSetup]:
    setup = TrainingSetup(JobSpec(data="t"), settings, data)
    forest = fit_part(
        data.fit.X,
        trees=settings.n_estimators,
        max_samples=256,
        max_features=1.0,
        seed=0,
        names=data.fit.names,
    )
    return assemble_challenger(forest, setup, None), setup


def assess(table: Table, folder: Path, **spec: Any) -> Assessment:
    model, setup = train(load(table, folder, **spec))
    return judge(model, None, setup)


def failed(assessment: Assessment) -> set[str]:
    return {check.name for check in assessment.verdict.checks if not check.passed} - TIMED


def telemetry(rows: int = 2000, features: int = 5) -> Table:
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(rows)[:, None] / 40 + np.arange(features))
    X = 50 + waves + rng.gamma(2, 3, size=(rows, features))
    return Table(X, tuple(f"f{j}" for j in range(features)))


@pytest.mark.parametrize("over_time", ["none", None])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("features", [1, 5])
def test_the_verdict_of_the_gate_stays(
    change: str, features: int, over_time: str | None, tmp_path: Path
) -> None:
    table = telemetry(features=features)
    before = assess(table, tmp_path, over_time=over_time)
    after = assess(CHANGES[change](table), tmp_path, over_time=over_time)
    assert failed(after) == failed(before) == set()
    if over_time is None and change == "rows twice":
        return  # the row before a row is its copy: features over time are others
    assert after.metrics["planted_auroc"] == pytest.approx(
        before.metrics["planted_auroc"], abs=0.05
    )


def test_nine_constant_columns_beside_one_hide_no_anomaly(tmp_path: Path) -> None:
    table = telemetry(features=1)
    dead = np.column_stack([table.X, np.tile(np.arange(9.0), (len(table), 1))])
    wide = Table(dead, (*table.names, *(f"k{j}" for j in range(9))))
    assert failed(assess(wide, tmp_path)) == failed(assess(table, tmp_path)) == set()


@pytest.mark.parametrize("change", [scale, add_dead_columns, reorder])
def test_the_forest_of_other_units_order_and_dead_columns_scores_the_same(
    change: Change, labelled_table: Path
) -> None:
    table = read_labelled(labelled_table).train.tail(1500)
    np.testing.assert_array_equal(_scores(table), _scores(change(table)))


@pytest.mark.parametrize("change", [scale, reorder])
def test_so_does_a_forest_whose_trees_see_some_of_the_columns(change: Change) -> None:
    table = telemetry(rows=600, features=7)
    scores = _scores(table, max_features=0.5)
    np.testing.assert_array_equal(scores, _scores(change(table), max_features=0.5))


def _scores(rows: Table, max_features: float = 1.0) -> Floats:
    forest = fit_part(
        rows.X,
        trees=10,
        max_samples=256,
        max_features=max_features,
        seed=0,
        names=rows.names,
    )
    compiled = CompiledForest.compile(forest).score(rows.X)
    np.testing.assert_allclose(compiled, -forest.score_samples(rows.X), atol=1e-12)
    return compiled


def test_rows_that_are_all_there_twice_are_trained_on_once(tmp_path: Path) -> None:
    table = telemetry()
    once, twice, apart = (
        load(rows, tmp_path)
        for rows in (table, duplicate(table), table.take(np.tile(np.arange(len(table)), 2)))
    )
    np.testing.assert_array_equal(once.fit.X, twice.fit.X)
    np.testing.assert_array_equal(once.held_out.X, apart.held_out.X)


def test_a_few_values_are_no_repetition(tmp_path: Path) -> None:
    X = np.repeat(np.arange(8.0), 250)[:, None] * [1, 2]
    assert len(load(Table(X, ("a", "b")), tmp_path).fit) == 1600


def test_a_table_that_is_sorted_by_class_is_told_and_passes_shuffled(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    centers = np.repeat(np.arange(10) * 20.0, 200)
    table = Table(centers[:, None] + rng.normal(size=(2000, 4)), tuple("abcd"))
    verdict = assess(table, tmp_path).verdict
    assert not verdict.passed
    assert "the latest rows, which are held out, look unlike the rest" in verdict.reason
    assert "train with --shuffled" in verdict.reason
    assert "alert_rate" not in failed(assess(table, tmp_path, shuffled=True))


def test_a_retraining_of_a_shuffled_table_is_shuffled() -> None:
    kept = JobSpec(data="t.csv", shuffled=True).kept()
    assert JobSpec.of_bundle(kept, trigger="drift").shuffled
    assert not JobSpec.of_bundle({"data": "t.csv"}).shuffled


def test_a_wide_table_does_not_fail_for_its_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = Table(rng.normal(size=(9000, 1000)), tuple(f"f{j}" for j in range(1000)))
    data = load(table, tmp_path)
    model, _ = train(data, TrainSettings(n_estimators=5))
    size = model.reference.samples.nbytes + model.reference.correlation.nbytes
    assert 40 * 2**20 < size < 50 * 2**20


def test_a_small_table_that_has_passed_is_fitted_on_all_rows(tmp_path: Path) -> None:
    data = load(telemetry(rows=400), tmp_path)
    model, setup = train(data)
    whole = refit(setup, None)
    assert (len(setup.data.fit), whole.rows) == (320, 400)
    assert agreement_on_held_out(model, whole.bundle, setup) > 0.5
    assert whole.bundle.info["rows"] == 400
    assert is_refitted(setup)
    assert not is_refitted(replace(setup, settings=TrainSettings(refit="never")))
    assert not is_refitted(replace(setup, settings=TrainSettings(shard_rows=100)))


def test_features_that_a_forest_learns_nothing_from_are_warned_of_by_name() -> None:
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=500), np.full(500, 7.0), 5e9 + rng.normal(size=500)])
    warnings = feature_warnings(Table(X, ("good", "still", "far")))
    assert [warning.split()[1] for warning in warnings] == ["'still'", "'far'"]
    assert "subtract an offset" in warnings[1]


def test_dead_columns_are_between_the_others() -> None:
    names = add_dead_columns(telemetry(features=2)).names
    assert names == ("dead f0", "f0", "dead f1", "f1")
