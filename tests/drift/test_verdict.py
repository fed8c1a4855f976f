"""What counts as drift, as a data break, or as nothing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from drift.statistics import compare
from drift.verdict import Verdict, judge_window
from train.model.reference import Reference, build_reference
from vigil.arrays import Floats

Change = Callable[[Floats], None]


def iid(rows: int, features: int, seed: int) -> Floats:
    return np.random.default_rng(seed).normal(10, 1, (rows, features))


def autoregressive(rows: int, features: int, seed: int, memory: float = 0.9) -> Floats:
    X = np.random.default_rng(seed).normal(size=(rows, features))
    for i in range(1, rows):
        X[i] = memory * X[i - 1] + np.sqrt(1 - memory**2) * X[i]
    return X + 10


def reference(X: Floats, window_rows: int) -> Reference:
    return build_reference(
        X, tuple(f"f{j}" for j in range(X.shape[1])), np.zeros(1), window_rows=window_rows
    )


def verdict(ref: Reference, window: Floats) -> Verdict:
    return judge_window(ref, compare(ref, window), 0.01)


@pytest.fixture(scope="module")
def twelve() -> Reference:
    return reference(iid(8000, 12, 0), 500)


@pytest.mark.parametrize("size", [500, 1000])
def test_iid_windows_of_the_same_world_are_no_drift(size: int) -> None:
    ref = reference(iid(10_000, 12, 0), size)
    kinds = [verdict(ref, iid(size, 12, seed)).kind for seed in range(1, 61)]
    assert kinds.count("none") >= 59  # about two single windows of a thousand are over their floors
    assert max(kinds[i : i + 3].count("population drift") for i in range(58)) < 2


def test_a_small_shift_in_one_feature_of_thirty_is_found_and_named() -> None:
    ref = reference(iid(10_000, 30, 0), 1000)
    window = iid(1000, 30, 1)
    window[:, 17] += 0.5
    found = verdict(ref, window)
    assert (found.kind, found.features) == ("population drift", ("f17",))
    assert found.severity > 1
    assert "1 of 30 features" in found.sentence
    assert "f17" in found.sentence


def test_telemetry_with_memory_is_seldom_called_drift() -> None:
    X = autoregressive(30_000, 12, 0)
    ref = reference(X[:10_000], 500)
    found = [verdict(ref, window).kind for window in np.split(X[10_000:], 40)]
    assert found.count("none") >= 38
    shifted = [verdict(ref, window + 1.5).kind for window in np.split(X[10_000:], 40)]
    assert set(shifted) == {"population drift"}


def stuck(window: Floats) -> None:
    window[:, 3] = window[0, 3]


def missing(window: Floats) -> None:
    window[:101, 3] = np.nan


def unit(window: Floats) -> None:
    window[:, 3] *= 1000


@pytest.mark.parametrize("change", [stuck, missing, unit])
def test_a_broken_column_is_a_data_break_even_amid_drift(twelve: Reference, change: Change) -> None:
    window = iid(500, 12, 1)
    window[:, 7:] += 3
    change(window)
    found = verdict(twelve, window)
    assert (found.kind, found.severity) == ("data break", 1.0)
    assert [(f.feature, f.statistic) for f in found.findings] == [("f3", change.__name__)]
    assert f"f3 ({change.__name__})" in found.sentence


def test_some_missing_values_are_no_data_break(twelve: Reference) -> None:
    window = iid(500, 12, 1)
    window[:100, 3] = np.nan
    assert verdict(twelve, window).kind != "data break"


def test_a_world_that_grew_in_all_columns_is_drift(twelve: Reference) -> None:
    found = verdict(twelve, iid(500, 12, 1) * 10)
    assert found.kind == "population drift"
    assert set(found.features) == set(twelve.names)


def test_the_worst_feature_comes_first(twelve: Reference) -> None:
    window = iid(500, 12, 1)
    window[:, 2] += 1
    window[:, 9] += 3
    found = verdict(twelve, window)
    assert found.features == ("f9", "f2")
    assert found.severity == pytest.approx(
        found.findings[0].value / twelve.single_feature_floors[9]
    )
    assert found.to_json()["verdict"] == "population drift"


@pytest.mark.parametrize("size", [5, 20])
def test_few_rows_are_drift_only_when_they_are_far_away(size: int) -> None:
    ref = reference(iid(2000, 4, 0), size)
    assert {verdict(ref, iid(size, 4, seed)).kind for seed in range(1, 21)} == {"none"}
    assert verdict(ref, iid(size, 4, 1) + 8).kind == "population drift"
