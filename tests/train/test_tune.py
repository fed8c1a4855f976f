"""The search for a forest's parameters: order, objective, and Ray Tune within its budget."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.running import ROOT, printed_by
from train.settings import TrainSettings
from train.table.table import Table
from train.table.transform.grammar import parse_steps
from train.transform_candidates import transforms_to_try
from train.tune import (
    Choice,
    SearchSpace,
    TrialTables,
    measure_choice,
    order_choices,
)

NAMES = ("a", "b", "c")
SETTINGS = TrainSettings(n_estimators=10, max_samples=32, seed=4, cpus_per_worker=0.5)


def tables(n: int = 1000) -> TrialTables:
    """Rows to fit on, and rows held out of which each tenth is a labelled anomaly."""
    rng = np.random.default_rng(0)
    held_out = rng.normal(size=(200, 3))
    labels = np.zeros(200, np.int64)
    labels[::10] = 1
    held_out[::10] += 3
    fit = Table(rng.normal(size=(n, 3)), NAMES)
    return TrialTables(fit, Table(held_out, NAMES, labels))


def order(settings: TrainSettings, rows: dict[str, int]) -> list[Choice]:
    return order_choices(settings, SearchSpace(), "", rows=rows)


def test_what_is_there_comes_first_and_the_rest_by_the_seed_as_far_as_there_are_rows() -> None:
    rows = {"": 600, "diff:1": 300}
    choices = order(SETTINGS, rows)
    assert choices[0] == Choice(10, 32, 1.0, "")
    assert len(set(choices)) == len(choices)
    assert {(choice.over_time, choice.max_samples) for choice in choices[1:]} == {
        ("", 128),
        ("", 256),
        ("", 512),
        ("diff:1", 128),
        ("diff:1", 256),
    }
    assert order(SETTINGS, rows) == choices


@pytest.mark.parametrize("features", [1, 3])
def test_every_transform_of_a_search_is_one_of_its_features(features: int) -> None:
    found = transforms_to_try(features)
    assert len(set(found)) == len(found)
    for text in found:
        kinds = {step.kind for step in parse_steps(text)}
        assert features > 1 or not kinds & {"residual", "top"}


def test_another_seed_gives_another_order_of_the_same_choices() -> None:
    rows = {"": 600, "diff:1": 300}
    choices = order(SETTINGS, rows)
    others = order(SETTINGS.model_copy(update={"seed": 5}), rows)
    assert others != choices
    assert set(others) == set(choices)


def test_the_defaults_are_one_of_the_choices_and_make_the_default_settings() -> None:
    default = TrainSettings()
    choices = order(default, {"": 600})
    assert choices[0].settings(TrainSettings(n_estimators=7)) == default
    assert choices.count(Choice(100, 256, 1.0)) == 1


def test_with_labels_the_objective_is_average_precision() -> None:
    metrics = measure_choice(Choice(20, 64, 1.0), tables(), 0)
    assert metrics["objective"] == metrics["average_precision"] > 0.5


def test_without_labels_the_objective_is_planted_anomalies_and_agreement_of_seeds() -> None:
    labelled = tables()
    unlabelled = replace(labelled, held_out=Table(labelled.held_out.X, NAMES))
    metrics = measure_choice(Choice(20, 64, 1.0), unlabelled, 0)
    product = metrics["planted_auroc"] * metrics["seed_agreement"]
    assert metrics["objective"] == pytest.approx(product)
    assert metrics == measure_choice(Choice(20, 64, 1.0), unlabelled, 0)


def test_the_environment_is_as_it_was_when_the_module_is_imported() -> None:
    code = (
        "import os; before = dict(os.environ); import ray.tune; loaded = dict(os.environ); "
        "import train.tune; added = os.environ.keys() - loaded.keys(); "
        "print(sorted(name for name in added if name.startswith(('TUNE', 'RAY'))))"
    )
    assert printed_by(code) == "[]"


SEARCH = """
import json, sys
from pathlib import Path
from vigil.home import Home, use_ray_token
home = Path(sys.argv[1])
use_ray_token(Home(home))
from tests.train.test_tune import SETTINGS, tables
from train import tune
from vigil.errors import VigilError
from train.connect import connected
from train.progress import Silent
space = tune.SearchSpace(n_estimators=(5, 20), max_samples=(64,), max_features=(1.0,))
search = tune.Search(SETTINGS, space, home / "tune", Silent())
with connected(None):
    best, trials = search.run(lambda _: tables(), "", 200.0)
    try:
        search.run(lambda _: tables(), "", 0.01)
    except VigilError as error:
        said = error.message
print(json.dumps({"best": vars(best), "trials": [vars(trial) for trial in trials], "error": said}))
"""


@pytest.mark.timeout(300)
def test_a_search_tries_the_default_and_others_and_one_without_time_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SEARCH, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    trials = found["trials"]
    assert [trial["params"]["n_estimators"] for trial in trials[:1]] == [10]
    assert sorted(trial["params"]["n_estimators"] for trial in trials) == [5, 10, 20]
    best = max(trials, key=lambda trial: trial["metrics"]["objective"])
    assert found["best"] == best["params"]
    assert all(trial["seconds"] > 0 for trial in trials)
    assert not (tmp_path / "tune").exists()
    assert "give --tune more" in found["error"]
