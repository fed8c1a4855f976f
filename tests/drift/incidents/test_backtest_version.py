"""`vigil backtest --version N` against a real registry: MLflow's database in the home."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from drift.backtest_cli import backtest
from train.connect import open_registry
from train.model import reference, threshold
from train.model.bundle import ModelBundle
from train.model.fit import fit_part
from train.model.forest import CompiledForest
from train.registry.candidate import Candidate
from train.settings import TrainSettings
from train.table.impute import Imputation
from vigil.arrays import Floats
from vigil.home import Home

NAMES = ("load", "errors")
ROWS = 600
OUTAGE = slice(400, 412)


def world(rows: int, seed: int) -> Floats:
    return np.random.default_rng(seed).normal((50, 5), (5, 1), (rows, 2))


def candidate(alert_rate: float) -> Candidate:
    """A forest of the ordinary world, with a threshold of its own."""
    X = world(2000, seed=0)
    fitted = fit_part(X, trees=30, max_samples=64, max_features=1.0, seed=0)
    forest = CompiledForest.compile(fitted)
    scores = forest.score(X)
    about = reference.build_reference(X, NAMES, scores, window_rows=200)
    limit = threshold.to_alert_rate(scores, alert_rate)
    libraries = {name: metadata.version(name) for name in ("scikit-learn", "numpy", "skops")}
    bundle = ModelBundle(NAMES, forest, limit, about, X[:8], {"libraries": libraries})
    tags = {"job": f"job-{alert_rate}", "trigger": "manual"}
    return Candidate(fitted, bundle, {}, {}, tags, {"passed": True})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose registry has versions 1, which seldom alerts, and 2."""
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path / "home"))
    registry = open_registry(Home(tmp_path / "home").create(), TrainSettings())
    for alert_rate in (0.001, 0.05):
        registry.register(candidate(alert_rate))
    return tmp_path


def write_rows(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    rows = world(ROWS, seed=1)
    rows[OUTAGE] += (40, 12)
    file = folder / "rows.csv"
    times = pd.date_range("2026-01-01", periods=ROWS, freq="min").astype(str)
    pd.DataFrame({"time": times, names[0]: rows[:, 0], names[1]: rows[:, 1]}).to_csv(
        file, index=False
    )
    return file


def run(file: Path, *more: str) -> Result:
    return CliRunner().invoke(backtest, ["--data", str(file), "--time", "time", *more])


def found(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_version_replays_history_and_stands_beside_another(home: Path) -> None:
    file = write_rows(home)

    told = found(run(file, "--version", "1", "--compare", "version=2", "--json"))

    (incident,) = told["incidents"]
    assert (told["rows"], incident["model_version"]) == (ROWS, "1")
    assert incident["rows"] >= 10
    other = told["compared"]
    assert other["alerts"] > told["alerts"]
    assert {one["model_version"] for one in other["incidents"]} == {"2"}


def test_a_version_fills_in_by_its_own_policies(home: Path) -> None:
    imputation = Imputation(NAMES, ("median", "refuse"), (50.0, 0.0))
    plain = candidate(0.002)
    imputing = replace(plain, bundle=replace(plain.bundle, imputation=imputation))
    version = open_registry(Home(home / "home"), TrainSettings()).register(imputing).version
    whole = found(run(write_rows(home), "--version", "1", "--json"))
    gaps = home / "gaps.csv"
    lines = write_rows(home).read_text().splitlines()
    lines[100] = lines[100].replace(f",{lines[100].split(',')[1]},", ",,")
    gaps.write_text("\n".join(lines))

    told = found(run(gaps, "--version", version, "--json"))

    assert told["rows"] == whole["rows"]
    refused = run(gaps, "--version", "1")
    assert refused.exit_code == 1
    assert "row 100, column 'load': the value is missing" in refused.output


def test_a_version_or_a_column_that_is_not_there_is_named(home: Path) -> None:
    unknown = run(write_rows(home), "--version", "9")
    assert unknown.exit_code == 1
    assert "9" in unknown.output
    lacking = run(write_rows(home, ("load", "retries")), "--version", "1")
    assert lacking.exit_code == 1
    assert "errors" in lacking.output
