"""`vigil backtest`: history through the tracker, judged by labelled windows."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from drift.backtest_cli import backtest
from drift.incidents.backtest.budget import IncidentBudget
from drift.incidents.backtest.history import History, TimeRange, read_histories
from drift.incidents.backtest.judgement import join_judgements, judge_moments
from drift.incidents.backtest.labelled_windows import WindowFile, parse_moment, windows_of_labels
from drift.incidents.backtest.picture import thin_curve
from drift.incidents.backtest.replay import ScoreCurve, replay_history
from drift.incidents.backtest.stretches import RegisteredModel, WalkForward
from drift.incidents.backtest.threshold_rules import ScoreMargin, StrictestRule
from drift.incidents.backtest.variant import BacktestVariant
from drift.settings import DriftSettings
from train.model.bundle import ModelBundle
from train.model.entity_threshold import EntityThresholds
from train.settings import TrainSettings
from train.table.schema import Columns
from train.table.table import Table
from vigil.arrays import Floats
from vigil.errors import BadSettings, DataError

ROWS = 2000
STEP_S = 300
BEGIN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
OUTAGE = slice(1500, 1530)
SETTINGS = TrainSettings.from_values(n_estimators=20, max_samples=64)


def values(seed: int = 0) -> Floats:
    """Load of a server over a week, with an outage."""
    rng = np.random.default_rng(seed)
    load = 50 + 10 * np.sin(np.arange(ROWS) / 288 * 2 * np.pi) + rng.normal(0, 2, ROWS)
    load[OUTAGE] += 60
    return load


def times() -> Floats:
    return BEGIN + STEP_S * np.arange(ROWS, dtype=float)


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).replace(tzinfo=None).isoformat()


def history() -> History:
    return History("load", Table(values()[:, None], ("load",)), times())


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "load.csv"
    frame = pd.DataFrame({"timestamp": [iso(at) for at in times()], "load": values()})
    frame.to_csv(file, index=False)
    return file


@pytest.fixture
def windows(tmp_path: Path) -> Path:
    """Windows by file name: a day around the outage, and one in which nothing was."""
    outage = times()[OUTAGE]
    quiet = times()[1000]
    file = tmp_path / "windows.json"
    day = [iso(outage[0] - 3600), iso(outage[-1] + 3600)]
    calm = [iso(quiet), iso(quiet + 600)]
    file.write_text(json.dumps({"realAWSCloudWatch/load.csv": [day, calm]}))
    return file


def run(*arguments: str | Path) -> dict[str, Any]:
    result = CliRunner().invoke(backtest, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_an_outage_is_an_incident_in_its_window(table: Path, windows: Path) -> None:
    found = run("--data", table, "--time", "timestamp", "--windows", windows)
    assert found["rows"] == ROWS * 0.8
    assert found["alerts"] >= 3
    assert found["alert_rate"] == found["alerts"] / found["rows"]
    (incident,) = [one for one in found["incidents"] if one["in_window"]]
    onset, last = times()[OUTAGE][[0, -1]]
    assert onset <= incident["onset"] <= incident["opened_at"] <= last
    assert incident["features"][0]["feature"].startswith("load")
    assert found["event_recall"] == 0.5
    assert found["windows_found"] == 1
    assert found["median_delay_s"] == incident["opened_at"] - (onset - 3600)
    assert found["false_per_week"] == found["false_incidents"] / found["weeks"]


def test_two_settings_side_by_side(table: Path, windows: Path) -> None:
    arguments = ("--data", table, "--time", "timestamp", "--windows", windows)
    found = run(*arguments, "--compare", "incidentAlerts=10", "--compare", "refit-hours=0")
    assert found["compared"]["title"].endswith("incidentAlerts=10, refit-hours=0")
    assert found["compared"]["rows"] == found["rows"]


def test_maintenance_opens_nothing(table: Path, tmp_path: Path) -> None:
    calendar = tmp_path / "maintenance.ics"
    first, last = times()[OUTAGE][[0, -1]]
    begin = datetime.fromtimestamp(first, UTC)
    end = datetime.fromtimestamp(last + 40 * STEP_S, UTC)  # features look back on 24 rows
    calendar.write_text(
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:test\nBEGIN:VEVENT\nUID:1\n"
        f"DTSTAMP:{begin:%Y%m%dT%H%M%SZ}\nDTSTART:{begin:%Y%m%dT%H%M%SZ}\n"
        f"DTEND:{end:%Y%m%dT%H%M%SZ}\nEND:VEVENT\nEND:VCALENDAR\n"
    )
    setting = f"maintenance_calendar={calendar}"
    found = run("--data", table, "--time", "timestamp", "--compare", setting)
    silenced = found["compared"]
    assert silenced["suppressed"]["silence"] > 0
    assert len(silenced["incidents"]) < len(found["incidents"])


def test_people_get_tables_and_a_picture(table: Path, windows: Path, tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    arguments = ["--data", table, "--time", "timestamp", "--windows", windows, "--picture", picture]
    result = CliRunner().invoke(backtest, [*map(str, arguments)])
    assert result.exit_code == 0, result.output
    assert "event recall" in result.stdout
    assert "2026-01-0" in result.stdout
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_period_without_rows_is_named(table: Path) -> None:
    arguments = ["--data", str(table), "--time", "timestamp", "--from", "2027-01-01", "--json"]
    result = CliRunner().invoke(backtest, arguments)
    assert result.exit_code == 1
    assert "no rows between --from and --to" in json.loads(result.stdout)["error"]["message"]


def test_without_windows_nothing_is_judged(table: Path) -> None:
    found = run("--data", table, "--time", "timestamp", "--to", iso(times()[1600]))
    assert found["event_recall"] is None
    assert found["incidents"][0]["in_window"] is None


def test_an_incident_counts_where_it_opens() -> None:
    windows = (TimeRange(100, 200), TimeRange(300, 400), TimeRange(5000, 5001))
    judgement = judge_moments(np.array([90.0, 150.0, 160.0]), windows, TimeRange(0, 1000))
    assert judgement.event_recall == 0.5
    assert judgement.event_precision == pytest.approx(2 / 3)
    assert judgement.delays == [50]
    assert judgement.false_per_week == pytest.approx(604.8)


def test_judgements_of_several_series_add_up() -> None:
    one = judge_moments(np.array([1.0]), (TimeRange(0, 2),), TimeRange(0, 604_800))
    none = judge_moments(np.array([]), (), TimeRange(0, 604_800))
    both = join_judgements([one, none])
    assert (both.event_recall, both.weeks) == (1, 2)
    assert (none.event_recall, none.event_precision, none.false_per_week) == (None, None, 0)


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("{", "cannot be read as JSON"),
        ('"2026"', "no file of windows"),
        ("[1, 2]", "no file of windows"),
        ("[[1, 2, 3]]", "no file of windows"),
        ("[[2, 1]]", "ends before it begins"),
        ('[["yesterday", 1]]', "is not a time"),
        ('{"a": 5}', "no file of windows"),
    ],
)
def test_a_wrong_file_of_windows_is_named(text: str, mistake: str, tmp_path: Path) -> None:
    file = tmp_path / "windows.json"
    file.write_text(text)
    with pytest.raises(DataError, match=mistake):
        WindowFile(file)


def test_a_file_of_windows_is_a_list_or_lists_by_name(tmp_path: Path) -> None:
    file = tmp_path / "windows.json"
    file.write_text("[[1, 2]]")
    assert WindowFile(file).of("any") == (TimeRange(1, 2),)
    file.write_text('{"folder/load.csv": [[1, 2]], "calm": []}')
    windows = WindowFile(file)
    assert windows.of("load") == (TimeRange(1, 2),)
    assert windows.of("calm") == ()
    assert windows.of("other") is None


def test_times_are_utc_unless_they_say_otherwise() -> None:
    assert parse_moment("2026-01-01 00:00:00.000000") == BEGIN
    assert parse_moment("2026-01-01T01:00:00+01:00") == BEGIN
    assert parse_moment(12) == 12


@pytest.mark.parametrize("unit", [1, 1000, 10**6, 10**9])
def test_numbers_are_times_by_their_size(unit: int, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    at = (np.array([BEGIN + 60, BEGIN, BEGIN]) * unit).astype(np.int64)
    pd.DataFrame({"at": at, "x": [1.0, 2.0, 3.0]}).to_csv(file, index=False)
    (read,) = read_histories(file, Columns(time="at"))
    assert read.times.tolist() == [BEGIN, BEGIN, BEGIN + 60]
    assert read.table.X[:, 0].tolist() == [2, 3, 1]


def test_labelled_rows_are_windows_and_training_rows_are_the_probation(tmp_path: Path) -> None:
    file = tmp_path / "machine.npz"
    label = np.array([0, 1, 1, 0, 1])
    np.savez(file, train=np.zeros((4, 2)), test=np.zeros((5, 2)), label=label)
    (read,) = read_histories(file, Columns(), 10)
    assert read.training_rows == 4
    assert windows_of_labels(read) == (TimeRange(50, 60), TimeRange(80, 80))


def test_each_row_is_scored_once_by_a_model_of_the_rows_before_it() -> None:
    source = WalkForward(SETTINGS, over_time="sd:10", probation=0.2, refit_hours=24)
    stretches = list(source.stretches(history()))
    assert stretches[0].first == ROWS * 0.2
    ends = [stretch.first + len(stretch.X) for stretch in stretches]
    assert [stretch.first for stretch in stretches[1:]] == ends[:-1]
    assert ends[-1] == ROWS
    assert len(stretches) == len({id(stretch.model) for stretch in stretches}) > 3


def test_steps_of_a_transform_learn_from_the_probation_alone() -> None:
    over_time = "baseline:99,season:Europe/Berlin,residual"
    source = WalkForward(SETTINGS, over_time=over_time, probation=0.5, refit_hours=0)
    known = replace(history(), table=replace(history().table, times=times()))
    later = known.table.X.copy()
    later[ROWS // 2 :] += 1000
    changed = replace(known, table=replace(known.table, X=later))
    (one,), (other,) = (list(source.stretches(rows)) for rows in (known, changed))
    assert one.model.transform is not None
    assert other.model.transform is not None
    for name, array in one.model.transform.fitted.arrays.items():
        np.testing.assert_array_equal(array, other.model.transform.fitted[name])
    (again,) = RegisteredModel(one.model, "7", probation=0.5).stretches(known)
    np.testing.assert_array_equal(again.X, one.X)


def test_a_version_scores_all_rows_and_names_what_they_lack() -> None:
    trained = next(WalkForward(SETTINGS, over_time="sd:10").stretches(history())).model
    (stretch,) = RegisteredModel(trained, "7").stretches(history())
    assert (stretch.first, len(stretch.X), stretch.version) == (0, ROWS, "7")
    other = History("disk", Table(values()[:, None], ("disk",)), times())
    with pytest.raises(DataError, match="disk lacks load"):
        next(RegisteredModel(trained, "7").stretches(other))


def test_rows_that_lack_earlier_ones_are_not_judged_as_live() -> None:
    trained = next(WalkForward(SETTINGS, over_time="sd:10").stretches(history())).model
    version = RegisteredModel(trained, "7")
    replayed = replay_history(history(), version, DriftSettings.from_values())
    assert len(replayed.curve.times) == ROWS - 9
    assert replayed.curve.times[0] == BEGIN + 9 * STEP_S
    with pytest.raises(DataError, match="give more rows"):
        next(version.stretches(history().take(np.arange(9))))


def test_entities_of_a_version_alert_by_their_own_thresholds_as_live() -> None:
    trained = next(WalkForward(SETTINGS).stretches(history())).model
    threshold = replace(trained.threshold, entity_width=0.05)
    names = np.array([f"pump-{row % 3}" for row in range(ROWS)])
    of_pumps = replace(history(), table=replace(history().table, entities=names))
    version = RegisteredModel(replace(trained, threshold=threshold), "7")
    replayed = replay_history(of_pumps, version, DriftSettings.from_values())
    scores = trained.forest.score(of_pumps.table.X)
    expected = EntityThresholds().limits(threshold, scores, names.tolist())
    np.testing.assert_array_equal(replayed.curve.thresholds, expected)
    assert len(np.unique(expected)) > 3


def test_a_probation_that_teaches_nothing_is_refused() -> None:
    short = history().within(TimeRange(BEGIN, BEGIN + 100 * STEP_S))
    with pytest.raises(DataError, match="can be learnt from"):
        next(WalkForward(SETTINGS).stretches(short))


def bursts(*places: int) -> Floats:
    """Scores of a week of rows, with bursts of five that are higher and higher."""
    scores = np.full(ROWS, 0.4)
    for number, place in enumerate(places):
        scores[place : place + 5] = 0.6 + number / 10
    return scores


@pytest.mark.parametrize(("per_week", "threshold"), [(0.1, 0.8), (1, 0.7), (2, 0.6)])
def test_a_threshold_leaves_as_many_incidents_as_the_budget(
    per_week: float, threshold: float
) -> None:
    rows = Table(np.zeros((ROWS, 1)), ("x",))
    budget = IncidentBudget(
        per_week * 604_800 / (ROWS * STEP_S),
        alerts=3,
        window_rows=10,
        quiet_s=300,
    )
    limit = budget.calibrate(bursts(100, 900, 1500), rows, times() * 1.001)
    assert limit.value == threshold


def test_neighbours_of_another_entity_are_no_alerts_of_one() -> None:
    scores = np.full(ROWS, 0.4)
    scores[[100, 101, 102]] = 0.9  # of three entities
    entities = np.array(["a", "b", "c"])[np.arange(ROWS) % 3]
    rows = Table(np.zeros((ROWS, 1)), ("x",), entities=entities)
    budget = IncidentBudget(0.1, alerts=3, window_rows=10, quiet_s=300)
    assert budget.calibrate(scores, rows, times()).value == 0.4


def test_a_margin_lies_above_the_score_of_one_row_in_twenty() -> None:
    scores = np.linspace(0.3, 0.5, ROWS)
    rows = Table(np.zeros((ROWS, 1)), ("x",))
    limit = ScoreMargin(0.07).calibrate(scores, rows, times())
    assert limit.value == pytest.approx(0.49 + 0.07, abs=1e-3)
    assert ScoreMargin(0.9).calibrate(scores, rows, times()).value == 1.0


def test_the_strictest_of_the_rules_makes_the_threshold() -> None:
    def rule(*changes: str) -> object:
        source = BacktestVariant().changed(changes).source(_no_version)
        assert isinstance(source, WalkForward)
        return source.rule

    rows = Table(np.zeros((ROWS, 1)), ("x",))
    strict = rule()
    assert isinstance(strict, StrictestRule)
    assert strict.calibrate(bursts(100, 900), rows, times()).value == 0.7
    assert strict.calibrate(np.full(ROWS, 0.4), rows, times()).value == 0.4 + 0.07
    assert rule("incident_budget=0") == StrictestRule((ScoreMargin(0.07),))
    assert rule("margin=0", "incident_budget=0") is None


def _no_version(version: str) -> ModelBundle:
    raise AssertionError(version)


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ("incident_alerts", "NAME=VALUE"),
        ("speed=5", "there is no setting speed"),
        ("probation=much", "is not a number"),
        ("over_time=wobble:3", "there are diff, mean"),
    ],
)
def test_what_cannot_be_compared_is_named(change: str, mistake: str) -> None:
    with pytest.raises(BadSettings, match=mistake):
        BacktestVariant().changed([change])


def test_a_variant_differs_by_fields_and_by_settings() -> None:
    changes = ["incidentAlerts=5", "alert-rate=0.02", "over_time=diff:1"]
    variant = BacktestVariant().changed(changes)
    assert variant.drift_settings.incident_alerts == 5
    assert variant.train_settings.alert_rate == 0.02
    assert variant.over_time == "diff:1"


def test_the_quiet_time_is_hours_unless_it_is_set_or_a_version_is_replayed() -> None:
    def quiet_s(*changes: str) -> float:
        return BacktestVariant().changed(changes).drift_settings.incident_quiet_s

    assert quiet_s() == 8 * 3600
    assert quiet_s("incident_quiet_s=300") == 300
    assert quiet_s("version=7") == 300


def test_a_thinned_curve_keeps_its_peaks() -> None:
    scores = np.zeros(1000)
    scores[[17, 803]] = 1
    thin = thin_curve(ScoreCurve(np.arange(1000.0), scores, scores), 50)
    assert len(thin.times) == 50
    assert {17, 803} <= set(thin.times)
