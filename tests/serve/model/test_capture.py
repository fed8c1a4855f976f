"""The ring of captured rows: bounded, oldest out first, nothing lost uncounted."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.model.capture import Capture
from serve.model.report import CapturedRows, RowContext


def fill(ring: Capture, sizes: list[int], first: int = 0) -> int:
    """Add batches of such sizes whose rows are numbered from `first` on; return the next number."""
    for size in sizes:
        rows = np.arange(first, first := first + size, dtype=float)[:, None]
        requests = [f"r{row[0]:.0f}" for row in rows]
        ring.add(CapturedRows("1", rows, rows[:, 0], requests))
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
        requests = [f"request {version}"] * 2
        ring.add(CapturedRows(version, np.zeros((2, 1)), np.zeros(2), requests))
    taken = ring.take()
    assert [(batch.version, len(batch.rows), batch.requests) for batch in taken] == [
        ("1", 2, ["request 1"] * 2),
        ("2", 4, ["request 2"] * 4),
        ("1", 2, ["request 1"] * 2),
    ]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.booleans()), max_size=8),
    capacity=st.integers(1, 30),
)
def test_entities_and_times_stay_with_their_rows(
    sizes: list[tuple[int, bool, bool]], capacity: int
) -> None:
    ring = Capture(capacity)
    given = iter(range(1000))
    for size, has_entities, has_times in sizes:
        rows = np.array([[float(next(given))] for _ in range(size)])
        entities = [f"host-{row[0]:.0f}" for row in rows] if has_entities else None
        times = [1000 + row[0] for row in rows] if has_times else None
        context = RowContext(entities, times) if has_entities or has_times else None
        requests = [f"r{row[0]:.0f}" for row in rows]
        ring.add(CapturedRows("1", rows, rows[:, 0], requests, 0.5, context))
    for batch in ring.take():
        context = batch.context or RowContext()
        if context.entities is not None:
            assert context.entities == [f"host-{row[0]:.0f}" for row in batch.rows]
        if context.times is not None:
            assert context.times == [1000 + row[0] for row in batch.rows]
        assert batch.threshold == 0.5


def test_rows_that_are_sent_again_say_when_they_were_taken_first() -> None:
    times = iter([100.0, 105.0, 110.0])
    ring = Capture(100, clock=lambda: next(times))
    fill(ring, [3])
    taken = ring.take()
    fill(ring, [2], 3)
    ring.put_back(taken)
    again = ring.take()
    assert [(batch.captured, len(batch.rows)) for batch in again] == [(100.0, 3), (105.0, 2)]
