"""Labels beside what was answered: late, early, twice; precision, recall, their intervals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from drift.feedback import Feedback, FeedbackLimits, Label
from serve.metrics import DriftMetrics
from train.table.captured import AnsweredRows, CapturedWindows
from train.table.numbering import number_rows
from train.table.table import Table


@pytest.fixture
def make(tmp_path: Path):
    """make() is the feedback of the test's own file; a second one is a restarted monitor's."""
    return lambda limits=None: Feedback(tmp_path / "feedback.json", DriftMetrics(), limits)


def answered(requests: list[str], *alerts: int) -> AnsweredRows:
    return AnsweredRows(requests, np.array(alerts, bool), "1", number_rows(requests))


def test_labels_are_matched_by_request_and_row(make) -> None:
    seen = make()
    seen.answered(answered(["a", "a", "b", "c"], 1, 0, 1, 0))
    told = seen.tell(
        [Label("a", True), Label("a", True, row=1), Label("b", False), Label("c", False)]
    )
    assert told == {"matched": 4, "waiting": 0}
    found = seen.figures()
    counted = [
        found[name]
        for name in ("true_positive", "false_negative", "false_positive", "true_negative")
    ]
    assert counted == [1, 1, 1, 1]
    assert found["precision"]["value"] == found["recall"]["value"] == 0.5
    assert seen.figures("2")["labelled"] == 0


def test_a_label_that_comes_before_its_row_waits_for_it_also_over_a_restart(make) -> None:
    assert make().tell([Label("a", True), Label("x", True)]) == {"matched": 0, "waiting": 2}
    again = make()
    again.answered(answered(["a"], 1))
    assert (again.figures()["true_positive"], again.figures()["waiting"]) == (1, 1)
    assert make().figures()["true_positive"] == 1


def test_the_last_word_on_a_row_counts_and_only_once(make) -> None:
    seen = make()
    seen.answered(answered(["a"], 1))
    for anomaly in (True, True, False):
        seen.tell([Label("a", anomaly)])
    assert (seen.figures()["false_positive"], seen.figures()["labelled"]) == (1, 1)
    assert make().tell([Label("a", True)]) == {
        "matched": 1,
        "waiting": 0,
    }  # what was labelled once is known after a restart


def test_what_is_remembered_is_bounded(make) -> None:
    seen = make(FeedbackLimits(answered=3, labels=3, waiting=3))
    for i in range(10):
        seen.answered(answered([f"s{i}"], 1))
    assert seen.tell([Label("s6", True), Label("s9", True)]) == {"matched": 1, "waiting": 1}
    seen.tell([Label(f"q{i}", True) for i in range(10)])
    assert (seen.figures()["waiting"], seen.figures()["labelled"]) == (3, 1)


def test_an_unreadable_file_is_begun_anew(make, tmp_path: Path) -> None:
    (tmp_path / "feedback.json").write_text('{"labels": [[1]]}')
    assert make().figures()["labelled"] == 0


def test_a_label_finds_its_row_by_number_where_the_rows_before_it_were_not_kept(
    make, tmp_path: Path
) -> None:
    """The first half of the request lay in a window that was judged a data break."""
    half = slice(500, 1000)
    captured = CapturedWindows(tmp_path / "captured", 2)
    whole = answered(["a"] * 1000, *(row % 2 for row in range(1000)))
    kept = AnsweredRows(whole.requests[half], whole.alerts[half], "1", whole.numbering[half])
    captured.write(Table(np.zeros((500, 1)), ("x",)), np.zeros(500), kept, 1.0)
    seen = make()
    labels = [Label("a", True, row=row) for row in (3, 501, 502)]
    assert seen.tell(labels, captured) == {"matched": 2, "waiting": 1}
    figures = seen.figures()
    assert (figures["true_positive"], figures["false_negative"]) == (1, 1)
