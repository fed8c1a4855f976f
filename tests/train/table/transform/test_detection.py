"""What a forest sees with a transform and not without, on rows whose truth is known."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

from train.model.forest import CompiledForest
from train.table.dataset import read_table
from train.table.schema import Columns
from train.table.transform.feature_transform import FeatureTransform
from vigil.arrays import Floats

BUDGET = 0.01  # of training rows that alert
HOUR_S = 3600
WEEK_ROWS = 168


@dataclass(frozen=True)
class Detector:
    """A forest fitted to a table, with the threshold that its budget allows there."""

    forest: IsolationForest
    transform: FeatureTransform | None
    threshold: float

    @classmethod
    def fit(cls, frame: pd.DataFrame, folder: Path, over_time: str) -> Detector:
        frame.to_parquet(folder / "train.parquet", index=False)
        columns = Columns(time="at", entity="host" if "host" in frame else None)
        data = read_table(folder / "train.parquet", columns=columns, over_time=over_time)
        forest = IsolationForest(n_estimators=100, random_state=0).fit(data.train.X)
        scores = -forest.score_samples(data.train.X)
        return cls(forest, data.transform, float(np.quantile(scores, 1 - BUDGET)))

    def scores(
        self,
        past: Floats,
        X: Floats,
        times: Floats,
    ) -> Floats:
        """Anomaly scores of rows of one entity that follow others."""
        if self.transform is not None:
            X = self.transform.apply(X, past, times)
        compiled = CompiledForest.compile(self.forest)
        expected = -self.forest.score_samples(X)
        np.testing.assert_allclose(compiled.score(X), expected, atol=1e-6)
        return expected


@pytest.mark.parametrize(
    ("over_time", "least", "most"), [("", 0.0, 0.7), ("baseline:200", 0.97, 1.0)]
)
def test_a_host_that_is_odd_where_others_are_normal_is_found_by_its_own_baseline(
    tmp_path: Path, over_time: str, least: float, most: float
) -> None:
    hosts, rows, later = 100, 150, 20
    rng = np.random.default_rng(0)
    levels = rng.uniform(20, 80, size=(hosts, 2))
    load = levels[:, None] + rng.normal(size=(hosts, rows + later, 2))
    odd = 7
    load[odd, -5:] += np.where(levels[odd] > 50, -15, 15)  # where other hosts are all day
    known = load[:, :rows].transpose(1, 0, 2).reshape(-1, 2)
    at = 1_700_000_000 + 60 * np.arange(rows + later)
    frame = pd.DataFrame(known, columns=["cpu", "memory"]).assign(
        at=np.repeat(at[:rows], hosts), host=np.tile([f"host-{i}" for i in range(hosts)], rows)
    )
    detector = Detector.fit(frame, tmp_path, over_time)
    scores = np.stack(
        [detector.scores(one[:rows], one[rows:], at[rows:].astype(np.float64)) for one in load]
    )
    truth = np.zeros((hosts, later), bool)
    truth[odd, -5:] = True
    auroc = roc_auc_score(truth.ravel(), scores.ravel())
    assert least <= auroc <= most
    alerts = scores > detector.threshold
    if over_time:
        assert alerts[odd, -5:].all()
        assert alerts[~truth].mean() < 3 * BUDGET
    else:
        assert not alerts[odd, -5:].any()


@pytest.mark.parametrize(
    ("over_time", "least", "most"),
    [("", 0.0, 0.9), ("residual", 0.95, 1.0), ("rotate:16", 0.95, 1.0)],
)
def test_features_that_no_longer_go_together_are_found_by_what_mixes_them(
    tmp_path: Path, over_time: str, least: float, most: float
) -> None:
    rng = np.random.default_rng(0)
    driver = rng.normal(size=4000)
    X = np.column_stack([driver, 5 - 2 * driver, rng.normal(size=4000)])
    X += rng.normal(scale=0.1, size=X.shape)
    odd = np.flatnonzero((np.abs(driver) > 0.7) & (np.abs(driver) < 1.5))
    odd = odd[odd >= 3000]
    X[odd, 1] = 10 - X[odd, 1]  # each value is ordinary
    at: Floats = 1_700_000_000 + 60 * np.arange(4000, dtype=np.float64)
    frame = pd.DataFrame(X[:3000], columns=["a", "b", "c"]).assign(at=at[:3000])
    detector = Detector.fit(frame, tmp_path, over_time)
    scores = detector.scores(X[:3000], X[3000:], at[3000:])
    truth = np.zeros(1000, bool)
    truth[odd - 3000] = True
    assert least <= roc_auc_score(truth, scores) <= most


def weekly_load(weeks: int, holiday: int) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Hourly load with quiet week-ends, a batch each Monday, and a holiday on a Wednesday."""
    rng = np.random.default_rng(1)
    hours = np.arange(weeks * WEEK_ROWS)
    day, hour = hours // 24, hours % 24
    is_holiday = day == 7 * holiday + 2
    works = (day % 7 < 5) & ~is_holiday
    load = 20 + works * 40 * np.exp(-(((hour - 14) / 4) ** 2))
    load = load + 90 * ((day % 7 == 0) & (hour >= 8) & (hour < 11))
    clocks = pd.date_range("2026-02-02", periods=len(hours), freq="h")  # a Monday
    times = clocks.tz_localize("Europe/Berlin", ambiguous=True, nonexistent="shift_forward")
    X = np.column_stack([load, 2 * load]) + rng.normal(size=(len(load), 2))
    return X, times.as_unit("s").asi8.astype(np.float64), is_holiday & (hour >= 10) & (hour < 19)


@pytest.mark.parametrize("over_time", ["", "season:Europe/Berlin", "calendar:Europe/Berlin"])
def test_a_monday_is_no_incident_and_a_holiday_is(tmp_path: Path, over_time: str) -> None:
    X, times, is_holiday = weekly_load(weeks=9, holiday=7)  # clocks go forward in the last week
    known = 6 * WEEK_ROWS
    frame = pd.DataFrame(X[:known], columns=["load", "calls"]).assign(at=times[:known])
    detector = Detector.fit(frame, tmp_path, over_time)
    alerts = detector.scores(X[:known], X[known:], times[known:]) > detector.threshold
    is_monday = np.arange(len(X))[known:] // 24 % 7 == 0
    runs = alerts[1:] & alerts[:-1]
    if over_time:
        assert not (runs & is_monday[1:]).any()
        assert alerts[is_holiday[known:]].mean() > 0.7
    else:  # the batch of a Monday is the oddest hour of each week, and a holiday a long night
        assert (runs & is_monday[1:]).any()
        assert not alerts[is_holiday[known:]].any()
