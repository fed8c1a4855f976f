"""Plots of a training run: scores against the threshold, drift floors, and with labels
precision-recall and ROC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from train.model.bundle import ModelBundle
from train.model.reference import Reference
from train.table.table import Labels, Table
from vigil.arrays import Floats, Positions

MAX_FLOOR_BARS = 40  # more cannot be read
_BINS = 60
_WIDTH = 7.0  # inches
_HEIGHT = 4.0
_BAR_HEIGHT = 0.22


def draw_plots(
    model: ModelBundle,
    held_out: Table,
    labelled: Table,
) -> Mapping[str, Figure]:
    """Return figures by file name.

    `held_out` are the rows that the gate looked at; of `labelled` rows the curves are drawn where
    both classes occur.
    """
    plots = {
        "scores.png": _plot_scores(model, held_out),
        "drift-floors.png": _plot_floors(model),
    }
    labels = labelled.mixed_labels
    if labels is not None:
        scores = model.forest.score(labelled.X)
        threshold = model.threshold.value
        plots["precision-recall.png"] = _plot_precision_recall(scores, labels, threshold)
        plots["roc.png"] = _plot_roc(scores, labels)
    return plots


def _axes(
    title: str,
    x: str,
    y: str,
    height: float = _HEIGHT,
) -> tuple[Figure, Any]:
    # Without pyplot: nothing global, nothing to close.
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set(
        title=title,
        xlabel=x,
        ylabel=y,
    )
    axes.grid(alpha=0.25)
    return figure, axes


def _plot_scores(model: ModelBundle, held_out: Table) -> Figure:
    figure, axes = _axes("Anomaly scores of the held-out rows", "anomaly score", "rows")
    scores = model.forest.score(held_out.X)
    threshold = model.threshold.value
    edges = np.histogram_bin_edges(np.append(scores, threshold), _BINS)
    for name, values in _by_label(scores, held_out.labels).items():
        axes.hist(
            values,
            edges,
            alpha=0.7,
            label=f"{name} ({len(values)})",
        )
    alert_rate = np.mean(scores > threshold)
    label = f"threshold {threshold:.3f}: {alert_rate:.2%} alert"
    axes.axvline(
        threshold,
        color="black",
        linestyle="--",
        label=label,
    )
    axes.set_yscale("symlog")
    axes.legend()
    return figure


def _by_label(scores: Floats, labels: Labels | None) -> dict[str, Floats]:
    if labels is None:
        return {"rows": scores}
    return {"normal": scores[labels == 0], "anomaly": scores[labels == 1]}


def _plot_floors(model: ModelBundle) -> Figure:
    reference = model.reference
    order = np.argsort(-reference.floors)[:MAX_FLOOR_BARS]
    title = f"Drift floors of windows of {reference.window_rows} rows"
    height = 1.5 + _BAR_HEIGHT * len(order)
    figure, axes = _axes(title, "Kolmogorov-Smirnov distance", "", height)
    at = np.arange(len(order))
    _draw_floors(axes, at, reference, order)
    names = [model.names[i] for i in order]
    axes.set_yticks(at, names, parse_math=False)  # a name may hold a $
    axes.invert_yaxis()
    axes.legend()
    return figure


def _draw_floors(
    axes: Axes,
    at: Positions,
    reference: Reference,
    order: Positions,
) -> None:
    """Bars at the floors of features, and marks where one drifts by itself."""
    together = "ordinary together with others up to here"
    axes.barh(at, reference.floors[order], label=together)
    single = reference.single_feature_floors[order]
    axes.plot(
        single,
        at,
        "k|",
        markersize=10,
        label="drift by itself above",
    )


def _plot_precision_recall(
    scores: Floats,
    labels: Labels,
    threshold: float,
) -> Figure:
    precision, recall, _ = precision_recall_curve(labels, scores)
    title = f"Precision and recall: area {auc(recall, precision):.3f}"
    figure, axes = _axes(title, "recall", "precision")
    axes.plot(recall, precision)
    point = _recall_and_precision(scores > threshold, labels)
    axes.plot(*point, "ko", label=f"threshold {threshold:.3f}")
    axes.axhline(
        float(np.mean(labels)),
        color="grey",
        linestyle=":",
        label="chance",
    )
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend()
    return figure


def _recall_and_precision(alerts: Any, labels: Labels) -> tuple[float, float]:
    hits = float((alerts & (labels == 1)).sum())
    return hits / labels.sum(), hits / max(alerts.sum(), 1)


def _plot_roc(scores: Floats, labels: Labels) -> Figure:
    false, true, _ = roc_curve(labels, scores)
    title = f"ROC: area {auc(false, true):.3f}"
    figure, axes = _axes(title, "false positive rate", "true positive rate")
    axes.plot(false, true)
    axes.plot(
        [0, 1],
        [0, 1],
        color="grey",
        linestyle=":",
        label="chance",
    )
    axes.legend()
    return figure
