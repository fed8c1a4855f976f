"""Tables of ADBench: `vigil train` with its defaults beside scikit-learn's isolation forest.

Their rows are in no order of time. VIGIL_ADBENCH names the folder of the tables as the project
publishes them (adbench/datasets/Classical, an .npz file each); else it is `adbench` of the real
tables.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tests.bench.labelled import folder
from tests.bench.report import Ratio, mean_and_spread
from tests.bench.table_forests import (
    label_figures,
    merged_scores,
    plain_scores,
    read_archived,
    sklearn_forest,
    vigil_part,
)
from train.model.forest import CompiledForest
from train.settings import TrainSettings
from train.table.dataset import Dataset, read_table
from train.table.table import Table
from vigil.arrays import Floats
from vigil.terminal import say

SEEDS = (0, 10, 20)
_CSV_ROWS = 1000  # of a table, to see how it is read as text
_COMPARED_ROWS = 5000  # whose scores are compared one by one
_MOST_ORDERED_ROWS = 20_000  # of a table that is read as if its order were that of time
_WORST = 0.02
_MEAN = 0.002
Rows = list[dict[str, Any]]


class _Runs(NamedTuple):
    """Figures [seeds] by name."""

    auroc: Floats
    average_precision: Floats


def adbench_rows() -> Rows:
    """Return a row for each table that has enough rows for the defaults."""
    return list(filter(None, map(_compared, adbench_files())))


def adbench_files() -> list[Path]:
    """Return the tables in the order of their numbers; none where the folder is absent."""
    found = Path(os.environ.get("VIGIL_ADBENCH") or folder() / "adbench")
    if not found.is_dir():
        say(
            f"ADBench is left out: {found} is absent, set VIGIL_ADBENCH to the folder of its tables"
        )
        return []
    return sorted(found.glob("*.npz"), key=lambda file: int(file.stem.split("_")[0]))


def _compared(file: Path) -> dict[str, Any] | None:
    settings = TrainSettings()
    table = read_table(file, over_time=None)
    rows = table.train
    if len(rows) < settings.max_samples:
        say(f"{file.stem} is left out: {len(rows)} rows are fewer than max_samples")
        return None
    workers = _workers(len(rows), settings)
    vigil = _runs(rows, lambda seed: merged_scores(rows.X, settings, seed, workers))
    plain = _runs(rows, lambda seed: plain_scores(rows.X, settings, seed))
    found = {
        "table": file.stem.split("_", 1)[1],
        "rows": f"{len(rows):,}",
        "features": len(rows.names),
        "anomalies": f"{int(_labels(rows).sum()):,}",
        "default features": _default_of(table, file),
        **_beside(plain, vigil),
        "one part, same seed: scores differ by": f"{_same_seed_difference(rows.X, settings):.1g}",
        **_as_ordered(rows, settings),
    }
    say(f"{found}")
    return found


def _workers(rows: int, settings: TrainSettings) -> int:
    """How many fit a table of so many rows."""
    shard = max(settings.shard_rows, settings.max_samples)
    return max(1, min(settings.workers, rows // shard))


def _runs(rows: Table, scores_of: Any) -> _Runs:
    figures = [label_figures(rows, scores_of(seed)) for seed in SEEDS]
    by_name = {name: np.array([one[name] for one in figures]) for name in _Runs._fields}
    return _Runs(**by_name)


def _labels(rows: Table) -> Floats:
    assert rows.labels is not None
    return rows.labels.astype(np.float64)


def _default_of(table: Dataset, file: Path) -> str:
    """The features over time that the table gets as it is, and as a CSV file."""
    with tempfile.TemporaryDirectory() as scratch:
        text = Path(scratch) / "rows.csv"
        first = table.train.X[:_CSV_ROWS]
        pd.DataFrame(first, columns=list(table.train.names)).to_csv(text, index=False)
        as_text = read_table(text, over_time=None)
    return ", ".join({each.over_time or "none" for each in (table, as_text)})


def _beside(plain: _Runs, vigil: _Runs) -> dict[str, Any]:
    return {
        "scikit-learn AUROC": mean_and_spread(plain.auroc),
        "Vigil AUROC": mean_and_spread(vigil.auroc),
        "difference": _difference(vigil.auroc, plain.auroc),
        "scikit-learn AUC-PR": mean_and_spread(plain.average_precision),
        "Vigil AUC-PR": mean_and_spread(vigil.average_precision),
        "difference of AUC-PR": _difference(vigil.average_precision, plain.average_precision),
    }


def _difference(ours: Floats, theirs: Floats) -> float:
    return round(float(ours.mean() - theirs.mean()), 4)


def _same_seed_difference(X: Floats, settings: TrainSettings) -> float:
    """The largest difference of a score to scikit-learn's, both fitted to all rows in order."""
    seed = SEEDS[0]
    ours = vigil_part(X, settings, seed)
    theirs = sklearn_forest(X, settings, seed)
    some = X[:_COMPARED_ROWS]
    found = CompiledForest.compile(ours).score(some)
    return float(np.abs(found + theirs.score_samples(some)).max())


def _as_ordered(rows: Table, settings: TrainSettings) -> dict[str, Any]:
    """AUROC and AUC-PR of one seed where the rows are said to be in the order of time."""
    if len(rows) > _MOST_ORDERED_ROWS:
        return {"said to be in order: AUROC": "-", "said to be in order: AUC-PR": "-"}
    made = _made_in_order(rows)
    workers = _workers(len(made), settings)
    figures = label_figures(made, merged_scores(made.X, settings, SEEDS[0], workers))
    return {
        "said to be in order: AUROC": f"{figures['auroc']:.3f}",
        "said to be in order: AUC-PR": f"{figures['average_precision']:.3f}",
    }


def _made_in_order(rows: Table) -> Table:
    """The labelled rows with the features that they get as `train` of an archive."""
    _, test = read_archived(
        rows.X,
        rows.X,
        _labels(rows),
        over_time=None,
    )
    return test


def adbench_ratios(rows: Rows) -> Iterator[Ratio]:
    """Yield what must hold: no table loses."""
    differences = [row["difference"] for row in rows]
    yield Ratio(
        "ADBench: AUROC below scikit-learn's forest, worst table",
        -min(differences),
        _WORST,
        at_least=False,
        unit="",
    )
    yield Ratio(
        "ADBench: AUROC below scikit-learn's forest, mean",
        -float(np.mean(differences)),
        _MEAN,
        at_least=False,
        unit="",
    )
    with_context = sum(row["default features"] != "none" for row in rows)
    yield Ratio(
        "ADBench: tables that get features over time by default",
        with_context,
        0,
        at_least=False,
        unit="",
    )
