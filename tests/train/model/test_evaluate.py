"""train/model/evaluate.py: metrics with and without labels, and the planting of anomalies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.tables import SMALL_TABLES, read_labelled
from train.model.distances import free_sides, robust_spread
from train.model.evaluate import PLANTED_SHIFT, evaluate, plant_anomalies
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.model.threshold import to_alert_rate
from train.table.table import Table
from vigil.arrays import Floats

NAMES = tuple("abcd")


@pytest.fixture(scope="module")
def rows() -> Floats:
    return np.random.default_rng(0).normal(size=(300, 4))


@pytest.fixture(scope="module")
def forest(rows: Floats) -> CompiledForest:
    return CompiledForest.compile(
        fit_part(rows, trees=50, max_samples=64, max_features=1.0, seed=0)
    )


@pytest.mark.parametrize(("d", "moved"), [(1, 1), (4, 1), (8, 2), (19, 5)])
def test_planting_moves_a_quarter_of_the_features_by_six_spreads(d: int, moved: int) -> None:
    still, scale = np.zeros((30, d)), np.arange(1.0, d + 1)
    planted = plant_anomalies(still, scale, most=20)
    assert planted.shape == (20, d)
    assert ((planted != 0).sum(axis=1) == moved).all()
    assert np.isin(np.abs(planted) / scale, (0, PLANTED_SHIFT)).all()
    assert planted.min() < 0 < planted.max()
    assert not still.any()


def test_nothing_is_planted_beyond_a_bound_at_which_many_rows_stand() -> None:
    rng = np.random.default_rng(0)
    free = rng.normal(size=400)
    counts = np.maximum(rng.normal(size=400), 0)
    rows = np.column_stack([free, counts, -counts, np.float64(counts > 0)])
    sides = free_sides(rows)
    assert sides.tolist() == [0, 1, -1, 0]
    planted = plant_anomalies(np.zeros((400, 4)), np.ones(4), sides=sides)
    moved = [set(np.unique(column)) - {0} for column in planted.T]
    assert moved == [{-PLANTED_SHIFT, PLANTED_SHIFT}, {PLANTED_SHIFT}, {-PLANTED_SHIFT}, moved[0]]


@pytest.mark.parametrize(
    "labels",
    [None, np.zeros(300, np.int64), np.ones(300, np.int64)],
    ids=["none", "normal", "anomalous"],
)
def test_without_labels_of_both_classes(
    forest: CompiledForest, rows: Floats, labels: NDArray[np.int64] | None
) -> None:
    threshold = float(np.sort(forest.score(rows))[-4])
    metrics = evaluate(forest, threshold, Table(rows, NAMES, labels), np.ones(4))
    assert metrics.keys() == {"rows", "alert_rate", "planted_auroc", "planted_recall"}
    assert metrics["rows"] == 300
    assert metrics["alert_rate"] == pytest.approx(3 / 300)
    assert metrics["planted_auroc"] > 0.85


def test_planted_anomalies_of_no_size_are_not_told_apart(
    forest: CompiledForest, rows: Floats
) -> None:
    assert evaluate(forest, 0.5, Table(rows, NAMES), np.zeros(4))["planted_auroc"] == pytest.approx(
        0.5
    )


def test_with_labels(forest: CompiledForest, rows: Floats) -> None:
    scores = forest.score(rows)
    order = np.argsort(-scores)
    labels = np.zeros(300, np.int64)
    labels[order[[0, 1, 5, 200]]] = 1
    metrics = evaluate(forest, float(scores[order[5]]), Table(rows, NAMES, labels), np.ones(4))
    assert metrics["precision"] == pytest.approx(2 / 5)
    assert metrics["recall"] == pytest.approx(2 / 4)
    assert metrics["auroc"] == pytest.approx(roc_auc_score(labels, scores))
    assert metrics["average_precision"] == pytest.approx(average_precision_score(labels, scores))


def test_no_alert_has_no_precision(forest: CompiledForest, rows: Floats) -> None:
    labels = np.arange(300) % 2
    metrics = evaluate(forest, 1.0, Table(rows, NAMES, labels), np.ones(4))
    assert (metrics["alert_rate"], metrics["precision"], metrics["recall"]) == (0, 0, 0)


@pytest.mark.parametrize("table", SMALL_TABLES, ids=lambda table: table.stem)
def test_a_forest_tells_the_anomalies_of_a_labelled_table(table: Path) -> None:
    rows = read_labelled(table).train
    assert rows.labels is not None
    fitted = fit_part(rows.X, trees=50, max_samples=256, max_features=1.0, seed=0)
    compiled = CompiledForest.compile(fitted)
    limit = to_alert_rate(compiled.score(rows.X), 0.05).value
    metrics = evaluate(compiled, limit, rows, robust_spread(rows.X))
    assert metrics["auroc"] > 0.9
    assert metrics["average_precision"] > 5 * rows.labels.mean()
    assert metrics["alert_rate"] <= 0.05
