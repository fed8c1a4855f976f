"""The context of entities as a replica asks for it: shards, which are Ray actors by their names.

No shard is there before a model needs it. What a shard does not answer in time is answered without
it: the rows are warming, and none fails.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from serve.metrics import ServeMetrics
from serve.model.context_batch import LiftedRows
from serve.model.context_keeper import RawRows
from serve.model.context_limits import ContextLimits
from serve.model.context_shard import ContextShard, shard_of
from serve.model.context_slots import EntityKey
from serve.model.prepared import alone
from serve.model.row_format import RowFormat
from serve.model.threshold_store import ToldMargins, UntoldMargins
from serve.settings import ServeSettings
from train.model.entity_threshold import STATE_WIDTH
from train.table.transform.plain_values import transform_values
from vigil.arrays import Floats

log = logging.getLogger("ray.serve")
NAMESPACE = "vigil"  # of the actors: replicas are in Serve's own
SHARD_CPUS = 0.1  # more than nothing: a head that is to run nothing gets none
OPEN_TIMEOUT_S = 15.0  # for a shard that is not there yet, before a model is served
MAX_WAITING = 256  # requests that wait for one shard; more are answered without it


class ShardActor(Protocol):
    """A handle of a ContextShard: `method.remote(..)` gives what is awaited."""

    lift: Any
    learn: Any
    threshold_states: Any


OpenShard = Callable[[str, int, int], ShardActor]  # (name, number, shards)


def open_shard(
    name: str,
    number: int,
    shards: int,
) -> ShardActor:
    """Return the actor of this name; it is made where there is none. Blocks."""
    import ray

    actor: Any = ray.remote(ContextShard)
    return actor.options(
        name=name,
        namespace=NAMESPACE,
        lifetime="detached",
        get_if_exists=True,
        max_restarts=-1,
        num_cpus=SHARD_CPUS,
    ).remote(name, number, shards)


class _Shard:
    """One shard, opened when it is asked first, and anew when Ray has given it up."""

    def __init__(
        self,
        open_actor: Callable[[], ShardActor],
        limits: ContextLimits,
    ) -> None:
        self._open_actor = open_actor
        self._limits = dataclasses.astuple(limits)
        self._opening: asyncio.Future[ShardActor] | None = None
        self._asking: set[asyncio.Task[list[LiftedRows]]] = set()
        self.told = UntoldMargins()

    async def lift(
        self,
        formats: Sequence[RowFormat],
        rows: RawRows,
        timeout_s: float,
    ) -> list[LiftedRows]:
        """Return what the shard answers in time; raises what keeps it from that.

        It is asked to the end also when that is too late: the rows are kept, in their order.
        """
        if len(self._asking) >= MAX_WAITING:
            raise TimeoutError(f"{MAX_WAITING} requests wait for it")
        asking = asyncio.ensure_future(self._ask(formats, rows))
        self._asking.add(asking)
        asking.add_done_callback(self._forget)
        return await asyncio.wait_for(asyncio.shield(asking), timeout_s)

    async def threshold_states(
        self,
        entities: list[str],
        timeout_s: float,
    ) -> Floats:
        """Return what the shard answers in time; raises what keeps it from that."""
        try:
            return await asyncio.wait_for(self._ask_thresholds(entities), timeout_s)
        except Exception:
            self._opening = None  # the next one looks for it anew
            raise

    async def _ask_thresholds(self, entities: list[str]) -> Floats:
        """What it knows once it was told what it was not told yet: it is told that only once."""
        actor = await self._opened()
        return np.array(await actor.threshold_states.remote(self.told.take(), entities))

    def _forget(self, asking: asyncio.Task[list[LiftedRows]]) -> None:
        self._asking.discard(asking)
        if asking.cancelled() or asking.exception() is not None:
            self._opening = None  # the next one looks for it anew

    async def _ask(self, formats: Sequence[RowFormat], rows: RawRows) -> list[LiftedRows]:
        actor = await self._opened()
        question = ([each.key for each in formats], rows.X, list(rows.entities), rows.times)
        unknown, lifted = await actor.lift.remote(*question)
        if unknown:
            await actor.learn.remote(_values(formats, unknown), self._limits)
            unknown, lifted = await actor.lift.remote(*question)
        if unknown:
            raise LookupError("it is asked for too many transforms at once")
        return [LiftedRows(made, warming) for made, warming in lifted]

    async def _opened(self) -> ShardActor:
        """The actor. Who makes or finds it waits for Ray's head: in a thread, and once for all."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(asyncio.to_thread(self._open_actor))
        return await asyncio.shield(self._opening)


def _values(formats: Sequence[RowFormat], keys: Sequence[str]) -> dict[str, Any]:
    return {
        each.key: transform_values(each.transform)
        for each in formats
        if each.transform is not None and each.key in keys
    }


class ShardedContext:
    """Asks the shards of the entities of a request, all at once."""

    def __init__(
        self,
        settings: ServeSettings,
        metrics: ServeMetrics,
        open_actor: OpenShard = open_shard,
    ) -> None:
        self._timeout_s = settings.context_timeout_s
        self._failures = metrics.context_failures
        self._open_actor = open_actor
        shards = settings.context_shards
        limits = ContextLimits.of(settings, shards)
        name = f"context-{settings.model_name}-{shards}"
        self._shards = [
            _Shard(self._opener(f"{name}-{number}", number, shards), limits)
            for number in range(shards)
        ]

    def _opener(
        self,
        name: str,
        number: int,
        shards: int,
    ) -> Callable[[], ShardActor]:
        return lambda: self._open_actor(
            name,
            number,
            shards,
        )

    def follow_settings(self, settings: ServeSettings) -> None:
        """Wait so long from the next request on."""
        self._timeout_s = settings.context_timeout_s

    async def prepare(self, row_format: RowFormat) -> None:
        """Have the shards know a transform before the first row comes, as far as they answer."""
        if not row_format.needs_context:
            return
        nothing = RawRows.of(np.empty((0, len(row_format.names))), None)
        opening = [shard.lift([row_format], nothing, OPEN_TIMEOUT_S) for shard in self._shards]
        await asyncio.gather(*opening, return_exceptions=True)

    async def lift(self, formats: Sequence[RowFormat], rows: RawRows) -> list[LiftedRows]:
        """Return the rows for each of the transforms; those of a shard that is away are warming."""
        by_shard = self._by_shard(rows.entities)
        if len(by_shard) == 1:
            return await self._ask(
                next(iter(by_shard)),
                formats,
                rows,
            )
        parts = await asyncio.gather(
            *(
                self._ask(
                    shard,
                    formats,
                    rows.where(numbers),
                )
                for shard, numbers in by_shard.items()
            )
        )
        return [
            _assembled([part[i] for part in parts], list(by_shard.values()))
            for i in range(len(formats))
        ]

    async def threshold_states(self, entities: Sequence[str]) -> Floats:
        """Return what is known of the thresholds of entities [m, 2]; zeros of a shard's away."""
        states = np.zeros((len(entities), STATE_WIDTH))
        by_shard = self._by_shard(entities)
        parts = await asyncio.gather(
            *(
                self._ask_thresholds(shard, [entities[row] for row in rows])
                for shard, rows in by_shard.items()
            )
        )
        for rows, part in zip(by_shard.values(), parts, strict=True):
            states[rows] = part
        return states

    async def _ask_thresholds(self, number: int, entities: list[str]) -> Floats:
        try:
            return await self._shards[number].threshold_states(entities, self._timeout_s)
        except Exception as error:  # as in _ask; one of an older release knows no thresholds
            self._failures.inc()
            log.warning(
                "context shard %d: %s: entities alert by the model's threshold",
                number,
                type(error).__name__,
            )
            return np.zeros((len(entities), STATE_WIDTH))

    def tell(self, told: ToldMargins) -> None:
        """Tell each shard of the scores of its entities, when it is asked next."""
        for shard, rows in self._by_shard(told.entities).items():
            self._shards[shard].told.add(told.where(rows))

    def _by_shard(self, entities: Sequence[EntityKey]) -> dict[int, list[int]]:
        """The numbers of the rows that each shard has."""
        by_shard: dict[int, list[int]] = {}
        shards = len(self._shards)
        for row, entity in enumerate(entities):
            by_shard.setdefault(shard_of(entity, shards), []).append(row)
        return by_shard

    async def _ask(
        self,
        number: int,
        formats: Sequence[RowFormat],
        rows: RawRows,
    ) -> list[LiftedRows]:
        try:
            return await self._shards[number].lift(
                formats,
                rows,
                self._timeout_s,
            )
        except Exception as error:  # lost, restarting or slow: Ray has many words for it
            self._failures.inc()
            log.warning(
                "context shard %d: %s: rows are warming",
                number,
                type(error).__name__,
            )
            return [alone(row_format, rows) for row_format in formats]


def _assembled(parts: Sequence[LiftedRows], numbers: Sequence[list[int]]) -> LiftedRows:
    """Rows in the order in which they were sent."""
    order = np.argsort(np.concatenate(numbers))
    rows = np.concatenate([part.rows for part in parts])
    warming = np.concatenate([part.warming for part in parts])
    return LiftedRows(rows[order], warming[order])
