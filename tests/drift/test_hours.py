"""Windows beside the rows of their own hours: generated days with a known truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from drift.comparison import Comparison
from drift.statistics import compare, compared_by_hour
from drift.verdict import Verdict, judge_window
from serve.model.report import CapturedRows, RowContext
from train.challenger import TrainingSetup, assemble_challenger
from train.model.bundle import ModelBundle
from train.model.fit import fit_part
from train.model.hours import MIN_HOUR_DAYS, hours_of_day
from train.model.reference import Reference, build_reference
from train.model.reference_arrays import reference_from_arrays, reference_to_arrays
from train.progress import JobProgress
from train.registry.versions import Version
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.captured import CapturedWindows, read_captured
from train.table.row_making import RowMaking
from train.table.training_data import load_training_data
from vigil.arrays import Floats
from vigil.errors import BundleError

NAMES = ("load", "disk", "net")
BEGIN = 1_772_409_600.0  # a midnight in UTC
DAY_ROWS = 720  # a row every two minutes
WINDOW = 120  # four hours
TRAINED_DAYS = 12
ALPHA = 0.01


def days(count: int, seed: int, first: int = 0) -> tuple[Floats, Floats]:
    """Rows of so many days and their times: `load` has a cycle, the others have none."""
    rng = np.random.default_rng(seed)
    times = BEGIN + (first * DAY_ROWS + np.arange(count * DAY_ROWS)) * 86400 / DAY_ROWS
    X = rng.normal(size=(len(times), 3))
    X[:, 0] += 4 * np.sin(2 * np.pi * times / 86400)
    return X, times


def built(count: int = TRAINED_DAYS, *, with_times: bool = True) -> Reference:
    X, times = days(count, 0)
    return build_reference(
        X,
        NAMES,
        np.linspace(0.3, 0.7, len(X)),
        window_rows=WINDOW,
        times=times if with_times else None,
    )


def judge(reference: Reference, rows: Floats, times: Floats | None) -> Verdict:
    statistics = compare(reference, rows)
    by_hour = compared_by_hour(reference, statistics, rows, times)
    return judge_window(reference, statistics, ALPHA, by_hour=by_hour)


@pytest.fixture(scope="module")
def reference() -> Reference:
    return built()


def windows(X: Floats, times: Floats) -> list[tuple[Floats, Floats]]:
    return [
        (X[i : i + WINDOW], times[i : i + WINDOW]) for i in range(0, len(X) - WINDOW + 1, WINDOW)
    ]


def test_a_daily_cycle_alone_is_no_drift(reference: Reference) -> None:
    X, times = days(10, 1, first=TRAINED_DAYS)
    kinds = [judge(reference, rows, at).kind for rows, at in windows(X, times)]
    assert kinds == ["none"] * 60


@pytest.mark.parametrize("hour", [4, 18])
def test_a_shift_within_one_hour_is_seen_by_hours_alone(reference: Reference, hour: int) -> None:
    X, times = days(1, 2, first=TRAINED_DAYS)
    X[hours_of_day(times) == hour, 0] *= -0.2  # a value that is ordinary at another hour
    own = next(each for each in windows(X, times) if hour in hours_of_day(each[1]))
    assert judge(reference, *own).features == ("load",)
    assert judge(reference, own[0], None).kind == "none"


def test_a_shift_of_all_hours_is_seen_earlier(reference: Reference) -> None:
    X, times = days(1, 3, first=TRAINED_DAYS)
    X[:, 0] += 1.5
    by_hour = [judge(reference, rows, at).kind for rows, at in windows(X, times)]
    whole = [judge(reference, rows, None).kind for rows, _ in windows(X, times)]
    assert by_hour == ["population drift"] * 6
    assert whole.count("population drift") <= 2


def test_floors_of_hours_are_those_of_the_noise(reference: Reference) -> None:
    assert reference.hours is not None
    assert reference.floors[0] > 2 * reference.hours.floors[0]
    assert (reference.hours.floors < 0.3).all()


@pytest.mark.parametrize("untimed", ["few days", "no times", "no dates", "hours that lack"])
def test_without_enough_days_there_are_no_hours(untimed: str) -> None:
    if untimed == "few days":
        assert built(MIN_HOUR_DAYS - 1).hours is None
        assert built(MIN_HOUR_DAYS).hours is not None
    elif untimed == "hours that lack":
        X, times = days(TRAINED_DAYS, 0)
        by_day = hours_of_day(times) != 3
        made = build_reference(
            X[by_day], NAMES, np.ones(9), window_rows=WINDOW, times=times[by_day]
        )
        assert made.hours is None
    else:
        assert built(with_times=False).hours is None


def test_a_window_without_times_or_in_a_rush_is_held_to_the_whole_day(
    reference: Reference,
) -> None:
    X, times = days(1, 4)
    times = times[:WINDOW]
    assert reference.of_hours(times) is not None
    assert reference.of_hours(np.where(np.arange(WINDOW) == 7, np.nan, times)) is None
    assert reference.of_hours(times[0] + np.arange(WINDOW)) is None
    assert compared_by_hour(reference, compare(reference, X[:WINDOW]), X[:WINDOW], None) is None


def test_hours_travel_in_the_bundle_and_are_checked(reference: Reference) -> None:
    arrays, values = reference_to_arrays(reference)
    back = reference_from_arrays(arrays, values)
    back.check(NAMES)
    assert back.hours is not None
    assert reference.hours is not None
    np.testing.assert_array_equal(back.hours.samples, reference.hours.samples)
    for name, array in {
        "hour_samples": arrays["hour_samples"][:5],
        "hour_floors": np.zeros(3),
        "hour_limits": np.array([0.0, np.nan]),
    }.items():
        with pytest.raises(BundleError, match="the hours of the drift reference"):
            reference_from_arrays(arrays | {name: array}, values).check(NAMES)


def test_floors_of_hours_never_fall_below_those_before(reference: Reference) -> None:
    assert reference.hours is not None
    high = replace(reference.hours, floors=np.full(3, 0.9))
    joined = reference.with_floors_of(replace(reference, hours=high))
    assert joined.hours is not None
    np.testing.assert_array_equal(joined.hours.floors, 0.9)
    assert replace(reference, hours=None).with_floors_of(reference).hours is None


def test_windows_of_live_rows_are_held_to_their_hours(reference: Reference) -> None:
    X, times = days(1, 2, first=TRAINED_DAYS)
    X[hours_of_day(times) == 4, 0] *= -0.2
    bundle: Any = SimpleNamespace(
        names=NAMES,
        reference=reference,
        threshold=SimpleNamespace(value=0.9, budget=0.01),
        transform=None,
        categories=None,
    )
    rows, at = next(each for each in windows(X, times) if 4 in hours_of_day(each[1]))
    kinds = {}
    for name, context in {
        "timed": RowContext(times=at.tolist()),
        "untimed": None,
    }.items():
        comparison = Comparison(Version("1", "run", "d" * 64, 0.0), bundle)
        scores = np.linspace(0.3, 0.7, WINDOW)
        batch = CapturedRows("1", rows, scores, ["r"] * WINDOW, 0.9, context)
        (window,) = comparison.window.add(batch, 0.0)
        kinds[name] = comparison.judge(window, ALPHA).kind
        shown = comparison.status()["features"][0]
        assert (shown["ks"] > shown["floor"]) == (name == "timed")
    assert kinds == {"timed": "population drift", "untimed": "none"}


def test_training_makes_hours_of_the_times_of_its_table(tmp_path: Path) -> None:
    X, times = days(7, 0)
    frame = pd.DataFrame(X[::2], columns=list(NAMES))
    frame.insert(0, "at", pd.to_datetime(times[::2], unit="s", utc=True).astype(str))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    spec = JobSpec(data=str(tmp_path / "rows.csv"), over_time="none")
    settings = TrainSettings.from_values(n_estimators=5, max_samples=64, window_rows=60)
    data = load_training_data(spec, settings, JobProgress())
    forest = fit_part(data.fit.X, trees=5, max_samples=64, max_features=1.0, seed=1)
    made = assemble_challenger(forest, TrainingSetup(spec, settings, data), None)
    assert made.reference.hours is not None
    shuffled = spec.model_copy(update={"shuffled": True})
    data = load_training_data(shuffled, settings, JobProgress())
    made = assemble_challenger(forest, TrainingSetup(shuffled, settings, data), None)
    assert made.reference.hours is None


def captured_days(
    folder: Path, champion: ModelBundle, *, with_times: bool
) -> tuple[Floats, Floats]:
    """A week of rows in windows, as the monitor keeps them; returns the rows and their times."""
    raw, times = days(7, 1, first=TRAINED_DAYS)
    assert champion.transform is not None
    X = champion.transform.apply(raw, times=times)
    windows = CapturedWindows(folder, keep=99)
    comparison = Comparison(Version("1", "run", "d" * 64, 0.0), champion)
    context = RowContext(times=times.tolist()) if with_times else None
    scores = champion.forest.score(X)
    batch = CapturedRows("1", X, scores, ["r"] * len(X), 0.9, context)
    for window in comparison.window.add(batch, 1000.0):
        comparison.write(window, windows)
    return X, times


@pytest.mark.parametrize("with_times", [True, False])
def test_a_retraining_on_captured_rows_makes_hours_of_their_times(
    tmp_path: Path, with_times: bool
) -> None:
    X, times = days(7, 0)
    frame = pd.DataFrame(X[::2], columns=list(NAMES))
    frame.insert(0, "at", pd.to_datetime(times[::2], unit="s", utc=True).astype(str))
    frame.to_csv(tmp_path / "rows.csv", index=False)
    settings = TrainSettings.from_values(n_estimators=5, max_samples=64, window_rows=WINDOW)
    spec = JobSpec(data=str(tmp_path / "rows.csv"), over_time="calendar:UTC")
    champion = trained(spec, settings, None)
    live, at = captured_days(tmp_path / "captured", champion, with_times=with_times)
    retraining = JobSpec.of_bundle(
        champion.info, captured=str(tmp_path / "captured"), trigger="schedule"
    )
    challenger = trained(retraining, settings, champion)
    assert (challenger.reference.hours is not None) == with_times
    assert challenger.transform == champion.transform
    rows = read_captured(tmp_path / "captured", 0)
    assert rows is not None
    np.testing.assert_array_equal(rows.X, live)
    hour = rows.X[:, rows.names.index("calendar:hour_sin")]
    np.testing.assert_allclose(hour, np.sin(2 * np.pi * at / 86400), atol=1e-9)
    if challenger.reference.hours is not None:
        assert rows.times is not None
        of_three = rows.X[hours_of_day(rows.times) == 3, 0]
        kept = challenger.reference.hours.samples[3, :, 0]
        assert of_three.min() <= kept[0] <= kept[-1] <= of_three.max()


def trained(spec: JobSpec, settings: TrainSettings, champion: ModelBundle | None) -> ModelBundle:
    making = RowMaking.of(champion) if champion else None
    data = load_training_data(spec, settings, JobProgress(), making)
    forest = fit_part(data.fit.X, trees=5, max_samples=64, max_features=1.0, seed=1)
    return assemble_challenger(forest, TrainingSetup(spec, settings, data), champion)
