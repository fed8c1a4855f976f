"""A part of the context of all entities, as a Ray actor: it outlives the replicas that ask it.

A shard that was lost is made anew by Ray, and takes up the rows that the drift monitor has captured
before it answers: what is asked meanwhile waits, and is kept in its order.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from serve.applications import MONITOR_APPLICATION
from serve.context_metrics import ContextMetrics
from serve.model.context_keeper import ContextKeeper, RawRows
from serve.model.context_limits import ContextLimits
from serve.model.context_slots import EntityKey
from serve.model.handles import Application
from serve.model.report import ConsumerReport
from serve.model.reporting import CountedMetrics
from serve.model.threshold_store import PlainMargins, ThresholdStore, ToldMargins
from train.table.transform.plain_values import transform_from_values
from vigil.arrays import Floats
from vigil.json_types import JsonObject

log = logging.getLogger("ray.serve")
REBUILD_ROWS = 200_000
REBUILD_TIMEOUT_S = 5.0
SHARD_REPORT_INTERVAL_S = 1.0
_REPORT_TIMEOUT_S = 5.0

ShardAnswer = tuple[list[str], list[tuple[Floats, NDArray[np.bool_]]]]


class AskedMonitor(Protocol):
    """The drift monitor for a thread, which is blocked until it answers."""

    def wait_for(self, timeout_s: float, method: str, *args: Any) -> Any: ...


def shard_of(entity: EntityKey, shards: int) -> int:
    """Return which of the shards has this entity, the same in every process."""
    if entity is None:
        return 0
    return zlib.crc32(entity.encode("utf-8", "surrogatepass")) % shards


class ContextShard:
    """The entities of shard `number` of `shards`; one method runs at a time.

    It takes and gives plain values and arrays: replicas of another release ask it too.
    """

    def __init__(
        self,
        name: str,
        number: int,
        shards: int,
        *,
        monitor: AskedMonitor | None = None,
    ) -> None:
        """Reports to the drift monitor; where another one is given it is asked alone."""
        self._name = name
        self._number = number
        self._shards = shards
        self._keeper: ContextKeeper | None = None
        self._thresholds: ThresholdStore | None = None
        self._monitor = monitor or Application(MONITOR_APPLICATION)
        self._metrics = ContextMetrics()
        if monitor is None:
            threading.Thread(target=self._report_for_ever, daemon=True).start()

    def lift(
        self,
        keys: Sequence[str],
        X: Floats,
        entities: Sequence[EntityKey],
        times: Floats,
    ) -> ShardAnswer:
        """Return the rows and flags of LiftedRows for each key, and first the unknown keys.

        Where a key is unknown nothing is kept, and nothing else returned.
        """
        keeper = self._keeper
        unknown = list(keys) if keeper is None else keeper.unknown(keys)
        if unknown or keeper is None:
            return unknown, []
        # Arrays that come through Ray's store cannot be written to, and may go away.
        rows = RawRows(
            np.array(X),
            entities,
            np.array(times),
        )
        lifted = keeper.lift(
            keys,
            rows,
            time.time(),
        )
        self._count(keeper)
        return [], [(each.rows, each.warming) for each in lifted]

    def threshold_states(
        self,
        told: Sequence[PlainMargins],
        entities: Sequence[EntityKey],
    ) -> Floats:
        """Return what is known of the thresholds of entities [m, 2], once it has learnt `told`.

        told: of ToldMargins. A shard that was lost learns first of what was captured.
        """
        if self._thresholds is None:
            self._thresholds = ThresholdStore()
            self._rebuild_thresholds(self._thresholds)
        for each in told:
            margins = ToldMargins(*each)
            self._thresholds.learn(margins)
        return self._thresholds.states(entities)

    def learn(
        self,
        transforms: Mapping[str, JsonObject],
        limits: tuple[Any, ...],
    ) -> None:
        """Make rows for these transforms too, within the limits of the replica that asks."""
        bounds = ContextLimits(*limits)
        keeper = self._keeper or ContextKeeper(bounds)
        keeper.limit(bounds)
        for key, values in transforms.items():
            keeper.learn(key, transform_from_values(values))
        if self._keeper is None:
            self._rebuild(keeper, next(iter(transforms)))
        self._keeper = keeper

    def _rebuild(
        self,
        keeper: ContextKeeper,
        key: str,
    ) -> None:
        """Take up the captured rows; where there are none the first rows are warming."""
        began = time.monotonic()
        try:
            rows = self._captured(keeper, key)
        except Exception as error:  # the monitor is away, or of another release
            log.warning(
                "%s begins without context: %s",
                self._name,
                error or type(error).__name__,
            )
            return
        if len(rows.X):
            keeper.lift(
                [key],
                rows,
                time.time(),
            )
        keeper.counts.take()
        seconds = time.monotonic() - began
        log.warning(
            "%s has %d rows, rebuilt in %.1f s",
            self._name,
            len(rows.X),
            seconds,
        )

    def _rebuild_thresholds(self, thresholds: ThresholdStore) -> None:
        """Learn of the captured scores; where there are none entities begin at the model's."""
        try:
            captured = self._monitor.wait_for(REBUILD_TIMEOUT_S, "recent_margins")
        except Exception as error:  # as in _rebuild
            log.warning(
                "%s begins without thresholds of entities: %s",
                self._name,
                error or type(error).__name__,
            )
            return
        if captured is None:
            return
        margins = ToldMargins(*captured)._replace(margins=np.array(captured[1], np.float64))
        own = self._own(margins.entities)
        thresholds.learn(margins.where(own))
        log.warning("%s has learnt thresholds of %d scores", self._name, len(own))

    def _own(self, entities: Sequence[EntityKey]) -> list[int]:
        """Numbers of those that are of entities of this shard."""
        return [
            i for i, name in enumerate(entities) if shard_of(name, self._shards) == self._number
        ]

    def _captured(
        self,
        keeper: ContextKeeper,
        key: str,
    ) -> RawRows:
        names = keeper.names(key)
        X, entities, times = self._monitor.wait_for(
            REBUILD_TIMEOUT_S, "recent_rows", names, REBUILD_ROWS
        )
        rows = RawRows(
            np.array(X),
            entities,
            np.array(times, np.float64),
        )
        return rows.where(self._own(entities))

    def _count(self, keeper: ContextKeeper) -> None:
        self._metrics.context.entities.set(keeper.entities)
        self._metrics.context.add(asdict(keeper.counts.take()))

    def _report_for_ever(self) -> None:
        """Tell the monitor what was counted; one that is away gets the sum the next time."""
        counted = CountedMetrics(self._metrics.registry)
        monitor = Application(MONITOR_APPLICATION)
        while True:
            time.sleep(SHARD_REPORT_INTERVAL_S)
            try:
                counted.sample()
                report = ConsumerReport(
                    self._name,
                    counted.counts,
                    counted.delivered,
                )
                monitor.wait_for(
                    _REPORT_TIMEOUT_S,
                    "count",
                    *report.to_wire(),
                )
                counted.mark_delivered()
            except Exception as error:
                log.debug(
                    "%s: no report: %s",
                    self._name,
                    error,
                )
