"""A retraining makes its rows as the champion does, for so were captured rows made."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.train.conftest import fit_challenger
from train.challenger import TrainingSetup, judge
from train.model.bundle import ModelBundle
from train.progress import JobProgress
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.captured import AnsweredRows, CapturedWindows
from train.table.numbering import number_rows
from train.table.row_making import RowMaking
from train.table.table import Table
from train.table.training_data import load_training_data
from train.table.transform.feature_transform import FeatureTransform
from vigil.arrays import Floats
from vigil.errors import DataError

NAMES = ("cpu", "net", "disk")
STEPS = "baseline:200,residual,rotate:3,sd:3"
SETTINGS = TrainSettings(n_estimators=40, max_samples=128, seed=1)
DRIFT = np.array([6.0, -3.0, 9.0])
LIVE_ROWS = 800


def series(rows: int, seed: int) -> Floats:
    """Rows of features that go together."""
    rng = np.random.default_rng(seed)
    load = rng.normal(size=(rows, 1))
    return 5.0 + load * [1.0, 2.0, -1.0] + rng.normal(0, 0.3, (rows, 3))


def grown() -> Floats:
    return np.concatenate([series(1500, seed=0), series(1500, seed=1) * 4])


def write_table(file: Path, X: Floats) -> None:
    frame = pd.DataFrame(X, columns=list(NAMES))
    frame.insert(0, "host", "a")
    frame.to_csv(file, index=False)


def fit(spec: JobSpec, champion: ModelBundle | None) -> tuple[ModelBundle, TrainingSetup]:
    making = RowMaking.of(champion) if champion else None
    data = load_training_data(spec, SETTINGS, JobProgress(), making)
    return fit_challenger(spec, SETTINGS, data, champion)


@dataclass(frozen=True)
class Drifted:
    """A champion, raw rows after a drift of level, and the retraining on them."""

    champion: ModelBundle
    live: Floats
    retraining: JobSpec


@pytest.fixture
def drifted(tmp_path: Path) -> Drifted:
    """The champion's table has grown since, so steps that learn of it anew make other rows."""
    table = tmp_path / "rows.csv"
    write_table(table, series(1500, seed=0))
    spec = JobSpec(
        data=str(table),
        entity="host",
        over_time=STEPS,
    )
    champion, _ = fit(spec, None)
    write_table(table, grown())
    live = series(LIVE_ROWS, seed=2) + DRIFT
    capture(tmp_path, champion, live)
    retraining = JobSpec.of_bundle(
        champion.info,
        captured=str(tmp_path / "captured"),
        trigger="drift",
    )
    return Drifted(champion, live, retraining)


def capture(
    folder: Path,
    champion: ModelBundle,
    live: Floats,
) -> None:
    """Windows as the monitor writes them, and one of a transform that has learnt otherwise."""
    windows = CapturedWindows(folder / "captured", keep=9)
    rows = transform_of(champion).apply(live)
    foreign = np.full((100, rows.shape[1]), 1e6)
    for X, key in ((rows, RowMaking.of(champion).key), (foreign, "another")):
        requests = ["r"] * len(X)
        answered = AnsweredRows(
            requests,
            np.zeros(len(X), bool),
            "1",
            number_rows(requests),
        )
        windows.write(
            Table(X, champion.names),
            np.zeros(len(X)),
            answered,
            1000.0,
            made_by=key,
        )


def transform_of(bundle: ModelBundle) -> FeatureTransform:
    assert bundle.transform is not None
    return bundle.transform


def served_rows(bundle: ModelBundle, raw: Floats) -> Floats:
    """The rows that the service makes of raw ones, which come one by one."""
    transform = transform_of(bundle)
    carried = transform.new_carried(1)
    padded = np.concatenate([np.zeros((transform.length, raw.shape[1])), raw])
    rows: list[Floats] = []
    for number in range(len(raw)):
        window = padded[None, number : number + transform.length + 1]
        row, carried = transform.apply_latest(
            window,
            np.array([number + 1]),
            None,
            carried,
        )
        rows.append(row[0])
    return np.array(rows)


def test_the_challenger_scores_raw_rows_by_the_function_that_made_its_reference(
    drifted: Drifted,
) -> None:
    challenger, setup = fit(drifted.retraining, drifted.champion)
    assert challenger.transform == drifted.champion.transform
    served = served_rows(challenger, drifted.live)
    offline = setup.data.reference_rows.X
    np.testing.assert_array_equal(served, offline)
    np.testing.assert_array_equal(challenger.forest.score(served), challenger.forest.score(offline))


def test_the_challenger_takes_the_new_level_for_usual(drifted: Drifted) -> None:
    challenger, _ = fit(drifted.retraining, drifted.champion)
    rows = served_rows(challenger, drifted.live)[-200:]
    alerts = challenger.forest.score(rows) > challenger.threshold.value
    assert alerts.mean() < 0.05


def test_steps_that_learn_anew_would_make_other_rows(drifted: Drifted) -> None:
    anew = load_training_data(drifted.retraining, SETTINGS, JobProgress())
    assert anew.transform is not None
    assert anew.transform != drifted.champion.transform


def test_captured_rows_without_a_word_on_steps_have_the_champions(drifted: Drifted) -> None:
    unsaid = drifted.retraining.model_copy(update={"over_time": None})
    challenger, setup = fit(unsaid, drifted.champion)
    assert challenger.transform == drifted.champion.transform
    assert setup.data.over_time == STEPS


def test_a_training_holds_the_champion_against_it_on_rows_as_the_champion_makes_them(
    drifted: Drifted,
) -> None:
    champion = drifted.champion
    training = drifted.retraining.model_copy(update={"captured": None})
    challenger, setup = fit(training, champion)
    assert challenger.transform != champion.transform
    made = transform_of(champion).apply(grown())
    own = setup.data.of_champion
    assert own is not None
    np.testing.assert_allclose(own.X, made[-len(own) :])
    metrics = judge(challenger, champion, setup).metrics
    alerts = champion.forest.score(own.X) > champion.threshold.value
    assert metrics["champion_alert_rate"] == pytest.approx(alerts.mean())


def test_a_table_of_other_features_is_refused(drifted: Drifted) -> None:
    frame = pd.read_csv(drifted.retraining.data).rename(columns={"disk": "fan"})
    frame.to_csv(drifted.retraining.data, index=False)
    with pytest.raises(DataError, match="differ in disk, fan"):
        fit(drifted.retraining, drifted.champion)
