"""The context of the entities in one shard of a stream; it is saved beside the checkpoint."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from serve.model.context_batch import LiftedRows
from serve.model.context_keeper import ContextKeeper, RawRows
from serve.model.context_limits import ContextLimits
from serve.model.context_state import KeptContext
from serve.model.row_format import RowFormat
from serve.stream.records import DecodedRecords
from vigil.json_types import JsonObject

CHECKPOINT_MARGIN_ROWS = 8  # of each entity beyond those that the model needs: for late rows


class ShardContext:
    """What is known of entities after the records that were read, up to one position.

    `stored` is what the checkpoint has of it; `clock` gives Unix seconds.
    """

    def __init__(
        self,
        limits: ContextLimits,
        stored: Any = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keeper = ContextKeeper(limits)
        self._stored = KeptContext.from_json(stored)
        self._clock = clock
        self._key = ""

    def take_counts(self) -> dict[str, int]:
        """Return what happened to rows since the last call."""
        return asdict(self._keeper.counts.take())

    @property
    def entities(self) -> int:
        """Entities of which rows are kept."""
        return self._keeper.entities

    def lift(
        self,
        row_format: RowFormat,
        records: DecodedRecords,
    ) -> LiftedRows:
        """Return the model's rows of records, each in the light of the earlier ones."""
        transform = row_format.transform
        if transform is None:
            return LiftedRows(records.X, np.zeros(len(records.X), bool))
        key = row_format.key
        if self._keeper.unknown([key]):
            self._keeper.learn(key, transform)
            self._restore(key)
        self._key = key
        rows = RawRows(
            records.X,
            records.entity_names,
            _times(records),
        )
        (lifted,) = self._keeper.lift(
            [key],
            rows,
            self._clock(),
        )
        return lifted

    def _restore(self, key: str) -> None:
        if self._stored is not None:
            self._keeper.restore(key, self._stored)
            self._stored = None

    def state(self) -> JsonObject | None:
        """Return what the checkpoint keeps: what is read after a restart sees the same past."""
        if self._stored is not None:  # no record since the restart
            return self._stored.to_json()
        kept = self._keeper.kept(self._key, CHECKPOINT_MARGIN_ROWS)
        return None if kept is None else kept.to_json()


def _times(records: DecodedRecords) -> Any:
    seconds = [np.nan if at is None else at for at in records.seconds]
    return np.array(seconds, np.float64)
