"""Scenarios: what happens to which row, repeatably, and the truth about it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from serve.local.demo import live_rows
from serve.local.row_times import WEEK_S, RowTimes, times_for
from serve.local.scenario import Replay, Scenario, ScenarioEvent, read_events
from serve.local.simulate import row_body, write_records
from serve.local.telemetry import telemetry, write_table
from serve.model.row_format import RowFormat
from tests.answering import answering
from train.table.schema import Columns
from train.table.transform.feature_transform import FeatureTransform
from train.table.transform.fitted import FittedSteps
from train.table.words import DeclaredCategory
from vigil.errors import DataError
from vigil.service import Service

TABLE = telemetry(500, seed=3, anomaly_rate=0.0)


def features(scenario: Scenario, i: int) -> np.ndarray:
    return np.array(json.loads(scenario.record(i, "x")[0])["features"], float)


def test_without_events_the_table_comes_again_and_again() -> None:
    scenario = Scenario(TABLE, [])
    np.testing.assert_array_equal(features(scenario, 507), TABLE.X[7])
    assert scenario.rate(3) == 1.0


def test_rows_of_a_table_with_entities_say_whose_they_are(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("host,cpu,net\n" + "a,1.5,2.5\nb,2.5,3.5\n" * 3)
    table = live_rows(str(file), Columns(entity="host"))
    records = [json.loads(Scenario(table, []).record(i, "x")[0]) for i in (0, 1, 6)]
    assert [record["entity"] for record in records] == ["a", "b", "a"]
    assert json.loads(row_body(table.X[1].tolist(), table.entity_of(1))) == {
        "features": [2.5, 3.5],
        "entity": "b",
    }
    assert "entity" not in json.loads(Scenario(TABLE, []).record(0, "x")[0])


def test_rows_of_a_table_with_categories_are_sent_with_their_words(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text('cpu,proto,net\n1.5,tcp,2.5\n2.5,"u,dp",3.5\n')
    table = live_rows(str(file), Columns(categories=(DeclaredCategory("proto"),)))
    record = json.loads(Scenario(table, []).record(3, "x")[0])
    assert record["features"] == [2.5, "u,dp", 3.5]
    write_table(table, 2, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == file.read_text()


def test_rows_with_times_keep_their_hour_of_the_week_and_are_not_ahead(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    times = pd.date_range("2026-03-02", periods=30, freq="8h")
    pd.DataFrame({"at": times.astype(str), "cpu": np.arange(30.0)}).to_csv(file, index=False)
    table = live_rows(str(file), Columns(time="at"))
    now = datetime(2026, 3, 3, 16, tzinfo=UTC).timestamp()
    sent = RowTimes.of(table, 75, now)
    assert sent is not None
    seconds = np.array([sent.at(i) for i in range(75)])
    assert (np.diff(seconds) > 0).all()
    assert now - 3 * WEEK_S < seconds[-1] <= now
    wanted = times.as_unit("s").astype("int64").to_numpy()
    away = (seconds - np.resize(wanted, 75)) / WEEK_S
    np.testing.assert_array_equal(away, np.round(away))
    record = json.loads(Scenario(table, [], sent).record(31, "x")[0])
    assert record["time"] == seconds[31] * 1000
    assert json.loads(row_body([1.0], at=seconds[31]))["time"] == seconds[31] * 1000


def test_times_that_are_no_dates_are_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("step,cpu\n1,2\n2,3\n")
    assert RowTimes.of(live_rows(str(file), Columns(time="step")), 9, 1e9) is None
    assert RowTimes.of(TABLE, 9, 1e9) is None


@pytest.mark.parametrize(("over_time", "is_timed"), [("calendar", True), ("diff:1", False)])
def test_a_service_gets_the_times_that_its_model_needs(
    over_time: str, is_timed: bool, tmp_path: Path
) -> None:
    fitted = FittedSteps({"calendar.level": np.zeros((168, 1))} if is_timed else {})
    transform = FeatureTransform.parse(over_time, ("cpu",), fitted)
    wire = RowFormat(("cpu",), transform, "key").to_wire()
    file = tmp_path / "rows.csv"
    file.write_text("at,cpu\n2026-03-02T00:00:00Z,2\n2026-03-02T00:01:00Z,3\n")
    table = live_rows(str(file), Columns(time="at"))
    with answering(lambda _: (200, wire)) as url:
        assert (times_for(Service(url), table, 5) is not None) == is_timed
    assert times_for(Service(url), table, 5) is None  # nobody answers any more


def test_an_event_begins_and_ends_where_it_says() -> None:
    bursts = [ScenarioEvent("burst", 10, 5, size=10.0), ScenarioEvent("burst", 12, 1, size=2.0)]
    scenario = Scenario(TABLE, [ScenarioEvent("drift", 100, 50, "shift", 5.0), *bursts])
    changed = [i for i in range(200) if (features(scenario, i) != TABLE.X[i]).any()]
    assert changed == list(range(100, 150))
    assert [scenario.rate(i) for i in (9, 10, 12, 15)] == [1.0, 10.0, 20.0, 1.0]
    assert scenario.record(120, "x")[1].events == ["drift shift"]


@pytest.mark.parametrize(
    ("how", "columns"), [("null", 1), ("stuck", 1), ("unit", 1), ("sign", 1), ("swap", 2)]
)
def test_a_break_spoils_its_column_in_every_row(how: str, columns: int) -> None:
    scenario = Scenario(TABLE, [ScenarioEvent("break", 10, how=how, seed=4)])  # type: ignore[arg-type]
    spoiled = {tuple(np.flatnonzero(features(scenario, i) != TABLE.X[i])) for i in range(11, 60)}
    assert len(spoiled) == 1
    assert len(spoiled.pop()) == columns


def test_bad_records_and_anomalies_are_as_many_as_asked_and_written_down(tmp_path: Path) -> None:
    events = [ScenarioEvent("bad", share=0.1), ScenarioEvent("anomaly", share=0.05, size=8.0)]
    replay = Replay(Scenario(TABLE, events), tmp_path / "truth.jsonl")
    records = [replay.body(i) for i in range(2000)]
    replay.close()
    truth = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert [t["id"] for t in truth] == [replay.name(i) for i in range(2000)]
    bad = [t["row"] for t in truth if "bad" in t["events"]]
    strange = [t["row"] for t in truth if t["label"]]
    assert len(bad) == pytest.approx(200, abs=50)
    assert len(strange) == pytest.approx(100 * 0.9, abs=35)

    def good(record: bytes) -> bool:
        try:
            found = json.loads(record)["features"]
        except (ValueError, KeyError):
            return False
        return len(found) == len(TABLE.names) and all(isinstance(v, float) for v in found)

    assert [i for i, record in enumerate(records) if not good(record)] == bad
    again = Replay(Scenario(TABLE, events))
    assert [again.scenario.record(i, "x")[1].label for i in strange[:5]] == [1] * len(strange[:5])


class ManualClock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_records_go_to_a_log(tmp_path: Path) -> None:
    replay = Replay(Scenario(TABLE, [ScenarioEvent("burst", 50, size=10.0)]))
    summary = replay.write_to(f"file:{tmp_path / 'log'}", rate=5000, rows=300)
    lines = (tmp_path / "log" / "simulated.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == [replay.name(i) for i in range(300)]
    assert summary["records"] == 300


def test_records_follow_at_their_rate() -> None:
    clock = ManualClock()
    scenario = Scenario(TABLE, [ScenarioEvent("burst", 50, size=10.0)])
    written: list[float] = []
    late = write_records(
        lambda i: (str(i), b""),
        500,
        lambda records: written.extend([clock.now] * len(records)),
        rows=300,
        times=scenario.rate,
        clock=clock,
        sleep=clock.sleep,
    )
    assert written[49] == pytest.approx(100 + 50 / 500)
    assert written[-1] == pytest.approx(100 + 50 / 500 + 250 / 5000)
    assert late == pytest.approx(0)


def test_a_slow_log_delays_what_follows_and_it_is_told() -> None:
    clock = ManualClock()
    late = write_records(
        lambda i: (str(i), b""),
        1000,
        lambda records: clock.sleep(0.002 * len(records)),
        rows=100,
        clock=clock,
        sleep=clock.sleep,
    )
    assert late == pytest.approx(0.101)


@pytest.mark.parametrize(
    "text",
    ["{", '[{"kind": "flood"}]', '[{"kind": "bad", "at": -1}]', '[{"kind": "bad", "on": 1}]'],
)
def test_a_wrong_scenario_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(DataError, match=r"s\.json cannot be read"):
        read_events(tmp_path / "s.json")
