"""The store of context against a simple model of it: lists, one row at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from serve.model.context_limits import ContextLimits
from serve.model.context_state import KeptContext
from serve.model.context_store import ContextStore
from train.table.transform.feature_transform import FeatureTransform

NAMES = ("a", "b")
SHORT = FeatureTransform.parse("diff:1,mean:2", NAMES)
CARRYING = FeatureTransform.parse("ewm:3,mean:4", NAMES)
LONG = FeatureTransform.parse("mean:4", NAMES)
NOW = 1000.0
ENTITIES = ["x", "y", "z", "None", "", None]

Row = tuple[float, float]


@dataclass
class Remembered:
    """What the simple model has of an entity."""

    rows: list[tuple[float, Row]] = field(default_factory=list)
    seen: int = 0
    late_run: int = 0


class SimpleStore:
    """Lists of (time, row); the order of `entities` is that in which they were heard."""

    def __init__(self, limits: ContextLimits, depth: int) -> None:
        self.limits = limits
        self.depth = depth
        self.entities: dict[str | None, Remembered] = {}
        self.evicted = 0

    def lift(self, entity: str | None, row: Row, at: float) -> tuple[list[Row], int]:
        """The rows before this one, and how many rows of the entity came in all."""
        kept = self._of(entity)
        if at > NOW + self.limits.ahead_s:
            at = NOW
        last = kept.rows[-1][0] if kept.rows else -math.inf
        if math.isnan(at) or at > last:
            return self._insert(kept, len(kept.rows), row, last if math.isnan(at) else at)
        for place, (time, other) in enumerate(kept.rows):
            if time == at and other == row:
                return [r for _, r in kept.rows[:place]], kept.seen
        place = sum(time <= at for time, _ in kept.rows)
        is_before_all = place == 0 and len(kept.rows) == self.depth
        if not is_before_all and at >= last - self.limits.late_s:
            return self._insert(kept, place, row, at)
        kept.late_run += 1
        if kept.late_run <= self.limits.restart_rows:
            return [], kept.seen
        kept.rows.clear()
        kept.seen = 0
        return self._insert(kept, 0, row, at)

    def _of(self, entity: str | None) -> Remembered:
        if entity not in self.entities and len(self.entities) == self.limits.entities:
            del self.entities[next(iter(self.entities))]
            self.evicted += 1
        kept = self.entities.pop(entity, None) or Remembered()
        self.entities[entity] = kept
        return kept

    def _insert(self, kept: Remembered, place: int, row: Row, at: float) -> tuple[list[Row], int]:
        past = [r for _, r in kept.rows[:place]]
        kept.rows.insert(place, (at, row))
        del kept.rows[: -self.depth]
        kept.late_run = 0
        kept.seen += 1
        return past, kept.seen - 1


VALUES = st.sampled_from([0.0, 1.0, -2.5, 7.25])
TIMES = st.one_of(st.just(math.nan), st.integers(0, 40).map(float), st.just(5000.0))
ROWS = st.tuples(st.sampled_from(ENTITIES), st.tuples(VALUES, VALUES), TIMES)
BATCHES = st.lists(st.lists(ROWS, max_size=50), max_size=8)
LIMITS = st.builds(
    ContextLimits,
    entities=st.integers(1, 7),
    margin_rows=st.integers(0, 4),
    late_s=st.sampled_from([0.0, 5.0, 100.0]),
    restart_rows=st.integers(0, 3),
)


def lifted(store: ContextStore, batch: list[Any], *keys: str) -> list[Any]:
    rows = np.array([row for _, row, _ in batch], float).reshape(-1, len(NAMES))
    times = np.array([at for _, _, at in batch])
    return store.lift(keys, rows, [entity for entity, _, _ in batch], times, NOW)


@given(limits=LIMITS, batches=BATCHES, run_rows=st.integers(2, 20))
def test_rows_are_made_as_the_simple_model_makes_them(
    limits: ContextLimits, batches: list[list[Any]], run_rows: int
) -> None:
    store = ContextStore(len(NAMES), LONG.length, limits, run_rows=run_rows)
    store.learn("short", SHORT)
    store.learn("long", LONG)
    simple = SimpleStore(limits, store.depth)
    for batch in batches:
        made = lifted(store, batch, "short", "long")
        for i, (entity, row, at) in enumerate(batch):
            past, seen = simple.lift(entity, row, at)
            for transform, of_transform in zip((SHORT, LONG), made, strict=True):
                expected = transform.row(np.array(past).reshape(-1, 2), np.array(row))
                np.testing.assert_array_equal(of_transform.rows[i], expected)
                is_warming = len(past) < transform.length or seen < transform.length
                assert of_transform.warming[i] == is_warming
    assert len(store) == len(simple.entities) <= limits.entities
    assert store.counts.evicted == simple.evicted


@given(limits=LIMITS, before=BATCHES, after=BATCHES)
def test_what_was_kept_goes_on_in_another_store(
    limits: ContextLimits, before: list[list[Any]], after: list[list[Any]]
) -> None:
    store = ContextStore(len(NAMES), CARRYING.length, limits)
    store.learn("carrying", CARRYING)
    for batch in before:
        lifted(store, batch, "carrying")
    values = store.kept("carrying").to_json()
    kept = KeptContext.from_json(values)
    assert kept is not None
    other = ContextStore(len(NAMES), CARRYING.length, limits)
    other.learn("carrying", CARRYING)
    other.restore(kept)
    for batch in after:
        if any(not math.isnan(at) for _, _, at in batch):
            continue  # how many late rows came one after the other is not kept
        (theirs,) = lifted(other, batch, "carrying")
        (ours,) = lifted(store, batch, "carrying")
        np.testing.assert_array_equal(theirs.rows, ours.rows)
        np.testing.assert_array_equal(theirs.warming, ours.warming)
    assert other.kept("carrying").entities == store.kept("carrying").entities


@given(
    st.lists(st.tuples(st.sampled_from(ENTITIES), st.tuples(VALUES, VALUES)), max_size=80),
    st.integers(1, 30),
    st.integers(2, 20),
)
def test_rows_in_their_order_are_made_as_in_training(
    rows: list[tuple[str | None, Row]], size: int, run_rows: int
) -> None:
    store = ContextStore(len(NAMES), CARRYING.length, ContextLimits(), run_rows=run_rows)
    store.learn("carrying", CARRYING)
    timed = [(entity, row, float(at)) for at, (entity, row) in enumerate(rows)]
    made = np.concatenate(
        [np.empty((0, len(CARRYING.outputs)))]
        + [
            lifted(store, timed[begin : begin + size], "carrying")[0].rows
            for begin in range(0, len(timed), size)
        ]
    )
    for entity in {entity for entity, _ in rows}:
        own = [i for i, (other, _) in enumerate(rows) if other == entity]
        expected = CARRYING.apply(np.array([rows[i][1] for i in own]))
        np.testing.assert_array_equal(made[own], expected)


def test_a_context_that_is_none_is_not_taken_up() -> None:
    for values in (None, {}, {"e": [[1.0]]}, {"entities": ["e"], "width": 2}):
        assert KeptContext.from_json(values) is None


def test_memory_bounds_the_entities_and_the_rows_that_are_kept() -> None:
    limits = ContextLimits(entities=1000, max_bytes=1000 * 3 * 8 * 20)
    assert ContextStore(2, 3, limits).depth == 20
    assert ContextStore(2, 1000, limits).depth == 1001
    store = ContextStore(2, 1000, limits)
    store.learn("short", SHORT)
    entities = [f"e{i}" for i in range(100)]
    store.lift(["short"], np.ones((100, 2)), entities, np.full(100, math.nan), NOW)
    assert len(store) == 1000 * 20 // 1001
    assert store.counts.evicted == 100 - len(store)


def test_what_became_of_rows_is_counted() -> None:
    store = ContextStore(2, 1, ContextLimits(entities=2, late_s=5.0, restart_rows=1))
    store.learn("short", SHORT)
    at = [10.0, 20.0, 20.0, 18.0, 3.0, 2.0, 1.0, 2.0]
    rows = np.array([[float(i == 0), 1.0] for i in range(len(at))])
    store.lift(["short"], rows, ["e"] * len(at), np.array(at), NOW)
    counts = store.counts
    assert (counts.repeated, counts.late, counts.too_late, counts.restarted) == (2, 2, 2, 1)
    assert counts.warming == 4  # those that nothing of the entity is known to be before
