"""The search for a forest's parameters: what is tried in which order, what is best, and Ray Tune within its budget."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.running import ROOT
from train.settings import TrainSettings
from train.table.table import Table
from train.tune import Choice, measure, order

NAMES = ("a", "b", "c")
SETTINGS = TrainSettings(n_estimators=10, max_samples=32, seed=4, cpus_per_worker=0.5)


def tables(n: int = 1000) -> tuple[Table, Table]:
    """Rows to fit on, and rows held out of which each tenth is a labelled anomaly."""
    rng = np.random.default_rng(0)
    held_out, labels = rng.normal(size=(200, 3)), np.zeros(200, np.int64)
    labels[::10], held_out[::10] = 1, held_out[::10] + 3
    return Table(rng.normal(size=(n, 3)), NAMES), Table(held_out, NAMES, labels)


def test_what_is_there_comes_first_and_the_rest_by_the_seed_as_far_as_there_are_rows() -> None:
    rows = {"": 600, "diff:1": 300}
    found = order(SETTINGS, "", rows)
    assert found[0] == Choice(10, 32, 1.0, "")
    assert len(set(found)) == len(found)
    assert {(one.over_time, one.max_samples) for one in found[1:]} == {
        ("", 128),
        ("", 256),
        ("", 512),
        ("diff:1", 128),
        ("diff:1", 256),
    }
    assert order(SETTINGS, "", rows) == found
    other = order(SETTINGS.model_copy(update={"seed": 5}), "", rows)
    assert other != found
    assert set(other) == set(found)
    default = TrainSettings()
    assert order(default, "", rows)[0].settings(TrainSettings(n_estimators=7)) == default
    assert len([one for one in order(default, "", rows) if one == Choice(100, 256, 1.0)]) == 1


def test_the_objective_is_average_precision_with_labels_else_planted_anomalies_and_agreement() -> (
    None
):
    rows, held_out = tables()
    labelled = measure(Choice(20, 64, 1.0), rows, held_out, 0)
    assert labelled["objective"] == labelled["average_precision"] > 0.5
    alone = measure(Choice(20, 64, 1.0), rows, Table(held_out.X, NAMES), 0)
    assert alone["objective"] == pytest.approx(alone["planted_auroc"] * alone["seed_agreement"])
    assert alone == measure(Choice(20, 64, 1.0), rows, Table(held_out.X, NAMES), 0)


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
tune.TREES, tune.SAMPLES, tune.FEATURES = (5, 20), (64,), (1.0,)
with connected(None):
    best, trials = tune.search(lambda _: tables(), "", (), SETTINGS, 200.0, home / "tune", Silent())
    try:
        tune.search(lambda _: tables(), "", (), SETTINGS, 0.01, home / "tune", Silent())
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
