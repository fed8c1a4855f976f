"""What context finds that a row by itself does not show: generated data with a known truth."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
from click.testing import CliRunner

from drift.backtest_cli import backtest
from drift.incidents.backtest.history import read_histories
from drift.incidents.backtest.stretches import RegisteredModel
from train.challenger import TrainingSetup, assemble_challenger
from train.model.bundle import ModelBundle
from train.model.fit import fit_part
from train.progress import JobProgress
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.training_data import load_training_data
from vigil.arrays import Flags

SETTINGS = TrainSettings.from_values(n_estimators=50, max_samples=256)
HOSTS = 100
WEEK_ROWS = 7 * 48  # a row every half hour
LABOR_DAY = date(2014, 9, 1)  # a Monday, in none of the windows that are labelled


def fitted(spec: JobSpec) -> ModelBundle:
    data = load_training_data(spec, SETTINGS, JobProgress())
    forest = fit_part(
        data.fit.X,
        trees=SETTINGS.n_estimators,
        max_samples=SETTINGS.max_samples,
        max_features=1.0,
        seed=1,
    )
    return assemble_challenger(forest, TrainingSetup(spec, SETTINGS, data), None)


def alerts(model: ModelBundle, spec: JobSpec, rows: pd.DataFrame, folder: Path) -> Flags:
    """Which of the rows alert, replayed as `vigil backtest --version` does."""
    rows.to_csv(folder / "replayed.csv", index=False)
    (history,) = read_histories(folder / "replayed.csv", spec.columns)
    (stretch,) = RegisteredModel(model, "1").stretches(history)
    is_judged = np.ones(len(rows), bool) if stretch.is_judged is None else stretch.is_judged
    return (model.forest.score(stretch.X) > model.threshold.value) & is_judged


def fleet(rows: int, seed: int) -> pd.DataFrame:
    """Hosts with levels of their own, a row of each in turn."""
    levels = np.random.default_rng(0).uniform(0, 100, (HOSTS, 2))
    rng = np.random.default_rng(seed)
    hosts = np.tile(np.arange(HOSTS), rows)
    X = levels[hosts] + rng.normal(0, 1, (len(hosts), 2))
    return pd.DataFrame({"host": [f"h{host}" for host in hosts], "cpu": X[:, 0], "net": X[:, 1]})


def test_what_is_normal_elsewhere_is_found_in_one_host_of_100_by_its_own_baseline(
    tmp_path: Path,
) -> None:
    fleet(150, seed=1).to_csv(tmp_path / "rows.csv", index=False)
    replayed = fleet(60, seed=2)
    hosts = replayed["host"].to_numpy(object)
    is_of_host = hosts == "h7"
    is_anomalous = is_of_host & (np.arange(len(replayed)) >= 50 * HOSTS)
    elsewhere = replayed[["cpu", "net"]].to_numpy()[hosts == "h42"]
    replayed.loc[is_anomalous, ["cpu", "net"]] = elsewhere[50:]
    found = {}
    for name, over_time in (("by entity", "baseline"), ("global", "none")):
        spec = JobSpec(data=str(tmp_path / "rows.csv"), entity="host", over_time=over_time)
        alerting = alerts(fitted(spec), spec, replayed, tmp_path)
        found[name] = alerting[is_anomalous].mean(), alerting[~is_anomalous].mean()
    assert found["by entity"][0] >= 0.8
    assert found["by entity"][1] <= 0.03
    assert found["global"][0] <= 0.1


def weeks(count: int, seed: int, first: int = 0) -> pd.DataFrame:
    """Load of an office: full on working days, little on nights and weekends."""
    rng = np.random.default_rng(seed)
    begin = pd.Timestamp("2026-03-02", tz="UTC") + pd.Timedelta(weeks=first)  # a Monday
    times = pd.date_range(begin, periods=count * WEEK_ROWS, freq="30min")
    is_work = (times.day_of_week < 5) & (times.hour >= 8) & (times.hour < 18)
    load = np.where(is_work, 100.0, 10.0) + rng.normal(0, 3, len(times))
    return pd.DataFrame({"at": times.astype(str), "load": load})


def test_no_monday_alerts_and_a_holiday_does_where_the_season_is_known(tmp_path: Path) -> None:
    weeks(8, seed=1).to_csv(tmp_path / "rows.csv", index=False)
    spec = JobSpec(data=str(tmp_path / "rows.csv"), time="at", over_time="season")
    model = fitted(spec)
    replayed = weeks(4, seed=2, first=8)
    times = pd.to_datetime(replayed["at"])
    is_holiday = (
        (times.dt.day_name() == "Wednesday") & (times.dt.isocalendar().week == 20)
    ).to_numpy()
    is_work = (replayed["load"] > 50).to_numpy()
    replayed.loc[is_holiday & is_work, "load"] -= 90
    alerting = alerts(model, spec, replayed, tmp_path)
    is_monday = (times.dt.day_name() == "Monday").to_numpy()
    assert alerting[is_holiday & is_work].mean() >= 0.9
    assert alerting[is_monday].mean() <= 0.03
    assert alerting[~is_holiday].mean() <= 0.03
    rows_alone = spec.model_copy(update={"over_time": "none"})
    unseen = alerts(fitted(rows_alone), rows_alone, replayed, tmp_path)
    assert unseen[is_holiday & is_work].mean() <= 0.1


def test_taxis_have_no_incident_by_an_ordinary_monday_and_all_their_holidays(
    real_data: Path,
) -> None:
    nab = real_data / "nab"
    options = ["--data", str(nab / "nyc_taxi.csv"), "--windows", str(nab / "windows.json")]
    told = CliRunner().invoke(backtest, [*options, "--over-time", "season", "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["windows_found"] == 5
    assert found["false_incidents"] <= 20
    outside = [incident for incident in found["incidents"] if not incident["in_window"]]
    days = {datetime.fromtimestamp(incident["onset"], UTC).date() for incident in outside}
    assert {day for day in days if day.weekday() == 0} <= {LABOR_DAY}
