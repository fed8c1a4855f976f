"""Rows of a table, from the files that they are read from to the fit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Array, Floats, Positions
from vigil.json_types import without_none

Labels = NDArray[np.int64]
RowChoice = slice | Array
Words = NDArray[Any]
"""Words [n, c] of the rows, as objects."""
EntityRows = tuple[str, Positions]
"""An entity, and the numbers of its rows."""
# Fields of a Table with a value for each row.
_FACTS = ("labels", "index", "times", "entities", "words")


@dataclass(frozen=True)
class Table:
    """Rows of numbers with named columns, and what is known of each row.

    X: the rows [n, d]; names: of the d features; labels [n]: 1 for an anomaly, 0 for all else;
    ordered: whether the rows follow each other in time; index [n]: place of each row in the file,
    or in the whole table; times [n] and entities [n]: when and whose a row is; is_test: the rows
    are set apart to judge a model by; words [n, c]: values of features that are words, until a
    codec makes numbers of them (train/table/categories.py); sent: all features in the order of the
    file, where some are words
    """

    X: Floats
    names: tuple[str, ...]
    labels: Labels | None = None
    ordered: bool = True
    index: Labels | None = None
    times: Array | None = None
    entities: Array | None = None
    is_test: bool = False
    words: Words | None = None
    sent: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: RowChoice) -> Table:
        """Return these rows with what is known of them."""
        facts = {name: values[rows] for name, values in self._facts().items()}
        # A copy, not a view: a few rows of a chunk must not keep all of it in memory.
        X = np.ascontiguousarray(self.X[rows])
        return replace(self, X=X, **facts)

    def _facts(self) -> dict[str, Array]:
        """What is known of each row, by the name of the field."""
        return without_none({name: getattr(self, name) for name in _FACTS})

    def tail(self, n: int) -> Table:
        """Return the last `n` rows, or all where there are fewer."""
        first = max(0, len(self) - n)
        return self.take(slice(first, None))

    def by_entity(self) -> list[EntityRows]:
        """Return each entity with the numbers of its rows, in order; "" where none is said."""
        if not len(self):
            return []
        if self.entities is None:
            every = np.arange(len(self))
            return [("", every)]
        return _group(self.entities)

    def select(self, names: tuple[str, ...]) -> Table:
        """Return the columns of these names, in their order."""
        columns = list(map(self.names.index, names))
        return replace(self, X=self.X[:, columns], names=names)

    @property
    def word_names(self) -> tuple[str, ...]:
        """Names of the features that are words [c]."""
        return tuple(name for name in self.sent if name not in self.names)

    def sent_row(self, row: int, numbers: Sequence[Any]) -> list[Any]:
        """Return a row as it is sent: `numbers` [d] and its own words, in the file's order."""
        if self.words is None:
            return list(numbers)
        values = dict(zip(self.names, numbers, strict=True))
        values |= dict(zip(self.word_names, self.words[row], strict=True))
        return [values[name] for name in self.sent]

    def with_features(
        self,
        X: Floats,
        names: tuple[str, ...],
    ) -> Table:
        """Return the same rows with other features, without entities."""
        return replace(
            self,
            X=X,
            names=names,
            entities=None,
        )

    def entity_of(self, row: int) -> str | None:
        """Return whose a row is; None where the table does not say that."""
        return None if self.entities is None else str(self.entities[row])

    def with_index_from(self, offset: int) -> Table:
        """Return the same rows, their index counted from `offset` on."""
        assert self.index is not None
        return replace(self, index=self.index + offset)

    @property
    def mixed_labels(self) -> Labels | None:
        """The labels where both classes occur: only then can they say how good a score is."""
        labels = self.labels
        if labels is None:
            return None
        is_mixed = 0 < labels.sum() < len(labels)
        return labels if is_mixed else None

    @property
    def constant(self) -> tuple[str, ...]:
        """Features with one value only: kept, worth a warning."""
        ranges = np.ptp(self.X, axis=0)
        places = np.flatnonzero(ranges == 0)
        return tuple(self.names[place] for place in places)

    @property
    def fingerprint(self) -> str:
        """sha256 over names, shape and values."""
        header = "\0".join([*self.names, str(self.X.shape)])
        values = np.ascontiguousarray(self.X)
        digest = hashlib.sha256(header.encode())
        digest.update(values.tobytes())
        return digest.hexdigest()


def empty_like(table: Table) -> Table:
    """Return a table with the same columns and no rows."""
    return table.take(slice(0, 0))


def concat(tables: Sequence[Table]) -> Table:
    """Return the rows of all tables, one after the other.

    Labels and the like are kept where every table has them. They are in the order of time where
    all tables are.
    """
    X = np.concatenate([table.X for table in tables])
    is_ordered = all(table.ordered for table in tables)
    facts = {name: _joined(tables, name) for name in _FACTS}
    return replace(
        tables[0],
        X=X,
        ordered=is_ordered,
        **facts,
    )


def _joined(tables: Sequence[Table], fact: str) -> Array | None:
    parts = [getattr(table, fact) for table in tables]
    is_known = all(part is not None for part in parts)
    return np.concatenate(parts) if is_known else None


def _group(entities: Array) -> list[EntityRows]:
    """Each entity with the numbers of its rows, in order."""
    found, which = np.unique(entities, return_inverse=True)
    names = map(str, found)
    groups = _numbers_by_group(which)
    return list(zip(names, groups, strict=True))


def _numbers_by_group(which: Positions) -> list[Positions]:
    """Numbers of the rows of each group, given the group of each row."""
    order = np.argsort(which, kind="stable")
    sizes = np.bincount(which)
    ends = np.cumsum(sizes)
    return np.split(order, ends[:-1])
