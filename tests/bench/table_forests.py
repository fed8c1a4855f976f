"""Forests of a table, as `vigil train` and as scikit-learn fit them, and how well they rank it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

from train.model.fit import fit_part, merge_forests
from train.model.forest import CompiledForest
from train.settings import TrainSettings
from train.table.dataset import read_table
from train.table.table import Table
from vigil.arrays import Array, Floats


def merged_scores(
    X: Floats,
    settings: TrainSettings,
    seed: int,
    workers: int,
) -> Floats:
    """Return the scores that a Ray Train run gives: same shards, same parts, same merge.

    Such a run takes seconds more to start.
    """
    order = np.random.default_rng(seed).permutation(len(X))
    parts: list[IsolationForest] = []
    for rank in range(workers):
        trees = len(range(rank, settings.n_estimators, workers))
        own = settings.model_copy(update={"n_estimators": trees})
        parts.append(vigil_part(X[order[rank::workers]], own, seed + rank))
    return CompiledForest.compile(merge_forests(parts)).score(X, threads=2)


def vigil_part(X: Floats, settings: TrainSettings, seed: int) -> IsolationForest:
    """Return the forest that one worker of Vigil fits to these rows."""
    return fit_part(
        X.astype(np.float32),
        trees=settings.n_estimators,
        max_samples=settings.max_samples,
        max_features=settings.max_features,
        seed=seed,
    )


def plain_scores(X: Floats, settings: TrainSettings, seed: int) -> Floats:
    """Return the scores of scikit-learn's forest with the same parameters."""
    return -sklearn_forest(X, settings, seed).score_samples(X)


def sklearn_forest(X: Floats, settings: TrainSettings, seed: int) -> Any:
    """Return scikit-learn's forest with the same parameters."""
    estimator: Any = IsolationForest
    return estimator(
        n_estimators=settings.n_estimators,
        max_samples=settings.max_samples,
        max_features=settings.max_features,
        random_state=seed,
    ).fit(X)


def label_figures(table: Table, scores: Floats) -> dict[str, float]:
    """Return how well the scores [n] rank the labelled rows of a table."""
    assert table.labels is not None
    return {
        "auroc": float(roc_auc_score(table.labels, scores)),
        "average_precision": float(average_precision_score(table.labels, scores)),
    }


def read_archived(
    train: Floats,
    test: Floats,
    labels: Array,
    *,
    over_time: str | None,
) -> tuple[Table, Table]:
    """Return both parts of an archive of rows in the order of time, as tables are read."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "rows.npz"
        np.savez(
            file,
            train=train,
            test=test,
            label=labels,
        )
        table = read_table(file, over_time=over_time)
    assert table.test is not None
    return table.train, table.test
