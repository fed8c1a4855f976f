"""train/model/threshold.py: the alert budget is kept, and the best F1 is found.

Alerts are strictly above the threshold.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from train.model import threshold

few = settings(max_examples=50, deadline=None)
tied = st.lists(st.integers(1, 8).map(lambda k: k / 8), min_size=2, max_size=60)


@few
@given(tied, st.sampled_from([0.001, 0.01, 0.1, 0.3, 0.49]))
def test_no_more_than_the_budget_alerts_even_on_ties(values: list[float], budget: float) -> None:
    scores = np.array(values)
    made = threshold.to_alert_rate(scores, budget)
    assert (made.policy, made.budget) == ("alert_rate", budget)
    assert made.value in values
    assert made.expected_rate == np.mean(scores > made.value) <= budget


@pytest.mark.parametrize(("budget", "alerts"), [(0.25, 25), (0.01, 1)])
def test_the_budget_is_used_up_to_one_row(budget: float, alerts: int) -> None:
    scores = np.arange(1, 101) / 128
    rate = threshold.to_alert_rate(scores, budget).expected_rate
    assert alerts - 1 <= round(rate * 100) <= alerts


@few
@given(tied, st.data())
def test_labels_give_the_threshold_of_the_best_f1(
    values: list[float], choice: st.DataObject
) -> None:
    scores = np.array(values)
    labels = np.array(
        choice.draw(st.lists(st.integers(0, 1), min_size=len(values), max_size=len(values)))
    )
    labels[:2] = 0, 1
    made = threshold.to_labels(scores, labels, 0.01)
    assert (made.policy, made.budget) == ("labels", 0.01)
    assert made.expected_rate == np.mean(scores > made.value)
    best = max(f1_score(labels, scores >= cut) for cut in scores)
    assert f1_score(labels, scores > made.value) == pytest.approx(best)


def test_alerts_are_strictly_above_the_threshold() -> None:
    scores, labels = np.array([0.2, 0.4, 0.6, 0.8]), np.array([0, 0, 1, 1])
    assert (scores > threshold.to_alert_rate(scores, 0.2).value).tolist() == [
        False,
        False,
        False,
        False,
    ]
    made = threshold.to_labels(scores, labels, 0.01)
    assert made.value == np.nextafter(0.6, 0)
    assert (scores > made.value).tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("rows", "budget"), [(100, "1/100"), (250, "1/50"), (997, "3/100"), (1000, "1/10")]
)
def test_the_budget_is_used_up_when_no_scores_are_equal(rows: int, budget: str) -> None:
    scores = np.random.default_rng(0).permutation(np.linspace(0.1, 0.9, rows))
    value = threshold.to_alert_rate(scores, float(Fraction(budget))).value
    assert (scores > value).sum() == int(Fraction(budget) * rows)


def test_recall_may_count_more_and_k_rows_may_alert() -> None:
    scores, labels = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]), np.array([0, 1, 0, 0, 0, 1, 1])
    precise, eager = (
        threshold.to_labels(scores, labels, 0.01, beta=beta).value for beta in (0.5, 4.0)
    )
    assert ((scores > precise).sum(), (scores > eager).sum()) == (2, 6)
    assert [(scores > threshold.to_count(scores, k, 0.01).value).sum() for k in (1, 3)] == [1, 3]


def test_the_interval_covers_the_rate_of_bursts_and_of_none() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(60):  # 20 bursts of 25 rows in 10,000, on average
        alerts = np.repeat(rng.random(400) < 0.05, 25)
        low, high = threshold.alert_rate_interval(alerts)
        covered += low <= 0.05 <= high
    assert covered >= 50
    assert threshold.alert_rate_interval(np.zeros(300, bool)) == (0.0, 0.01)


single = st.lists(st.integers(1, 8).map(lambda k: k / 8), min_size=1, max_size=12)


@few
@given(tied, single, single, st.floats(0.001, 0.4))
def test_verdicts_give_the_best_f1_and_what_is_left_open_the_budget(
    scores: list[float], confirmed: list[float], dismissed: list[float], budget: float
) -> None:
    rows = np.array(scores)
    judged = np.array([*confirmed, *dismissed])
    labels = np.array([1] * len(confirmed) + [0] * len(dismissed))
    made = threshold.to_verdicts(rows, np.array(confirmed), np.array(dismissed), budget).value
    wanted = threshold.to_alert_rate(rows, budget).value

    def f1(value: float) -> float:
        return float(f1_score(labels, judged > value))

    candidates = [wanted, 0.0, *(np.nextafter(judged, 0))]
    best = max(map(f1, candidates))
    assert f1(made) == pytest.approx(best)
    nearest = min(abs(one - wanted) for one in candidates if f1(one) == pytest.approx(best))
    assert abs(made - wanted) <= nearest + 1e-12
