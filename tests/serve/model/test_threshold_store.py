"""What a shard keeps of the thresholds of its entities: bounded, and learnt in order."""

from __future__ import annotations

import numpy as np

from serve.model.threshold_store import ThresholdStore, ToldMargins, UntoldMargins


def told(*entities: str, margin: float = 1.0) -> ToldMargins:
    return ToldMargins(list(entities), np.full(len(entities), margin), width=0.5, rate=0.1)


def test_the_entity_that_is_silent_longest_makes_room_and_begins_anew() -> None:
    store = ThresholdStore(capacity=2)
    store.learn(told("a"))
    store.learn(told("b"))
    assert store.states(["a", "b"]).all()
    store.learn(told("a"))
    assert not store.states(["c"]).any()
    assert len(store) == 2
    assert store.states(["a"]).all()
    assert not store.states(["b"]).any()


def test_more_rows_than_there_is_room_for_are_learnt_in_parts() -> None:
    store = ThresholdStore(capacity=2)
    store.learn(told("a", "b", "c", "c"))
    assert store.states(["c"])[0, 1] == 2
    assert store.states(["x", "y", "z"]).shape == (3, 2)


def test_what_waits_to_be_told_is_bounded_and_told_once() -> None:
    untold = UntoldMargins(most=2)
    for entity in "abc":
        untold.add(told(entity))
    assert [entities for entities, *_ in untold.take()] == [["b"], ["c"]]
    assert untold.take() == []
