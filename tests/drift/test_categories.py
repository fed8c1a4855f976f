"""Declared categories from the table to the verdicts: training, retraining, backtest, check."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from drift.backtest_cli import backtest
from drift.cli import drift_check
from drift.comparison import Comparison
from drift.incidents.backtest.history import read_histories
from drift.incidents.backtest.stretches import RegisteredModel, WalkForward
from serve.model.report import CapturedRows
from train.challenger import TrainingSetup, assemble_challenger
from train.model.bundle import ModelBundle, read_bundle, write_bundle
from train.model.fit import fit_part
from train.progress import JobProgress
from train.registry.versions import Version
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.row_making import RowMaking
from train.table.training_data import load_training_data

SETTINGS = TrainSettings.from_values(n_estimators=30, max_samples=64)
NAMES = ("cpu", "proto=tcp", "proto=udp", "service:frequency")
DECLARED = ("proto", "service:frequency")


def frame(rows: int, seed: int, protos: tuple[str, ...] = ("tcp", "tcp", "udp")) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "cpu": rng.normal(10, 1, rows),
            "proto": rng.choice(protos, rows),
            "service": rng.choice(["dns", "http", "http", "ntp"], rows),
        }
    )


def table(folder: Path, name: str, rows: pd.DataFrame) -> str:
    path = folder / f"{name}.csv"
    rows.to_csv(path, index=False)
    return str(path)


def trained(spec: JobSpec, champion: ModelBundle | None = None) -> tuple[ModelBundle, JobProgress]:
    progress = JobProgress()
    making = RowMaking.of(champion) if champion else None
    data = load_training_data(spec, SETTINGS, progress, making)
    forest = fit_part(data.fit.X, trees=30, max_samples=64, max_features=1.0, seed=1)
    return assemble_challenger(forest, TrainingSetup(spec, SETTINGS, data), champion), progress


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    """A model that `vigil train --categories` makes, read back from its bundle."""
    spec = JobSpec(data=table(tmp_path, "old", frame(2000, 0)), categories=DECLARED)
    made, _ = trained(spec)
    return read_bundle(tmp_path / "bundle", write_bundle(made, tmp_path / "bundle"))


def test_a_model_keeps_its_words_and_how_they_were_declared(bundle: ModelBundle) -> None:
    assert bundle.names == NAMES
    assert bundle.categories is not None
    assert bundle.categories.names == ("cpu", "proto", "service")
    assert JobSpec.of_bundle(bundle.info).categories == DECLARED


def test_a_table_is_read_anew_with_its_new_words(bundle: ModelBundle, tmp_path: Path) -> None:
    grown = frame(2000, 1, ("tcp", "udp", "sctp"))
    spec = JobSpec.of_bundle(bundle.info, data=table(tmp_path, "grown", grown))
    anew, _ = trained(spec, bundle)
    assert "proto=sctp" in anew.names
    assert anew.schema_hash == bundle.schema_hash  # callers send the same


def test_a_backtest_of_a_version_takes_its_words(bundle: ModelBundle, tmp_path: Path) -> None:
    assert bundle.categories is not None
    spec = JobSpec.of_bundle(bundle.info, data=table(tmp_path, "later", frame(300, 2)))
    (history,) = read_histories(spec.data, spec.columns)
    (stretch,) = RegisteredModel(bundle, "1").stretches(history)
    expected = bundle.categories.apply(history.table)
    np.testing.assert_array_equal(stretch.X, expected.X)


def test_a_backtest_without_a_version_learns_the_words_of_its_probation(tmp_path: Path) -> None:
    rows = pd.concat([frame(500, 3), frame(500, 4, ("sctp",))])
    spec = JobSpec(data=table(tmp_path, "history", rows), categories=DECLARED)
    (history,) = read_histories(spec.data, spec.columns)
    walk = WalkForward(SETTINGS, probation=0.5, refit_hours=0)
    (stretch,) = walk.stretches(history)
    assert stretch.model.names == NAMES
    assert not stretch.X[:, 1:3].any()


def test_the_command_of_a_backtest_takes_categories(tmp_path: Path) -> None:
    path = table(tmp_path, "history", frame(1000, 3))
    options = ["--data", path, "--categories", ",".join(DECLARED), "--over-time", "none", "--json"]
    told = CliRunner().invoke(backtest, options)
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["rows"] == 800


def test_a_check_judges_words_and_counts_the_unknown(tmp_path: Path) -> None:
    paths = {
        name: table(tmp_path, name, rows)
        for name, rows in {
            "old": frame(3000, 0),
            "same": frame(500, 1),
            "other": frame(500, 2, ("tcp", "udp", "udp", "udp", "quic")),
        }.items()
    }
    verdicts = {}
    for window in ("same", "other"):
        options = ["--reference", paths["old"], "--window", paths[window], "--json"]
        told = CliRunner().invoke(drift_check, [*options, "--categories", "proto,service"])
        assert told.exit_code == 0, told.output
        verdicts[window] = json.loads(told.stdout)
    assert verdicts["same"]["verdict"] == "none"
    assert verdicts["same"]["unknown_categories"] == {"proto": 0, "service": 0}
    assert verdicts["other"]["verdict"] == "population drift"
    assert verdicts["other"]["unknown_categories"]["proto"] == pytest.approx(100, abs=30)
    assert {"proto=tcp", "proto=udp"} <= set(verdicts["other"]["features"])


def test_the_monitor_counts_unknown_words_of_live_rows(bundle: ModelBundle) -> None:
    comparison = Comparison(Version("1", "run", "d" * 64, 0.0), bundle)
    rows = np.array([[10.0, 1, 0, 0.5], [10.0, 0, 0, 0.5], [10.0, 0, 1, 0.0]])
    comparison.count_words(CapturedRows("1", rows, np.zeros(3), ["r"] * 3))
    assert comparison.status()["unknown_categories"] == {"proto": 1, "service": 1}
