"""Rows of a table, from the files that they are read from to the fit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Floats

Labels = NDArray[np.int64]
RowChoice = slice | NDArray[Any]


@dataclass(frozen=True)
class Table:
    """Rows of numbers with named columns, and what is known of each row.

    X: the rows [n, d]; names: of the d features; labels [n]: 1 for an anomaly, 0 for all else;
    ordered: whether the rows follow each other in time; index [n]: place of each row in the file,
    or in the whole table; times [n] and entities [n]: when and whose a row is; is_test: the rows
    are set apart to judge a model by
    """

    X: Floats
    names: tuple[str, ...]
    labels: Labels | None = None
    ordered: bool = True
    index: Labels | None = None
    times: NDArray[Any] | None = None
    entities: NDArray[Any] | None = None
    is_test: bool = False

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: RowChoice) -> Table:
        """Return these rows with what is known of them."""
        return replace(
            self,
            # A copy, not a view: a few rows of a chunk must not keep all of it in memory.
            X=np.ascontiguousarray(self.X[rows]),
            labels=_taken(self.labels, rows),
            index=_taken(self.index, rows),
            times=_taken(self.times, rows),
            entities=_taken(self.entities, rows),
        )

    def tail(self, n: int) -> Table:
        """Return the last `n` rows, or all where there are fewer."""
        return self.take(slice(max(0, len(self) - n), None))

    def by_entity(self) -> list[tuple[str, NDArray[np.intp]]]:
        """Return each entity with the numbers of its rows, in order; "" where none is said."""
        if not len(self):
            return []
        if self.entities is None:
            return [("", np.arange(len(self)))]
        entities, which = np.unique(self.entities, return_inverse=True)
        order = np.argsort(which, kind="stable")
        ends = np.cumsum(np.bincount(which))
        parts = np.split(order, ends[:-1])
        return [(str(entity), rows) for entity, rows in zip(entities, parts, strict=True)]

    def select(self, names: Sequence[str]) -> Table:
        """Return the columns of these names, in their order."""
        columns = [self.names.index(name) for name in names]
        return replace(self, X=self.X[:, columns], names=tuple(names))

    def with_features(self, X: Floats, names: tuple[str, ...]) -> Table:
        """Return the same rows with other features, without times and entities."""
        return replace(self, X=X, names=names, times=None, entities=None)

    def with_index_from(self, offset: int) -> Table:
        """Return the same rows with their index counted from `offset` on."""
        index = np.arange(len(self)) if self.index is None else self.index
        return replace(self, index=index + offset)

    @property
    def mixed_labels(self) -> Labels | None:
        """The labels where both classes occur: only then can they say how good a score is."""
        if self.labels is None:
            return None
        anomalies = self.labels.sum()
        return self.labels if 0 < anomalies < len(self.labels) else None

    @property
    def constant(self) -> tuple[str, ...]:
        """Features with one value only: kept, worth a warning."""
        spans = np.ptp(self.X, axis=0)
        return tuple(name for name, span in zip(self.names, spans, strict=True) if span == 0)

    @property
    def fingerprint(self) -> str:
        """sha256 over names, shape and values."""
        header = "\0".join((*self.names, str(self.X.shape)))
        digest = hashlib.sha256(header.encode())
        digest.update(np.ascontiguousarray(self.X).tobytes())
        return digest.hexdigest()


def empty_like(table: Table) -> Table:
    """Return a table with the same columns and no rows."""
    return table.take(slice(0, 0))


def concat(tables: Sequence[Table]) -> Table:
    """Return the rows of all tables, one after the other.

    Labels and the like are kept where every table has them. They are in the order of time where
    all tables are.
    """
    first = tables[0]
    if len(tables) == 1:
        return first
    return replace(
        first,
        X=np.concatenate([table.X for table in tables]),
        ordered=all(table.ordered for table in tables),
        labels=_joined([table.labels for table in tables]),
        index=_joined([table.index for table in tables]),
        times=_joined([table.times for table in tables]),
        entities=_joined([table.entities for table in tables]),
    )


def _taken(values: NDArray[Any] | None, rows: RowChoice) -> NDArray[Any] | None:
    return None if values is None else values[rows]


def _joined(parts: Sequence[NDArray[Any] | None]) -> NDArray[Any] | None:
    present = [part for part in parts if part is not None]
    return np.concatenate(present) if len(present) == len(parts) else None
