"""The plots of a training run: scores against the threshold, drift floors, and with labels precision-recall and ROC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from train.model.bundle import ModelBundle
from train.table.table import Table

MAX_FLOOR_BARS = 40  # bars of the floors; more cannot be read
BINS = 60


def draw_plots(model: ModelBundle, held_out: Table, labelled: Table) -> Mapping[str, Figure]:
    """Figures by file name. `held_out` are the rows that the gate looked at; of `labelled` rows the curves are
    drawn where both classes occur."""
    made = {"scores.png": _scores(model, held_out), "drift-floors.png": _floors(model)}
    if (labels := labelled.mixed_labels) is not None:
        scores = model.forest.score(labelled.X)
        made |= {
            "precision-recall.png": _precision_recall(scores, labels, model.threshold.value),
            "roc.png": _roc(scores, labels),
        }
    return made


def _axes(title: str, x: str, y: str, height: float = 4.0) -> tuple[Figure, Any]:
    figure = Figure(
        figsize=(7.0, height), layout="constrained"
    )  # without pyplot: nothing global, nothing to close
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.grid(alpha=0.25)
    return figure, axes


def _scores(model: ModelBundle, held_out: Table) -> Figure:
    figure, axes = _axes("Anomaly scores of the held-out rows", "anomaly score", "rows")
    scores, limit = model.forest.score(held_out.X), model.threshold.value
    edges = np.histogram_bin_edges(np.append(scores, limit), BINS)
    kinds = [(scores, "rows")]
    if held_out.labels is not None:
        kinds = [
            (scores[held_out.labels == 0], "normal"),
            (scores[held_out.labels == 1], "anomaly"),
        ]
    for values, name in kinds:
        axes.hist(values, edges, alpha=0.7, label=f"{name} ({len(values)})")
    axes.axvline(
        limit,
        color="black",
        linestyle="--",
        label=f"threshold {limit:.3f}: {np.mean(scores > limit):.2%} alert",
    )
    axes.set_yscale("symlog")
    axes.legend()
    return figure


def _floors(model: ModelBundle) -> Figure:
    ref = model.reference
    order = np.argsort(-ref.floors)[:MAX_FLOOR_BARS]
    figure, axes = _axes(
        f"Drift floors of windows of {ref.window_rows} rows",
        "Kolmogorov-Smirnov distance",
        "",
        1.5 + 0.22 * len(order),
    )
    at = np.arange(len(order))
    axes.barh(at, ref.floors[order], label="ordinary together with others up to here")
    axes.plot(
        ref.single_feature_floors[order], at, "k|", markersize=10, label="drift by itself above"
    )
    axes.set_yticks(at, [model.names[i] for i in order], parse_math=False)  # a name may hold a $
    axes.invert_yaxis()
    axes.legend()
    return figure


def _precision_recall(
    scores: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], limit: float
) -> Figure:
    precision, recall, _ = precision_recall_curve(labels, scores)
    figure, axes = _axes(
        f"Precision and recall: area {auc(recall, precision):.3f}", "recall", "precision"
    )
    axes.plot(recall, precision)
    alerts = scores > limit
    hits = float((alerts & (labels == 1)).sum())
    axes.plot(
        hits / labels.sum(), hits / max(alerts.sum(), 1), "ko", label=f"threshold {limit:.3f}"
    )
    axes.axhline(float(np.mean(labels)), color="grey", linestyle=":", label="chance")
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend()
    return figure


def _roc(scores: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Figure:
    false, true, _ = roc_curve(labels, scores)
    figure, axes = _axes(
        f"ROC: area {auc(false, true):.3f}", "false positive rate", "true positive rate"
    )
    axes.plot(false, true)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":", label="chance")
    axes.legend()
    return figure
