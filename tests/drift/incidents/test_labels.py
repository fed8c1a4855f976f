"""Verdicts as labels of rows, as the precision of incidents, and as a gate of a challenger."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from drift.feedback import Label
from drift.incidents.deviation import RowDescriber
from drift.incidents.incident import EvidenceRow, IncidentEvidence, IncidentVerdict
from drift.incidents.labels import (
    JudgedIncident,
    answered_incidents,
    incident_precision,
    judge_by_answers,
    row_labels,
)
from train.model.bundle import ModelBundle
from vigil.arrays import Floats

ORDINARY = [10.0] * 6
STRANGE = [25.0, 25.0, 25.0, -5.0, -5.0, -5.0]
TWO_STRANGE = [25.0, 10.0, 10.0, -5.0, 10.0, 10.0]


def judged(
    verdict: IncidentVerdict, *rows: list[float], names: tuple[str, ...] = tuple("abcdef")
) -> JudgedIncident:
    evidence = tuple(
        EvidenceRow(0.0, 0.9, tuple(row), request="r" * (place != 1), place=place)
        for place, row in enumerate(rows)
    )
    return JudgedIncident(IncidentEvidence("1", names, evidence), verdict)


def at_threshold(bundle: ModelBundle, value: float) -> ModelBundle:
    return replace(bundle, threshold=replace(bundle.threshold, value=value))


def test_rows_whose_request_is_known_become_labels() -> None:
    incidents = [judged("confirmed", STRANGE, STRANGE, STRANGE), judged("dismissed", ORDINARY)]
    assert row_labels(incidents) == [
        Label("r", True, 0),
        Label("r", True, 2),
        Label("r", False, 0),
    ]


def test_the_precision_of_incidents_has_an_interval() -> None:
    verdicts: list[IncidentVerdict] = ["confirmed", "dismissed", "confirmed", "confirmed"]
    figures = incident_precision(verdicts)
    assert (figures.confirmed, figures.dismissed, figures.value) == (3, 1, 0.75)
    assert 0.3 < figures.low < 0.75 < figures.high < 1
    assert incident_precision([]) == (0, 0, None, 0.0, 1.0)


def test_rows_are_brought_into_the_order_of_a_model_and_others_are_left_out() -> None:
    turned = judged("confirmed", [6.0, 5, 4, 3, 2, 1], names=tuple("fedcba"))
    other = judged("dismissed", [1.0], names=("other",))
    empty = judged("dismissed")
    answered = answered_incidents([turned, other, empty], tuple("abcdef"))
    assert [rows.tolist() for rows in answered.confirmed] == [[[1, 2, 3, 4, 5, 6]]]
    assert answered.dismissed == []


@pytest.mark.parametrize(
    ("value", "verdict", "row", "passed"),
    [
        (1.0, "confirmed", STRANGE, False),  # lost
        (0.0, "confirmed", STRANGE, True),
        (0.0, "dismissed", ORDINARY, False),  # brought back
        (1.0, "dismissed", ORDINARY, True),
    ],
)
def test_a_challenger_may_not_lose_what_was_confirmed_nor_bring_back_what_was_dismissed(
    bundle: ModelBundle, value: float, verdict: IncidentVerdict, row: list[float], passed: bool
) -> None:
    gate = judge_by_answers(at_threshold(bundle, value), bundle, [judged(verdict, row)])
    assert gate is not None
    assert gate.passed == passed
    assert f"{verdict}_alerts" in gate.reason


def test_without_answers_there_is_no_gate(bundle: ModelBundle) -> None:
    assert judge_by_answers(bundle, bundle, []) is None


def test_rows_are_described_by_the_reasons_of_the_model_and_the_reference(
    bundle: ModelBundle,
) -> None:
    rows: Floats = np.array([TWO_STRANGE, ORDINARY])
    strange, _ = RowDescriber(bundle, most=2)(rows)
    assert {deviation.feature for deviation in strange} == {"a", "d"}
    up = next(deviation for deviation in strange if deviation.feature == "a")
    assert (up.observed, up.direction) == (25.0, "up")
    assert up.expected == bundle.reference.median[0]
    assert RowDescriber(bundle)(rows[:0]) == []
