"""Scores of entities that the monitor remembers for thresholds that are lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from drift.recent_margins import RecentMargins
from serve.model.report import CapturedRows, RowContext
from train.model.threshold import Threshold

LIMIT = Threshold(0.5, "budget", 0.01, 0.02, entity_width=0.1)


def batch(scores: list[float], **more: object) -> CapturedRows:
    given = {
        "threshold": 0.5,
        "context": RowContext([f"e{score:.1f}" for score in scores]),
        "limits": np.full(len(scores), 0.55),
    }
    rows = np.zeros((len(scores), 2))
    requests = ["r"] * len(scores)
    fields: dict[str, object] = given | more
    return CapturedRows("7", rows, np.array(scores), requests, **fields)  # type: ignore[arg-type]


def remembered(recent: RecentMargins) -> list[str]:
    found = recent.of(LIMIT)
    assert found is not None
    return found.entities


def test_margins_come_in_their_order_with_the_rule_of_the_model() -> None:
    recent = RecentMargins()
    recent.take(batch([0.4, 0.7]))
    recent.take(batch([0.6]))
    found = recent.of(LIMIT)
    assert found is not None
    entities, margins, width, rate = found
    assert entities == ["e0.4", "e0.7", "e0.6"]
    np.testing.assert_allclose(margins, [-0.1, 0.2, 0.1])
    assert (width, rate) == (LIMIT.entity_width, LIMIT.expected_rate)


def test_rows_without_thresholds_of_their_own_are_passed_over() -> None:
    recent = RecentMargins()
    recent.take(batch([0.4], limits=None))
    recent.take(batch([0.4], context=None))
    recent.take(batch([0.4], threshold=None))
    assert remembered(recent) == []
    assert recent.of(None) is recent.of(replace(LIMIT, entity_width=0.0)) is None


def test_the_oldest_margins_are_forgotten() -> None:
    recent = RecentMargins(max_rows=3)
    for score in (0.1, 0.2, 0.3):
        recent.take(batch([score, score]))
    assert remembered(recent) == ["e0.3", "e0.3"]
