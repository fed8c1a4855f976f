"""Tumbling windows do not depend on how rows arrive."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from drift.window import TumblingWindow
from serve.model.report import CapturedRows


def captured(rows: np.ndarray, request: str) -> CapturedRows:
    return CapturedRows("1", rows, rows[:, 0], [request] * len(rows))


@settings(max_examples=50, deadline=None)
@given(batches=st.lists(st.integers(0, 40), max_size=12), size=st.integers(1, 15))
def test_batches_give_the_same_windows_as_one_batch(batches: list[int], size: int) -> None:
    rows = np.arange(sum(batches) * 2, dtype=float).reshape(-1, 2)
    window, made, start = TumblingWindow(size), [], 0
    for now, batch in enumerate(batches):
        part = slice(start, start := start + batch)
        made += window.add(captured(rows[part], str(now)), float(now))
        assert len(window) < size
    whole = TumblingWindow(size).add(captured(rows, "r"), 0.0)
    assert [(w.rows.tolist(), w.scores.tolist()) for w in made] == [
        (w.rows.tolist(), w.scores.tolist()) for w in whole
    ]
    assert len(made) == len(rows) // size
    arrived = np.repeat(np.arange(len(batches)), batches)
    assert [w.since for w in made] == arrived[: len(made) * size : size].tolist()
    assert [request for w in made for request in w.requests] == [
        str(k) for k in arrived[: len(made) * size]
    ]
    numbering = [[row, rows] for rows in batches for row in range(rows)]
    assert [row for w in made for row in w.numbering.tolist()] == numbering[: len(made) * size]
