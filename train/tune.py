"""Search for the parameters of a forest: random search with Ray Tune, under a budget of time.

The objective is, with labels, the average precision on the held-out rows; without, how well planted
anomalies are told (AUROC) times how far a forest of another seed agrees (rank correlation). The
present configuration is tried first, so that the best one is never worse by this measure. The order
of the others follows from the seed; how many are tried, from the time.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray import tune
from sklearn.ensemble import IsolationForest

from train.model.distances import free_sides, robust_spread, visible_spread
from train.model.evaluate import evaluate, score_agreement
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.progress import Listener
from train.settings import TrainSettings
from train.table.table import Table
from train.trial import TuneTrial
from vigil.errors import DataError, VigilError
from vigil.json_types import Fields, JsonObject

_READ_SHARE = 0.3  # of the time, after which no further transform is read
# Without Tune's files of each trial, its tables, and its handler of Ctrl-C, which ends the search
# as if its time were up.
_TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@dataclass(frozen=True)
class SearchSpace:
    """Values to try of each parameter, and transforms beside the present one."""

    n_estimators: tuple[int, ...] = (50, 100, 200, 400)
    max_samples: tuple[int, ...] = (128, 256, 512, 1024)
    max_features: tuple[float, ...] = (0.5, 0.75, 1.0)
    transforms: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """One configuration."""

    n_estimators: int
    max_samples: int
    max_features: float
    over_time: str = ""

    def settings(self, settings: TrainSettings) -> TrainSettings:
        """Return `settings` with this configuration."""
        parameters = asdict(self)
        del parameters["over_time"]
        return settings.model_copy(update=parameters)

    def __str__(self) -> str:
        text = (
            f"{self.n_estimators} trees of {self.max_samples} rows "
            f"and {self.max_features:.0%} of the features"
        )
        return f"{text}, {self.over_time}" if self.over_time else text


@dataclass(frozen=True)
class TrialTables:
    """Rows to fit on, and rows held out, under one transform."""

    fit: Table
    held_out: Table


Load = Callable[[str], TrialTables]


@dataclass(frozen=True)
class Search:
    """A search around `settings`; `storage` holds Tune's files meanwhile."""

    settings: TrainSettings
    space: SearchSpace
    storage: Path
    listener: Listener

    def run(
        self,
        load: Load,
        over_time: str,
        seconds: float,
    ) -> tuple[Choice, tuple[TuneTrial, ...]]:
        """Return the best configuration that was tried within `seconds`, and all trials.

        `load` gives the rows under a transform; `over_time` is the present one. Takes no more CPUs
        than a fit may, and only free ones. Raises VigilError when the time does not suffice for
        the first trial.
        """
        began = time.monotonic()
        tables = self._load_tables(load, over_time, seconds)
        rows = {transform: len(table.fit) for transform, table in tables.items()}
        choices = order_choices(
            self.settings,
            self.space,
            over_time,
            rows=rows,
        )
        left_s = seconds - (time.monotonic() - began)
        trials = self._try_all(choices, tables, left_s) if left_s > 0 else {}
        if 0 not in trials:
            raise VigilError(
                f"the first trial did not end within {seconds:g} s: give --tune more seconds"
            )
        best = max(trials, key=lambda number: (trials[number].metrics["objective"], -number))
        self._tell_best(
            choices[best],
            trials[0],
            trials[best],
            len(trials),
        )
        return choices[best], tuple(trial for _, trial in sorted(trials.items()))

    def _load_tables(
        self,
        load: Load,
        over_time: str,
        seconds: float,
    ) -> dict[str, TrialTables]:
        """The rows under each transform, as far as there is time to read them."""
        deadline = time.monotonic() + _READ_SHARE * seconds
        tables = {over_time: load(over_time)}
        for transform in self.space.transforms:
            if time.monotonic() >= deadline:
                break
            try:
                tables[transform] = load(transform)
            except DataError as error:  # too few rows have all the rows before them
                self.listener(f"transform {transform} is not tried: {error.message}")
        return tables

    def _tell_best(
        self,
        choice: Choice,
        first: TuneTrial,
        best: TuneTrial,
        trials: int,
    ) -> None:
        before = first.metrics["objective"]
        after = best.metrics["objective"]
        self.listener(
            f"tried {trials} configurations: {choice} is best ({before:.4f} became {after:.4f})"
        )

    def _try_all(
        self,
        choices: Sequence[Choice],
        tables: Mapping[str, TrialTables],
        seconds: float,
    ) -> dict[int, TuneTrial]:
        """Those of the choices that were tried in time, by their number."""
        callback = _TrialProgress(len(choices), seconds, self.listener)
        try:
            with _environment(_TUNE_ENVIRONMENT):
                results = self._tuner(
                    choices,
                    tables,
                    seconds,
                    callback=callback,
                ).fit()
        finally:
            shutil.rmtree(self.storage, ignore_errors=True)
        trials: dict[int, TuneTrial] = {}
        for result in results:
            if result.metrics and "objective" in result.metrics:
                number = result.metrics["number"]
                trials[number] = _trial(choices[number], result.metrics)
        return trials

    def _tuner(
        self,
        choices: Sequence[Choice],
        tables: Mapping[str, TrialTables],
        seconds: float,
        *,
        callback: tune.Callback,
    ) -> tune.Tuner:
        trainable = tune.with_parameters(
            _try,
            choices=choices,
            tables=tables,
            seed=self.settings.seed,
        )
        numbers = list(range(len(choices)))
        return tune.Tuner(
            tune.with_resources(trainable, {"cpu": self.settings.cpus_per_worker}),
            param_space={"number": tune.grid_search(numbers)},
            tune_config=tune.TuneConfig(
                metric="objective",
                mode="max",
                time_budget_s=seconds,
                reuse_actors=True,
                max_concurrent_trials=self._max_concurrent_trials(),
            ),
            run_config=tune.RunConfig(
                name=uuid.uuid4().hex,
                storage_path=str(self.storage),
                verbose=0,
                callbacks=[callback],
            ),
        )

    def _max_concurrent_trials(self) -> int:
        free_cpus = ray.available_resources().get("CPU", 0)
        fitting = int(free_cpus // self.settings.cpus_per_worker)
        return max(1, min(self.settings.workers, fitting))


def order_choices(
    settings: TrainSettings,
    space: SearchSpace,
    over_time: str,
    *,
    rows: Mapping[str, int],
) -> list[Choice]:
    """Return the present configuration, then all others in random order.

    `rows`: how many each transform leaves; no choice needs more.
    """
    present = Choice(
        settings.n_estimators,
        settings.max_samples,
        settings.max_features,
        over_time=over_time,
    )
    grid = product(
        space.n_estimators,
        space.max_samples,
        space.max_features,
        rows,
    )
    others = [Choice(*values) for values in grid]
    fitting = [
        choice
        for choice in others
        if choice != present and choice.max_samples <= rows[choice.over_time]
    ]
    order = np.random.default_rng(settings.seed).permutation(len(fitting))
    return [present, *(fitting[number] for number in order)]


def _trial(choice: Choice, reported: Fields) -> TuneTrial:
    return TuneTrial(
        f"trial {reported['number']}",
        params=asdict(choice),
        metrics={name: reported[name] for name in reported["names"]},
        seconds=reported["seconds"],
    )


class _TrialProgress(tune.Callback):
    """Tells how many trials are done."""

    def __init__(
        self,
        trials: int,
        seconds: float,
        listener: Listener,
    ) -> None:
        self._trials = trials
        self._seconds = seconds
        self._listener = listener
        self._done = 0
        self._began = time.monotonic()

    def on_trial_complete(
        self,
        *_: Any,
        **__: Any,
    ) -> None:
        self._done += 1
        time_share = (time.monotonic() - self._began) / self._seconds
        share = max(self._done / self._trials, time_share)
        self._listener.part(f"{self._done} of {self._trials} configurations tried", share)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have these variables for the length of a block, where they are not set."""
    added = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _try(
    config: JsonObject,
    *,
    choices: Sequence[Choice],
    tables: Mapping[str, TrialTables],
    seed: int,
) -> None:
    began = time.monotonic()
    number = config["number"]
    choice = choices[number]
    metrics = measure_choice(choice, tables[choice.over_time], seed)
    about = {
        "names": list(metrics),
        "number": number,
        "seconds": time.monotonic() - began,
    }
    tune.report(
        {
            **metrics,
            **about,
        }
    )


def measure_choice(
    choice: Choice,
    tables: TrialTables,
    seed: int,
) -> dict[str, float]:
    """Return how good a configuration is: its `objective`, and what that is made of."""
    held_out = tables.held_out
    forest = CompiledForest.compile(_fit(choice, tables.fit, seed))
    rows = tables.fit.X
    scale = visible_spread(rows, robust_spread(rows))
    metrics = evaluate(
        forest,
        np.inf,
        held_out,
        scale,
        sides=free_sides(rows),
    )
    if "average_precision" in metrics:
        precision = metrics["average_precision"]
        return {
            "objective": precision,
            "average_precision": precision,
        }
    other = CompiledForest.compile(_fit(choice, tables.fit, seed + 1))
    agreement = score_agreement(forest.score(held_out.X), other.score(held_out.X))
    agreement = max(0.0, agreement)
    auroc = metrics["planted_auroc"]
    return {
        "objective": auroc * agreement,
        "planted_auroc": auroc,
        "seed_agreement": agreement,
    }


def _fit(
    choice: Choice,
    rows: Table,
    seed: int,
) -> IsolationForest:
    return fit_part(
        rows.X,
        trees=choice.n_estimators,
        max_samples=choice.max_samples,
        max_features=choice.max_features,
        seed=seed,
        names=rows.names,
    )
