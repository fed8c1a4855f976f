"""Search for the parameters of a forest: random search with Ray Tune, under a budget of time.

What is best: with labels the average precision on the held-out rows; without, how well planted anomalies are told (AUROC) times
how far a forest of another seed agrees (rank correlation). The configuration that is there is tried first, so that what is found
is never worse by this measure. The order of the others follows from the seed; how many are tried, from the time.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from sklearn.ensemble import IsolationForest

from train.model.distances import robust_spread
from train.model.evaluate import evaluate, score_agreement
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.progress import Listener
from train.settings import TrainSettings
from train.table.table import Table
from vigil.errors import DataError, VigilError

# Without Tune's files of each trial, its tables, and its handler of Ctrl-C, which ends the search as if its time were up.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")

TREES, SAMPLES, FEATURES = (50, 100, 200, 400), (128, 256, 512, 1024), (0.5, 0.75, 1.0)
TRANSFORMS = ("diff:1", "mean:10,sd:10", "diff:1,mean:10,sd:10")
READ_SHARE = 0.3  # of the time, after which no further transform is read


@dataclass(frozen=True)
class Choice:
    """One configuration."""

    n_estimators: int
    max_samples: int
    max_features: float
    over_time: str = ""

    def settings(self, settings: TrainSettings) -> TrainSettings:
        """`settings` with this configuration."""
        return settings.model_copy(
            update={key: value for key, value in asdict(self).items() if key != "over_time"}
        )


@dataclass(frozen=True)
class TuneTrial:
    """What was tried, and what came of it: `metrics` has the `objective`, and what it is made of."""

    name: str
    params: dict[str, Any]
    metrics: dict[str, float]
    seconds: float


def search(
    load: Callable[[str], tuple[Table, Table]],
    over_time: str,
    transforms: Sequence[str],
    settings: TrainSettings,
    seconds: float,
    storage: Path,
    tell: Listener,
) -> tuple[Choice, tuple[TuneTrial, ...]]:
    """The best configuration that was tried within `seconds`, and all trials. `load` gives the rows to fit on and those held out
    under a transform: `over_time` is what is there, `transforms` are tried too. `storage` holds Tune's files meanwhile.

    Takes no more CPUs than a fit may, and only free ones. Raises VigilError when the time does not suffice for the first trial.
    """
    began = time.monotonic()
    tables = {over_time: load(over_time)}
    for transform in transforms:
        if time.monotonic() - began < READ_SHARE * seconds:
            try:
                tables[transform] = load(transform)
            except DataError as error:  # too few rows have all the rows before them
                tell(f"transform {transform} is not tried: {error.message}")
    choices = order(settings, over_time, {name: len(table) for name, (table, _) in tables.items()})
    left = seconds - (time.monotonic() - began)
    found = _run(choices, tables, settings, left, storage, tell) if left > 0 else {}
    if 0 not in found:
        raise VigilError(
            f"the first trial did not end within {seconds:g} s: give --tune more seconds"
        )
    trials = tuple(
        TuneTrial(f"trial {number}", asdict(choices[number]), metrics, took)
        for number, (metrics, took) in sorted(found.items())
    )
    best = max(found, key=lambda number: (found[number][0]["objective"], -number))
    tell(
        f"tried {len(trials)} configurations: {_text(choices[best])} is best ({trials[0].metrics['objective']:.4f} became "
        f"{found[best][0]['objective']:.4f})"
    )
    return choices[best], trials


def order(settings: TrainSettings, over_time: str, rows: Mapping[str, int]) -> list[Choice]:
    """What is there, then all others in an order of chance; none that needs more rows than a transform leaves."""
    first = Choice(settings.n_estimators, settings.max_samples, settings.max_features, over_time)
    others = [Choice(*one) for one in product(TREES, SAMPLES, FEATURES, rows)]
    others = [one for one in others if one != first and one.max_samples <= rows[one.over_time]]
    return [
        first,
        *(others[i] for i in np.random.default_rng(settings.seed).permutation(len(others))),
    ]


def _run(
    choices: Sequence[Choice],
    tables: Mapping[str, tuple[Table, Table]],
    settings: TrainSettings,
    seconds: float,
    storage: Path,
    tell: Listener,
) -> dict[int, tuple[dict[str, float], float]]:
    """Metrics and seconds of those that were tried in time, by their number."""
    free = int(ray.available_resources().get("CPU", 0) // settings.cpus_per_worker)
    trainable = tune.with_resources(
        tune.with_parameters(_try, choices=choices, tables=tables, seed=settings.seed),
        {"cpu": settings.cpus_per_worker},
    )
    tuner = tune.Tuner(
        trainable,
        param_space={"number": tune.grid_search(list(range(len(choices))))},
        tune_config=tune.TuneConfig(
            metric="objective",
            mode="max",
            time_budget_s=seconds,
            reuse_actors=True,
            max_concurrent_trials=max(1, min(settings.workers, free)),
        ),
        run_config=tune.RunConfig(
            name=uuid.uuid4().hex,
            storage_path=str(storage),
            verbose=0,
            callbacks=[_Told(len(choices), seconds, tell)],
        ),
    )
    try:
        results = tuner.fit()
    finally:
        shutil.rmtree(storage, ignore_errors=True)
    found = [
        result.metrics for result in results if result.metrics and "objective" in result.metrics
    ]
    return {
        metrics["number"]: ({name: metrics[name] for name in metrics["names"]}, metrics["seconds"])
        for metrics in found
    }


class _Told(tune.Callback):
    def __init__(self, whole: int, seconds: float, tell: Listener) -> None:
        self._whole, self._seconds, self._tell, self._done, self._began = (
            whole,
            seconds,
            tell,
            0,
            time.monotonic(),
        )

    def on_trial_complete(self, *_: Any, **__: Any) -> None:
        self._done += 1
        spent = max(self._done / self._whole, (time.monotonic() - self._began) / self._seconds)
        self._tell.part(f"{self._done} of {self._whole} configurations tried", spent)


def _try(
    config: dict[str, Any],
    *,
    choices: Sequence[Choice],
    tables: Mapping[str, tuple[Table, Table]],
    seed: int,
) -> None:
    began, choice = time.monotonic(), choices[config["number"]]
    metrics = measure(choice, *tables[choice.over_time], seed)
    tune.report(
        {
            **metrics,
            "names": list(metrics),
            "number": config["number"],
            "seconds": time.monotonic() - began,
        }
    )


def measure(choice: Choice, rows: Table, held_out: Table, seed: int) -> dict[str, float]:
    """How good a configuration is: its `objective`, and what that is made of."""

    def fitted(seed: int) -> IsolationForest:
        return fit_part(
            rows.X,
            trees=choice.n_estimators,
            max_samples=choice.max_samples,
            max_features=choice.max_features,
            seed=seed,
        )

    forest = CompiledForest.compile(fitted(seed))
    metrics = evaluate(forest, np.inf, held_out, robust_spread(rows.X))
    if "average_precision" in metrics:
        return {
            "objective": metrics["average_precision"],
            "average_precision": metrics["average_precision"],
        }
    other = CompiledForest.compile(fitted(seed + 1))
    agrees = max(0.0, score_agreement(forest.score(held_out.X), other.score(held_out.X)))
    planted = metrics["planted_auroc"]
    return {"objective": planted * agrees, "planted_auroc": planted, "seed_agreement": agrees}


def _text(choice: Choice) -> str:
    transform = f", {choice.over_time}" if choice.over_time else ""
    return f"{choice.n_estimators} trees of {choice.max_samples} rows and {choice.max_features:.0%} of the features{transform}"
