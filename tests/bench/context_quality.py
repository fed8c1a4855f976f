"""Rows in context beside rows alone: how a transform was chosen, and what each detector finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np

from tests.bench.detector_figures import EVENTS, RANKING, Figures, measure, ranking_figures
from tests.bench.detectors import (
    Detector,
    plain_forest,
    robust_z,
    vigil_forest,
    weighted_pca,
)
from tests.bench.labelled import LabelledTelemetry, machine_rows, machines, series
from tests.bench.report import Ratio
from vigil.terminal import say

SEEDS = (0, 10, 20)
POINTWISE = "Vigil, rows alone"
DEFAULT = "Vigil, default context"
PCA_NAME = "PCA"
_ONE_SEED = (0,)
# Each with the seeds that its chance takes.
DETECTORS: dict[str, tuple[Detector, tuple[int, ...]]] = {
    POINTWISE: (vigil_forest(""), SEEDS),
    DEFAULT: (vigil_forest(None), SEEDS),
    "scikit-learn's forest": (plain_forest, SEEDS),
    PCA_NAME: (weighted_pca, _ONE_SEED),
    "robust z": (robust_z, _ONE_SEED),
}
# One of them is chosen by the machines below, and confirmed by the others.
TRANSFORMS = (
    "mean:10,sd:10",
    "zscore:30",
    "residual",
    "rotate",
    "diff:1,sd:10",
    "diff:1,sd:10,residual",
    "sd:5,sd:20,residual",
    "sd:5,sd:20,residual,top:3",
    "sd:5,sd:20,residual,top:8",
    "diff:1,sd:10,residual,top:8",
)
CHOSEN_ON = (
    "asd/omi-1",
    "asd/omi-2",
    "asd/omi-3",
    "asd/omi-4",
    "smd/machine-1-6",
    "smd/machine-2-1",
)
_MIN_VUS_SMD = 0.36
_MIN_GAIN_ASD = 0.10
_MIN_WINS_ASD = 7
_GAINED = ("VUS-PR", "AUC-PR")
Rows = list[dict[str, Any]]


def compare_transforms(
    transforms: Sequence[str] = TRANSFORMS,
    names: Sequence[str] = CHOSEN_ON,
    seeds: Sequence[int] = SEEDS[:2],
) -> Rows:
    """Return what each transform finds on these machines: a mean over them."""
    telemetry = [machine_rows(name) for name in names]
    rows: Rows = []
    for transform in ("", *transforms):
        detector = vigil_forest(transform)
        found = [_ranking(one, detector, seeds) for one in telemetry]
        rows.append({"transform": transform or "(none)", **_rounded(_means(found))})
        say(f"{rows[-1]}")
    return rows


def _ranking(
    telemetry: LabelledTelemetry,
    detector: Detector,
    seeds: Sequence[int],
) -> Figures:
    runs = (detector(telemetry, seed) for seed in seeds)
    return _means([ranking_figures(telemetry, run.test) for run in runs])


def best_of(candidates: Rows) -> str:
    """Return the transform with the largest sum of VUS-PR and average precision."""
    best = max(candidates, key=lambda row: row["VUS-PR"] + row["AUC-PR"])
    return str(best["transform"])


def compare_detectors() -> Rows:
    """Return a row for each machine or series and detector, and for the means of each set."""
    rows: Rows = []
    for telemetry in chain(machines(), series()):
        rows += _of_one(telemetry)
    return rows


def _of_one(telemetry: LabelledTelemetry) -> Iterator[dict[str, Any]]:
    use = "choosing" if telemetry.name in CHOSEN_ON else "confirming"
    for name, (detector, seeds) in DETECTORS.items():
        figures = measure(telemetry, detector, seeds)
        row = {
            "data": telemetry.name,
            "for": use,
            "detector": name,
            **_rounded(figures),
        }
        say(f"{row}")
        yield row


def with_means(rows: Rows) -> Rows:
    """Return the rows, and after them the means of each set and detector."""
    means: Rows = []
    for kind in ("asd", "smd", "nab"):
        for name in DETECTORS:
            some = _select(rows, kind, name)
            if some:
                title = {"data": f"**mean of {kind}**", "for": "", "detector": name}
                means.append({**title, **_rounded(_means(some))})
    return [*rows, *means]


def _select(
    rows: Rows,
    kind: str,
    detector: str,
    use: str = "",
) -> Rows:
    """The rows of one set and detector; with `use` only those for choosing, or confirming."""
    return [
        row
        for row in rows
        if row["data"].startswith(kind) and row["detector"] == detector and use in row["for"]
    ]


def _means(rows: Sequence[dict[str, Any]]) -> Figures:
    names = [name for name in (*RANKING, *EVENTS) if name in rows[0]]
    return {name: _mean_of(rows, name) for name in names}


def _mean_of(rows: Sequence[dict[str, Any]], name: str) -> float:
    values = [row[name] for row in rows]
    present = [value for value in values if value == value]
    return float(np.mean(present)) if present else np.nan


def _rounded(figures: Figures) -> Figures:
    return {name: round(value, 3) for name, value in figures.items()}


def context_ratios(rows: Rows) -> list[Ratio]:
    """Return what must hold of the default context."""
    vus = {name: _mean_of(_select(rows, "smd", name), "VUS-PR") for name in (DEFAULT, PCA_NAME)}
    ratios = [
        Ratio("VUS-PR of the default context, mean of smd", vus[DEFAULT], _MIN_VUS_SMD, unit=""),
        Ratio("VUS-PR above that of PCA, mean of smd", vus[DEFAULT] - vus[PCA_NAME], 0, unit=""),
    ]
    for figure in _GAINED:
        ratios += _asd_ratios(rows, figure)
        for use in ("choosing", "confirming"):
            gained = _gained(rows, "", figure, use=use)
            what = f"{figure} gained by the default context, mean of {len(gained)} machines ({use})"
            ratios.append(Ratio(what, float(np.mean(gained)), 0, unit=""))
    return ratios


def _asd_ratios(rows: Rows, figure: str) -> Iterator[Ratio]:
    gained = _gained(rows, "asd", figure)
    wins = sum(gain > 0 for gain in gained)
    yield Ratio(
        f"{figure} gained by the default context, mean of asd",
        float(np.mean(gained)),
        _MIN_GAIN_ASD,
        unit="",
    )
    yield Ratio(
        f"nodes of asd on which {figure} rises, of {len(gained)}", wins, _MIN_WINS_ASD, unit=""
    )


def _gained(
    rows: Rows,
    kind: str,
    figure: str,
    *,
    use: str = "",
) -> list[float]:
    """By how much a figure is higher than with rows alone, for each machine of a set."""
    alone = _machines(_select(rows, kind, POINTWISE, use))
    timed = _machines(_select(rows, kind, DEFAULT, use))
    pairs = zip(alone, timed, strict=True)
    return [after[figure] - before[figure] for before, after in pairs]


def _machines(rows: Rows) -> Rows:
    return [row for row in rows if not row["data"].startswith("nab")]
