"""Rows in the order of time have features of the rows before them, unless told otherwise."""

from pathlib import Path

import numpy as np
import pandas as pd

from train.progress import JobProgress
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.dataset import read_table
from train.table.default_context import DEFAULT_CONTEXT
from train.table.schema import Columns
from train.table.training_data import load_training_data

ROWS = 300


def frame() -> pd.DataFrame:
    times = pd.date_range("2026-01-01", periods=ROWS, freq="min")
    values = np.random.default_rng(0).normal(size=(ROWS, 2))
    return pd.DataFrame({"timestamp": times, "a": values[:, 0], "b": values[:, 1]})


def write(table: pd.DataFrame, folder: Path) -> Path:
    table.to_csv(folder / "t.csv", index=False)
    return folder / "t.csv"


def test_a_table_with_times_that_rise_has_them(tmp_path: Path) -> None:
    found = read_table(write(frame(), tmp_path), over_time=None)
    assert found.over_time == DEFAULT_CONTEXT
    assert "a" in found.train.names
    assert "sd20:top2" in found.train.names
    assert any("--over-time none" in remark for remark in found.remarks)


def test_a_table_without_times_has_none(tmp_path: Path) -> None:
    found = read_table(write(frame().drop(columns="timestamp"), tmp_path), over_time=None)
    assert found.over_time == ""
    assert found.train.names == ("a", "b")


def test_the_rows_of_an_archive_to_train_on_are_in_order(tmp_path: Path) -> None:
    values = frame()[["a", "b"]].to_numpy()
    np.savez(tmp_path / "train.npz", train=values)
    np.savez(tmp_path / "table.npz", X=values)
    assert read_table(tmp_path / "train.npz", over_time=None).over_time == DEFAULT_CONTEXT
    assert read_table(tmp_path / "table.npz", over_time=None).over_time == ""


def test_rows_of_many_hosts_without_their_names_have_none(tmp_path: Path) -> None:
    table = frame()
    table["timestamp"] = table["timestamp"].to_numpy()[np.arange(ROWS) // 2]
    found = read_table(write(table, tmp_path), over_time=None)
    assert found.over_time == ""
    assert any("--entity" in remark for remark in found.remarks)


def test_rows_of_hosts_are_compared_with_those_of_their_own(tmp_path: Path) -> None:
    table = frame()
    table["timestamp"] = table["timestamp"].to_numpy()[np.arange(ROWS) // 2]
    table["host"] = np.where(np.arange(ROWS) % 2, "x", "y")
    found = read_table(
        write(table, tmp_path),
        columns=Columns(time="timestamp", entity="host"),
        over_time=None,
    )
    assert found.over_time == DEFAULT_CONTEXT


def test_rows_out_of_order_have_none(tmp_path: Path) -> None:
    found = read_table(write(frame().iloc[::-1], tmp_path), over_time=None)
    assert found.over_time == ""
    assert not any("features" in remark for remark in found.remarks)


def test_a_table_too_short_to_look_back_has_none(tmp_path: Path) -> None:
    found = read_table(write(frame().head(15), tmp_path), over_time=None)
    assert found.over_time == ""
    assert len(found.train) == 15


def test_one_feature_has_no_other_to_be_explained_by(tmp_path: Path) -> None:
    found = read_table(write(frame().drop(columns="b"), tmp_path), over_time=None)
    assert found.over_time == "diff:1,sd:10"


def test_a_job_may_say_none_and_keeps_what_was_chosen(tmp_path: Path) -> None:
    file = str(write(frame(), tmp_path))
    settings = TrainSettings(max_samples=64)
    chosen = load_training_data(JobSpec(data=file), settings, JobProgress())
    plain = load_training_data(JobSpec(data=file, over_time="none"), settings, JobProgress())
    assert chosen.over_time == DEFAULT_CONTEXT
    assert chosen.transform is not None
    assert plain.transform is None
    assert JobSpec(data=file, over_time="") == JobSpec(data=file, over_time="none")
    assert "--over-time=none" in JobSpec(data=file, over_time="none").arguments()
