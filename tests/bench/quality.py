"""`make bench ARGS=quality`: a distributed fit beside a plain one, and rows in context.

Each part is a section of docs/quality.md, and can be measured alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.adbench import SEEDS as ADBENCH_SEEDS
from tests.bench.adbench import adbench_ratios, adbench_rows
from tests.bench.context_quality import (
    CHOSEN_ON,
    best_of,
    compare_detectors,
    compare_transforms,
    context_ratios,
    with_means,
)
from tests.bench.labelled import folder
from tests.bench.report import DOCS, Ratio, markdown, mean_and_spread, measured, write_section
from tests.bench.table_forests import label_figures, merged_scores, plain_scores
from train.connect import connected
from train.model.fit import fit
from train.model.forest import CompiledForest
from train.settings import TrainSettings
from train.table.dataset import read_table
from train.table.table import Table
from vigil.arrays import Floats
from vigil.terminal import say

Found = dict[str, Floats]  # by metric, one figure a seed
Rows = list[dict[str, Any]]
SEEDS = (0, 10, 20, 30, 40)  # worker k of a fit has the seed + k: no two fits share one
WITHIN = 0.02
WORKERS = 2
PATH = DOCS.with_name("quality.md")


def quality() -> dict[str, Rows]:
    """The tables of docs/quality.md."""
    return merged_part() | context_part() | adbench_part()


def merged_part() -> dict[str, Rows]:
    """The tables on distributed fits, and their ratios."""
    rows = list(against_plain())
    worst = max(abs(row["difference"]) for row in rows)
    ratio = Ratio(
        "largest difference of a table's AUROC to the plain fit",
        worst,
        WITHIN,
        at_least=False,
        unit="",
    )
    return {"merged ratios": [ratio.row()], "distributed": rows}


def context_part() -> dict[str, Rows]:
    """The tables on rows in context, and their ratios."""
    candidates = compare_transforms()
    rows = compare_detectors()
    return {
        "context ratios": [ratio.row() for ratio in context_ratios(rows)],
        "candidates": candidates,
        "machines": with_means(rows),
    }


def adbench_part() -> dict[str, Rows]:
    """The tables of ADBench beside scikit-learn, and their ratios; none where they are absent."""
    rows = adbench_rows()
    if not rows:
        return {}
    return {
        "adbench ratios": [ratio.row() for ratio in adbench_ratios(rows)],
        "adbench": rows,
    }


def against_plain() -> Iterator[dict[str, Any]]:
    """Each ADBench table: fitted in parts that are merged, and by scikit-learn alone.

    The parts are fitted on random shards of its rows.
    """
    settings = TrainSettings(workers=WORKERS)
    files = sorted(
        (folder() / "adbench").glob("*.npz"), key=lambda file: int(file.stem.split("_")[0])
    )
    with connected(None), tempfile.TemporaryDirectory() as storage:
        for file in files:
            table = read_table(file).train
            alone = [plain_scores(table.X, settings, seed) for seed in SEEDS]
            scores = [merged_scores(table.X, settings, seed, WORKERS) for seed in SEEDS]
            plain = _found([label_figures(table, one) for one in alone])
            merged = _found([label_figures(table, one) for one in scores])
            trained = fit(table.X, settings.model_copy(update={"seed": SEEDS[0]}), Path(storage))
            same = np.array_equal(
                CompiledForest.compile(trained).score(table.X, threads=2), scores[0]
            )
            yield {
                **_beside(file.stem.split("_", 1)[1], table, plain, merged),
                "Ray Train: same scores": "yes" if same else "NO",
            }
            say(
                f"{file.stem}: plain {plain['auroc'].mean():.4f}, "
                f"distributed {merged['auroc'].mean():.4f}"
            )


def _beside(name: str, table: Table, plain: Found, merged: Found) -> dict[str, Any]:
    assert table.labels is not None
    difference = merged["auroc"].mean() - plain["auroc"].mean()
    return {
        "table": name,
        "rows": f"{len(table):,}",
        "features": len(table.names),
        "anomalies": f"{int(table.labels.sum()):,}",
        "plain AUROC": mean_and_spread(plain["auroc"]),
        "distributed AUROC": mean_and_spread(merged["auroc"]),
        "difference": round(difference, 4),
        "bound": f"within {WITHIN}",
        "met": "yes" if abs(difference) <= WITHIN else "NO",
        "plain average precision": mean_and_spread(plain["average_precision"]),
        "distributed average precision": mean_and_spread(merged["average_precision"]),
    }


def _found(runs: Sequence[dict[str, float]]) -> Found:
    return {name: np.array([run.get(name, np.nan) for run in runs]) for name in runs[0]}


def write(found: dict[str, Rows]) -> None:
    """Write the sections of what was found; others stay."""
    if "distributed" in found:
        write_section(PATH, MERGED_TITLE, _merged_section(found))
    if "machines" in found:
        write_section(PATH, CONTEXT_TITLE, _context_section(found))
    if "adbench" in found:
        write_section(PATH, ADBENCH_TITLE, _adbench_section(found))


def _merged_section(found: dict[str, Rows]) -> str:
    return MERGED.format(
        measured=measured("quality"),
        seeds=len(SEEDS),
        workers=WORKERS,
        ratios=markdown(found["merged ratios"]),
        distributed=markdown(found["distributed"]),
    )


def _adbench_section(found: dict[str, Rows]) -> str:
    return ADBENCH.format(
        measured=measured("quality"),
        seeds=len(ADBENCH_SEEDS),
        tables=len(found["adbench"]),
        ratios=markdown(found["adbench ratios"]),
        adbench=markdown(found["adbench"]),
    )


def _context_section(found: dict[str, Rows]) -> str:
    return CONTEXT.format(
        measured=measured("quality"),
        best=best_of(found["candidates"]),
        chosen=", ".join(CHOSEN_ON),
        ratios=markdown(found["context ratios"]),
        candidates=markdown(found["candidates"]),
        machines=markdown(found["machines"]),
    )


MERGED_TITLE = "A distributed fit beside a plain one"
MERGED = """{measured}

{ratios}

Ten tables of ADBench, fitted on all rows and judged on them, as is usual for tables without a
training part. *Plain* is scikit-learn's IsolationForest with the same parameters. *Distributed*
is what Vigil does: {workers} workers fit half of the trees each on a random shard, and the parts
are merged. Forests of 100 trees of 256 rows, {seeds} seeds each: a figure is their mean, after ±
their standard deviation. One seed of each table went through Ray Train; as its scores were those
of the same parts fitted in this process, bit by bit ("Ray Train: same scores"), the other seeds
were fitted here. These tables are in no order of time: features over time change nothing in them.

{distributed}
"""
ADBENCH_TITLE = "Tables in no order"
ADBENCH = """{measured}

{ratios}

{tables} tables of ADBench (Han et al., 2022; adbench/datasets/Classical of its repository, named by
VIGIL_ADBENCH), fitted on all rows and judged on them: `vigil train` with its defaults beside
scikit-learn's IsolationForest, {seeds} seeds each. Rows are in no order of time, so the default
leaves them as they are: *default features* are those over time, of the archive and of its first
rows as a CSV file. Tables of fewer than 256 rows, which `vigil train` refuses, are left out. Vigil
fits shuffled rows, of 2,000 on in two parts that are merged, so figures differ by chance. In one
part, with the same seed and order of rows, scores are those of scikit-learn: *scores differ by* is
the largest difference of 5,000 rows. Columns of one value are left out of the fit, so where there
are some other trees are drawn.

*Said to be in order*: what the default finds where the same rows are the array `train` of an
archive, which says that they are in the order of time (one seed; at most 20,000 rows). Some tables
lose by it: their rows are in no such order, which `--over-time none` says. Others are sorted by
class, so that neighbours tell the class: what they gain means nothing.

{adbench}
"""
CONTEXT_TITLE = "Rows in context"
CONTEXT = """{measured}

{ratios}

Labelled telemetry: asd (8 nodes), smd (4 machines), and the series of the Numenta benchmark that
have a labelled window after their first fifth. A detector learns from the unlabelled training rows
of one machine (of a series from its first fifth) and is judged on the rows that follow. The rows
of *Vigil, default context* have the features that `vigil train` gives them by default.

*VUS-PR* is the volume under precision and recall over buffers around anomalies, up to the period
of the first feature, as in TSB-AD's benchmark; it is computed by `tests/bench/vus.py`, which gives
the figures of TSB-AD 1.5. *PCA* is that of TSB-AD and PyOD with TSB-AD's parameter; PCA and robust
z know no chance. Of forests a figure is the mean of several seeds.

*Events*: a row alerts above the score that 1 % of the training rows exceed, and incidents are
opened by the settings of a platform that nobody has changed. An event is found when an incident
opens in it. False events are those a machine and week.

How the default was chosen: it is one for all machines. The candidates were compared on half of the
machines ({chosen}; 2 seeds) by
VUS-PR plus average precision (AUC-PR): the best of them is `{best}`. The other half, marked
*confirming* below, took no part in that; but the candidates were listed after a look at all twelve
machines, so what is confirmed is the choice, not the list. Series of the Numenta benchmark took no
part at all.

{candidates}

{machines}
"""
