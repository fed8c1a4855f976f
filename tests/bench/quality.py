"""`make bench ARGS=quality`: a distributed fit beside a plain one on all rows.

And features over time beside the rows alone.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.bench.report import DOCS, Ratio, machine, markdown
from train.connect import connected
from train.model import threshold
from train.model.evaluate import evaluate
from train.model.fit import fit, fit_part, merge_forests
from train.model.forest import CompiledForest
from train.settings import TrainSettings
from train.table.dataset import read_table
from train.table.table import Table
from vigil.arrays import Floats
from vigil.errors import DataError
from vigil.terminal import say

Found = dict[str, Floats]  # by metric, one figure a seed
SEEDS = (0, 10, 20, 30, 40)  # worker k of a fit has the seed + k: no two fits share one
WITHIN = 0.02
WORKERS = 2
ABOVE = 0.001
# One of them is chosen by the machines below, and confirmed by the others.
TRANSFORMS = (
    "diff:1",
    "mean:10",
    "mean:10,sd:10",
    "mean:60,sd:60",
    "min:10,max:10",
    "diff:1,sd:10",
    "diff:1,mean:10,sd:10",
    "diff:1,mean:30,sd:30",
)
CHOSEN_ON = (
    "asd/omi-1",
    "asd/omi-2",
    "asd/omi-3",
    "asd/omi-4",
    "smd/machine-1-6",
    "smd/machine-2-1",
)
JUDGED = {"auroc": "AUROC", "average_precision": "average precision"}
METRICS = {**JUDGED, "segment_recall": "segments found", "alert_rate": "alerts"}


def folder() -> Path:
    """Where the real tables are; raises DataError where they are not."""
    found = Path(os.environ.get("VIGIL_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not found.is_dir():
        raise DataError(f"set VIGIL_TEST_DATA to the folder of the real tables: {found} is absent")
    return found


def quality() -> dict[str, list[dict[str, Any]]]:
    """The tables of docs/quality.md."""
    candidates = choice(TRANSFORMS, CHOSEN_ON)
    best = str(
        max(candidates, key=lambda row: row["AUROC"] + row["average precision"])["transform"]
    )
    machines = list(over_time(best))
    distributed = list(against_plain())
    return {
        "ratios": ratios(distributed, machines),
        "distributed": distributed,
        "candidates": candidates,
        "machines": machines,
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
            plain = _found([_plain(table, settings, seed) for seed in SEEDS])
            scores = [_in_parts(table.X, settings, seed) for seed in SEEDS]
            merged = _found([_labelled(table, one) for one in scores])
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


def _in_parts(X: Floats, settings: TrainSettings, seed: int) -> Floats:
    """The scores that a Ray Train run gives: same shards, same parts, same merge.

    Such a run takes seconds more to start.
    """
    order, parts = np.random.default_rng(seed).permutation(len(X)), []
    for rank in range(WORKERS):
        trees = len(range(rank, settings.n_estimators, WORKERS))
        shard = X[order[rank::WORKERS]].astype(np.float32)
        parts.append(
            fit_part(
                shard,
                trees=trees,
                max_samples=settings.max_samples,
                max_features=settings.max_features,
                seed=seed + rank,
            )
        )
    return CompiledForest.compile(merge_forests(parts)).score(X, threads=2)


def _plain(table: Table, settings: TrainSettings, seed: int) -> dict[str, float]:
    estimator: Any = IsolationForest
    forest = estimator(
        n_estimators=settings.n_estimators,
        max_samples=settings.max_samples,
        max_features=settings.max_features,
        random_state=seed,
    ).fit(table.X)
    return _labelled(table, -forest.score_samples(table.X))


def _labelled(table: Table, scores: Floats) -> dict[str, float]:
    assert table.labels is not None
    return {
        "auroc": float(roc_auc_score(table.labels, scores)),
        "average_precision": float(average_precision_score(table.labels, scores)),
    }


def _beside(name: str, table: Table, plain: Found, merged: Found) -> dict[str, Any]:
    assert table.labels is not None
    difference = merged["auroc"].mean() - plain["auroc"].mean()
    return {
        "table": name,
        "rows": f"{len(table):,}",
        "features": len(table.names),
        "anomalies": f"{int(table.labels.sum()):,}",
        "plain AUROC": _spread(plain["auroc"]),
        "distributed AUROC": _spread(merged["auroc"]),
        "difference": round(difference, 4),
        "bound": f"within {WITHIN}",
        "met": "yes" if abs(difference) <= WITHIN else "NO",
        "plain average precision": _spread(plain["average_precision"]),
        "distributed average precision": _spread(merged["average_precision"]),
    }


def _spread(values: Floats) -> str:
    return f"{values.mean():.3f} ± {values.std():.3f}"


def _found(runs: Sequence[dict[str, float]]) -> Found:
    return {name: np.array([run.get(name, np.nan) for run in runs]) for name in runs[0]}


def names_of_machines() -> list[str]:
    """The time-ordered tables, as asd/omi-1."""
    return [
        f"{kind}/{file.stem}"
        for kind in ("asd", "smd")
        for file in sorted((folder() / kind).glob("*.npz"))
    ]


def choice(
    transforms: Sequence[str], machines: Sequence[str], seeds: Sequence[int] = SEEDS[:2]
) -> list[dict[str, Any]]:
    """What each transform finds on these machines: a mean over them."""
    rows = []
    for transform in ("", *transforms):
        runs = [
            {name: values.mean() for name, values in watched(one, transform, seeds).items()}
            for one in machines
        ]
        means = {METRICS[name]: round(float(_found(runs)[name].mean()), 3) for name in JUDGED}
        rows.append({"transform": transform or "(none)", **means})
        say(f"{rows[-1]}")
    return rows


def watched(name: str, over_time: str, seeds: Sequence[int] = SEEDS) -> Found:
    """A forest fitted on a machine's training rows, judged by its labelled test rows.

    The test rows follow the training rows.
    """
    settings, found = TrainSettings(), read_table(folder() / f"{name}.npz", over_time=over_time)
    assert found.test is not None
    runs = []
    for seed in seeds:
        forest = CompiledForest.compile(
            fit_part(
                found.train.X,
                trees=settings.n_estimators,
                max_samples=settings.max_samples,
                max_features=settings.max_features,
                seed=seed,
            )
        )
        limit = threshold.to_alert_rate(forest.score(found.train.X), settings.budget).value
        runs.append(evaluate(forest, limit, found.test, np.ones(len(found.train.names))))
    return _found(runs)


def over_time(transform: str) -> Iterator[dict[str, Any]]:
    """Each machine, point by point and with the transform."""
    for name in names_of_machines():
        alone, timed = watched(name, ""), watched(name, transform)
        row: dict[str, Any] = {
            "machine": name,
            "for": "choosing" if name in CHOSEN_ON else "confirming",
        }
        for key, title in METRICS.items():
            before, after = float(np.nanmean(alone[key])), float(np.nanmean(timed[key]))
            row |= {
                f"{title}: rows alone": round(before, 3),
                f"{title}: over time": round(after, 3),
            }
            row |= {f"{title}: difference": round(after - before, 3)} if key in JUDGED else {}
        yield row
        say(f"{row}")


def ratios(
    distributed: list[dict[str, Any]], machines: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What must hold."""
    worst = max(abs(row["difference"]) for row in distributed)
    rows = [
        Ratio(
            "largest difference of a table's AUROC to the plain fit",
            worst,
            WITHIN,
            at_least=False,
            unit="",
        )
    ]
    for part in ("all", "choosing", "confirming"):
        for title in JUDGED.values():
            gained = [
                row[f"{title}: difference"] for row in machines if part in ("all", row["for"])
            ]
            rows.append(
                Ratio(
                    f"{title} gained over time, mean of {len(gained)} machines ({part})",
                    float(np.mean(gained)),
                    ABOVE,
                    unit="",
                )
            )
    return [ratio.row() for ratio in rows]


def means(machines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each set, and one for all machines."""
    rows = []
    for kind in ("asd", "smd", ""):
        some = [row for row in machines if str(row["machine"]).startswith(kind)]
        figures = (
            {
                key: round(float(np.mean([row[key] for row in some])), 3)
                for key in list(machines[0])[2:]
            }
            if some
            else {}
        )
        rows += (
            [{"machine": f"**mean of {len(some)}**", "for": kind or "all", **figures}]
            if some
            else []
        )
    return rows


def page(found: dict[str, list[dict[str, Any]]]) -> str:
    """docs/quality.md."""
    tables = {**found, "machines": [*found["machines"], *means(found["machines"])]}
    at, best = (
        machine(),
        max(found["candidates"], key=lambda row: row["AUROC"] + row["average precision"])[
            "transform"
        ],
    )
    return PAGE.format(
        date=at["date"],
        versions=at["versions"],
        seeds=len(SEEDS),
        workers=WORKERS,
        best=best,
        chosen=", ".join(CHOSEN_ON),
        **{name: markdown(rows) for name, rows in tables.items()},
    )


def write(found: dict[str, list[dict[str, Any]]]) -> None:
    """Write the page."""
    DOCS.with_name("quality.md").write_text(page(found))


PAGE = """# Quality

Measured by `make bench ARGS="quality --write-docs"`, which writes this page. {date}; {versions}.
Forests of 100 trees of 256 rows, {seeds} seeds each: a figure is their mean, after ± their
standard deviation.

{ratios}

## A distributed fit beside a plain one

Ten tables of ADBench, fitted on all rows and judged on them, as is usual for tables without a
training part. *Plain* is scikit-learn's IsolationForest with the same parameters. *Distributed*
is what Vigil does: {workers} workers fit half of the trees each on a random shard, and the parts
are merged. One seed of each table went through Ray Train; as its scores were those of the same
parts fitted in this process, bit by bit ("Ray Train: same scores"), the other seeds were fitted
here.

{distributed}

## Features over time

Labelled server telemetry: asd (8 nodes) and smd (4 machines). A forest is fitted on the
unlabelled training rows of one machine and judged on its test rows; with `--over-time {best}` it
sees the features of the rows before as well.

How the transform was chosen: it is one for all machines of both sets. The candidates were
compared on half of the machines
({chosen}; 2 seeds)
by AUROC plus average precision, and the best of them was then held against the other half, marked
*confirming* below. The candidates themselves were listed after a first look at all twelve
machines, so what is confirmed is the choice, not the list.

{candidates}

An alert is a score above the threshold for an alert rate of 1 % of the training rows. *Segments
found* is the share of the labelled segments with at least one alert in them; *alerts* is the
share of all test rows that alert, anomalous ones among them.

{machines}
"""
