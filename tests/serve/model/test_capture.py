"""The ring of captured rows: bounded, oldest out first, nothing lost uncounted."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.model.capture import Capture
from serve.model.report import CapturedRows


def fill(ring: Capture, sizes: list[int], first: int = 0) -> int:
    """Add batches of such sizes whose rows are numbered from `first` on; return the next number."""
    for size in sizes:
        rows = np.arange(first, first := first + size, dtype=float)[:, None]
        ring.add("1", rows, rows[:, 0], [f"r{row[0]:.0f}" for row in rows])
    return first


def numbers(batches: list[CapturedRows]) -> list[float]:
    """Of the rows, whose scores and requests must be their own."""
    for batch in batches:
        numbered = [float(request[1:]) for request in batch.requests]
        assert batch.rows[:, 0].tolist() == batch.scores.tolist() == numbered
    return [float(row[0]) for batch in batches for row in batch.rows]


@settings(max_examples=50, deadline=None)
@given(capacity=st.integers(1, 30), sizes=st.lists(st.integers(0, 40), max_size=15))
def test_it_is_bounded_keeps_the_latest_and_counts_the_rest(
    capacity: int, sizes: list[int]
) -> None:
    ring, added = Capture(capacity), 0
    for size in sizes:
        added = fill(ring, [size], added)
        assert len(ring) <= capacity
        assert len(ring) + ring.dropped == added
    assert numbers(ring.take()) == list(range(ring.dropped, added))
    assert (len(ring), ring.take()) == (0, [])


@settings(max_examples=50, deadline=None)
@given(
    old=st.lists(st.integers(1, 9), max_size=6),
    new=st.lists(st.integers(1, 9), max_size=6),
    capacity=st.integers(1, 60),
)
def test_what_is_put_back_comes_first_and_is_dropped_first(
    old: list[int], new: list[int], capacity: int
) -> None:
    ring, late = Capture(capacity), Capture(capacity)
    first = fill(ring, old)
    taken = ring.take()
    added = fill(ring, new, first)
    fill(late, new, first)
    ring.put_back(taken)
    assert len(ring) <= capacity
    assert len(ring) + ring.dropped == added
    whole, kept = numbers(taken) + numbers(late.take()), numbers(ring.take())
    assert kept == whole[len(whole) - len(kept) :]


def test_versions_and_requests_stay_with_their_rows() -> None:
    ring = Capture(10)
    for version in ("1", "2", "2", "1"):
        ring.add(version, np.zeros((2, 1)), np.zeros(2), [f"request {version}"] * 2)
    taken = ring.take()
    assert [(batch.version, len(batch.rows), batch.requests) for batch in taken] == [
        ("1", 2, ["request 1"] * 2),
        ("2", 4, ["request 2"] * 4),
        ("1", 2, ["request 1"] * 2),
    ]
