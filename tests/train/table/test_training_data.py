"""Rows that a retraining is fitted on: the baseline, and those that were captured since."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from train.progress import JobProgress
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.captured import AnsweredRows, CapturedWindows, window_name
from train.table.numbering import number_rows
from train.table.table import Table
from train.table.training_data import load_training_data
from vigil.errors import DataError


@pytest.mark.parametrize(("weight", "old"), [(1.0, 800), (4.0, 200), (0.25, 1600)])
def test_captured_rows_weigh_as_the_settings_say(tmp_path: Path, weight: float, old: int) -> None:
    """2,000 old rows and 1,000 captured ones, a fifth of each held out; not more old ones than
    there are."""
    rng = np.random.default_rng(0)
    (tmp_path / "old.csv").write_text(
        "a,b\n" + "".join(f"{x},{y}\n" for x, y in rng.normal(size=(2000, 2)))
    )
    folder = tmp_path / "captured" / "date=2026-01-01"
    folder.mkdir(parents=True)
    live = rng.normal(100, 1, (1000, 2))
    pq.write_table(
        pa.table({"a": live[:, 0], "b": live[:, 1]}), folder / Path(window_name(1000.0)).name
    )
    spec = JobSpec(data=str(tmp_path / "old.csv"), captured=str(tmp_path / "captured"), since=500.0)
    rows = load_training_data(spec, TrainSettings(captured_weight=weight), JobProgress())
    new = rows.fit.X[:, 0] > 50
    assert (int(new.sum()), int((~new).sum())) == (800, old)
    assert len(rows.reference_rows) == 1000


def test_rows_that_were_captured_too_late_are_left_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "old.npz", train=rng.normal(size=(2000, 2)), names=["a", "b"])
    captured = CapturedWindows(tmp_path / "captured", keep=9)
    for at in (1000.0, 2000.0, 3000.0):
        live = Table(np.full((500, 2), at) + rng.normal(size=(500, 2)), ("a", "b"))
        requests = ["r"] * 500
        answered = AnsweredRows(requests, np.zeros(500, bool), "1", number_rows(requests))
        captured.write(live, np.zeros(500), answered, at)
    spec = JobSpec(
        data=str(tmp_path / "old.npz"),
        captured=str(tmp_path / "captured"),
        since=1500.0,
        until=3000.0,
    )
    data = load_training_data(spec, TrainSettings(), JobProgress())
    assert len(data.reference_rows) == 500
    assert abs(data.reference_rows.X.mean() - 2000.0) < 1.0


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            np.random.default_rng(0).normal(size=(300, 2)),
            "240 rows are left to fit on after 20% are held out, fewer than max_samples",
        ),
        (np.full((2000, 2), 7.0), "every feature of .* is constant: there is nothing to learn"),
    ],
    ids=["few", "constant"],
)
def test_what_no_forest_can_be_fitted_on_is_refused(
    tmp_path: Path, rows: np.ndarray, said: str
) -> None:
    np.savez(tmp_path / "t.npz", train=rows)
    with pytest.raises(DataError, match=said):
        load_training_data(
            JobSpec(data=str(tmp_path / "t.npz"), over_time="none"), TrainSettings(), JobProgress()
        )
