"""A replica's side of the context: shards that answer, are slow, are lost, and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import numpy as np
import pytest

from serve.metrics import ServeMetrics
from serve.model.context import ShardedContext
from serve.model.context_keeper import RawRows
from serve.model.context_shard import ContextShard, shard_of
from serve.model.row_format import RowFormat
from serve.model.threshold_store import ToldMargins
from serve.settings import ServeSettings
from tests.serve.contexts import RAW_NAMES, EntityRows, looking_back
from train.model.entity_threshold import EntityThresholdRule

MODEL = looking_back()


class Method:
    """What a handle of an actor has for each method."""

    def __init__(self, actor: LocalActor, name: str) -> None:
        self._actor = actor
        self._name = name

    def remote(self, *args: Any) -> Awaitable[Any]:
        return self._actor.call(self._name, args)


class LocalActor:
    """A shard in this process, whose calls are lost while it is dead, and wait while it is slow."""

    def __init__(self, number: int, shards: int, monitor: Captured) -> None:
        self.shard = ContextShard("s", number, shards, monitor=monitor)
        self.is_dead = False
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.lift = Method(self, "lift")
        self.learn = Method(self, "learn")
        self.threshold_states = Method(self, "threshold_states")

    async def call(self, name: str, args: tuple[Any, ...]) -> Any:
        if self.is_dead:
            raise ConnectionError("the actor died")
        await self.go_on.wait()
        return getattr(self.shard, name)(*args)


class Captured:
    """The rows that the monitor has; it is away without any."""

    def __init__(self, rows: RawRows | None = None) -> None:
        self.rows = rows
        self.margins: ToldMargins | None = None

    def wait_for(self, timeout_s: float, method: str, *args: Any) -> Any:
        if method == "recent_margins" and self.margins is not None:
            return tuple(self.margins)
        if self.rows is None:
            raise TimeoutError("the monitor is away")
        assert (method, args[0]) == ("recent_rows", RAW_NAMES)
        return self.rows.X, self.rows.entities, self.rows.times


class Shards:
    """Makes actors, and counts them."""

    def __init__(self) -> None:
        self.monitor = Captured()
        self.actors: dict[int, LocalActor] = {}
        self.made = 0

    def open(self, name: str, number: int, shards: int) -> Any:
        actor = self.actors.get(number)
        if actor is None or actor.is_dead:
            self.made += 1
            actor = self.actors[number] = LocalActor(number, shards, self.monitor)
        return actor


def raw(rows: EntityRows) -> RawRows:
    return RawRows(rows.X, rows.entities, np.array(rows.seconds))


def client(shards: Shards, **settings: Any) -> ShardedContext:
    given = ServeSettings.from_values(**{"context_timeout_s": 5.0} | settings)
    return ShardedContext(given, ServeMetrics(), shards.open)


@pytest.mark.parametrize("count", [1, 2, 7])
async def test_two_replicas_share_what_the_shards_know(count: int) -> None:
    shards = Shards()
    rows = EntityRows()
    replicas = [client(shards, context_shards=count) for _ in range(2)]
    scores = []
    for begin in range(0, len(rows.X), 5):
        part = raw(rows).where(range(begin, begin + 5))
        replica = replicas[begin // 5 % 2]
        (lifted,) = await replica.lift([MODEL.row_format], part)
        scores += MODEL.bundle.forest.score(lifted.rows).tolist()
    np.testing.assert_allclose(scores, rows.expected(MODEL), rtol=0, atol=1e-12)
    assert shards.made <= count


async def test_a_lost_shard_costs_context_and_no_answer() -> None:
    shards = Shards()
    rows = raw(EntityRows())
    replica = client(shards, context_shards=1)
    await replica.lift([MODEL.row_format], rows)
    shards.actors[0].is_dead = True
    (lifted,) = await replica.lift([MODEL.row_format], rows)
    assert lifted.warming.all()
    assert len(lifted.rows) == len(rows.X)
    (lifted,) = await replica.lift([MODEL.row_format], rows)
    assert not lifted.warming.all()  # another one was opened
    assert shards.made == 2


async def test_a_shard_that_was_lost_takes_up_the_captured_rows() -> None:
    shards = Shards()
    rows = EntityRows()
    replica = client(shards, context_shards=3)
    await replica.lift([MODEL.row_format], raw(rows).where(range(20)))
    for actor in shards.actors.values():
        actor.is_dead = True
    shards.monitor.rows = raw(rows).where(range(20))
    rest = raw(rows).where(range(20, 30))
    await replica.lift([MODEL.row_format], rest)
    (lifted,) = await replica.lift([MODEL.row_format], rest)
    assert not lifted.warming.any()
    scores = MODEL.bundle.forest.score(lifted.rows)
    np.testing.assert_allclose(scores, rows.expected(MODEL)[20:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", [1, 3])
async def test_thresholds_learn_of_what_each_shard_is_told(count: int) -> None:
    rng = np.random.default_rng(0)
    entities = [f"host-{number}" for number in rng.integers(0, 5, 300)]
    margins = rng.normal(0, 0.01, 300)
    rule = EntityThresholdRule(0.02, 0.1)
    replica = client(Shards(), context_shards=count)
    names = sorted(set(entities))
    for begin in range(0, 300, 50):
        part = slice(begin, begin + 50)
        await replica.threshold_states(names)
        replica.tell(ToldMargins(entities[part], margins[part], rule.width, rule.rate))
    known = await replica.threshold_states(names)
    expected = np.zeros((len(names), 2))
    rule.follow(margins, np.array([names.index(entity) for entity in entities]), expected)
    np.testing.assert_array_equal(known, expected)


@pytest.mark.parametrize("count", [1, 3])
async def test_thresholds_of_a_lost_shard_are_learnt_of_the_captured_scores(count: int) -> None:
    rng = np.random.default_rng(1)
    entities = [f"host-{number}" for number in rng.integers(0, 5, 300)]
    told = ToldMargins(entities, rng.normal(0, 0.01, 300), 0.02, 0.1)
    names = sorted(set(entities))
    shards = Shards()
    replica = client(shards, context_shards=count)
    await replica.threshold_states(names)
    replica.tell(told)
    before = await replica.threshold_states(names)
    for actor in shards.actors.values():
        actor.is_dead = True
    shards.monitor.margins = told
    assert not (await replica.threshold_states(names)).any()  # the shards are away
    np.testing.assert_array_equal(await replica.threshold_states(names), before)


async def test_entities_of_a_lost_shard_begin_at_the_models_threshold() -> None:
    shards = Shards()
    replica = client(shards, context_shards=1)
    await replica.threshold_states(["a"])
    replica.tell(ToldMargins(["a"], np.ones(1), 0.02, 0.1))
    assert (await replica.threshold_states(["a"])).any()
    shards.actors[0].is_dead = True
    for _ in range(2):  # it is away, and then another one, to which no monitor answers
        assert not (await replica.threshold_states(["a"])).any()
    assert shards.made == 2


async def test_shards_know_a_transform_before_its_first_row() -> None:
    shards = Shards()
    replica = client(shards, context_shards=3)
    await replica.prepare(RowFormat(RAW_NAMES))
    assert shards.made == 0
    await replica.prepare(MODEL.row_format)
    assert shards.made == 3
    question = ([MODEL.row_format.key], np.ones((1, 2)), [None], np.array([1.0]))
    unknown, lifted = shards.actors[2].shard.lift(*question)
    assert (unknown, len(lifted)) == ([], 1)


async def test_a_slow_shard_is_not_waited_for_and_keeps_the_rows() -> None:
    shards = Shards()
    rows = raw(EntityRows(seed=2))
    replica = client(shards, context_shards=1)
    await replica.lift([MODEL.row_format], rows.where(range(10)))
    actor = shards.actors[0]
    replica.follow_settings(ServeSettings.from_values(context_timeout_s=0.01))
    actor.go_on.clear()
    (lifted,) = await replica.lift([MODEL.row_format], rows.where(range(10, 20)))
    assert lifted.warming.all()
    actor.go_on.set()
    replica.follow_settings(ServeSettings.from_values(context_timeout_s=5.0))
    (lifted,) = await replica.lift([MODEL.row_format], rows.where(range(20, 30)))
    expected = EntityRows(seed=2).expected(MODEL)[20:]
    np.testing.assert_allclose(MODEL.bundle.forest.score(lifted.rows), expected, rtol=0, atol=1e-12)


def test_a_shard_is_found_by_its_entity_in_every_process() -> None:
    names = (None, "host-1", "host-2", "None", "\u00e9")
    assert [shard_of(name, 5) for name in names] == [0, 4, 2, 1, 1]
