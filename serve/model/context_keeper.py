"""Context for the transforms of all models that are served, and of those that come. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from serve.model.context_batch import ContextCounts, LiftedRows
from serve.model.context_limits import ContextLimits
from serve.model.context_slots import EntityKey
from serve.model.context_state import KeptContext
from serve.model.context_store import ContextStore
from serve.model.report import RowContext
from train.table.transform.feature_transform import FeatureTransform
from vigil.arrays import Floats

_Names = tuple[str, ...]
_MAX_STORES = 2  # of different raw features: while these change replicas have either


@dataclass(frozen=True)
class RawRows:
    """Rows [n, d] as callers send them, whose they are [n], and of when (Unix seconds, NaN)."""

    X: Floats
    entities: Sequence[EntityKey]
    times: Floats

    @classmethod
    def of(
        cls,
        X: Floats,
        context: RowContext | None,
    ) -> RawRows:
        """Return rows with their context; of no entity, or without a time, where it is not said."""
        context = context or RowContext()
        entities: Sequence[EntityKey] = context.entities or [None] * len(X)
        times = context.times or np.full(len(X), np.nan)
        return cls(
            X,
            entities,
            np.array(times, np.float64),
        )

    def where(self, rows: Sequence[int]) -> RawRows:
        """Return the rows of these numbers."""
        entities = [self.entities[row] for row in rows]
        return RawRows(
            self.X[rows],
            entities,
            self.times[rows],
        )


class ContextKeeper:
    """Keeps raw rows, so that a model with another transform finds the past of its entities."""

    def __init__(self, limits: ContextLimits) -> None:
        self._limits = limits
        self._stores: dict[_Names, ContextStore] = {}
        self._names_of: dict[str, _Names] = {}
        self.counts = ContextCounts()

    def limit(self, limits: ContextLimits) -> None:
        """Keep within other limits from now on, the last heard entities first."""
        if limits == self._limits:
            return
        self._limits = limits
        for names, store in list(self._stores.items()):
            other = ContextStore(
                store.width,
                store.length,
                limits,
                self.counts,
            )
            store.hand_over(other)
            self._stores[names] = other

    def names(self, key: str) -> _Names:
        """Return the raw features of a transform."""
        return self._names_of[key]

    def unknown(self, keys: Sequence[str]) -> list[str]:
        """Return those of the keys whose transforms must be learnt."""
        return [key for key in keys if not self._knows(key)]

    def _knows(self, key: str) -> bool:
        store = self._stores.get(self._names_of.get(key, ()))
        return store is not None and store.knows(key)

    def learn(
        self,
        key: str,
        transform: FeatureTransform,
    ) -> None:
        """Make rows for this transform too; what is kept of its raw features goes on."""
        names = transform.names
        store = self._stores.pop(names, None)
        if store is None:
            store = self._new_store(transform)
        if store.depth <= transform.length:
            store = self._deepened(store, transform)
        store.learn(key, transform)
        self._stores[names] = store
        self._names_of[key] = names
        while len(self._stores) > _MAX_STORES:
            del self._stores[next(iter(self._stores))]

    def _new_store(self, transform: FeatureTransform) -> ContextStore:
        return ContextStore(
            len(transform.names),
            transform.length,
            self._limits,
            self.counts,
        )

    def _deepened(
        self,
        store: ContextStore,
        transform: FeatureTransform,
    ) -> ContextStore:
        """A store with the same rows that has room for more of each entity."""
        deeper = self._new_store(transform)
        store.hand_over(deeper)
        return deeper

    def lift(
        self,
        keys: Sequence[str],
        rows: RawRows,
        now: float,
    ) -> list[LiftedRows]:
        """Return the rows of the models whose transforms have these keys, of one set of features.

        now: Unix seconds. Raises KeyError for a transform that is unknown.
        """
        store = self._stores[self._names_of[keys[0]]]
        return store.lift(
            keys,
            rows.X,
            rows.entities,
            rows.times,
            now,
        )

    @property
    def entities(self) -> int:
        """Entities of which rows are kept."""
        return sum(map(len, self._stores.values()))

    def kept(
        self,
        key: str,
        margin_rows: int | None = None,
    ) -> KeptContext | None:
        """Return what is kept of the features of a transform; None while it is unknown.

        margin_rows: of each entity at most so many beyond those that the transform needs; None: all
        """
        if not self._knows(key):
            return None
        return self._stores[self._names_of[key]].kept(key, margin_rows)

    def restore(
        self,
        key: str,
        kept: KeptContext,
    ) -> None:
        """Go on with what another keeper had kept of the same features, where they are as many."""
        store = self._stores[self._names_of[key]]
        if kept.rows.shape[1] == store.width:
            store.restore(kept)
