"""Tables changed in ways that no verdict may depend on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from train.table.table import Table
from vigil.arrays import Floats

Change = Callable[[Table], Table]


def add_dead_columns(table: Table) -> Table:
    """As many constant columns as there are others, between them."""
    n, d = table.X.shape
    X = np.empty((n, 2 * d))
    X[:, ::2] = np.arange(d) - 3.0
    X[:, 1::2] = table.X
    names = [name for own in table.names for name in (f"dead {own}", own)]
    return _with(table, X, names)


def reorder(table: Table) -> Table:
    """The columns the other way round."""
    return _with(table, table.X[:, ::-1], table.names[::-1])


def rename(table: Table) -> Table:
    return _with(table, table.X, [f"renamed {name}" for name in table.names])


def scale(table: Table) -> Table:
    """Each column in another unit."""
    units = 2.0 ** (np.arange(table.X.shape[1]) % 9 * 10 - 40)
    return _with(table, table.X * units, table.names)


def duplicate(table: Table) -> Table:
    """Each row twice."""
    return table.take(np.repeat(np.arange(len(table)), 2))


def _with(table: Table, X: Floats, names: tuple[str, ...] | list[str]) -> Table:
    return replace(table, X=np.ascontiguousarray(X), names=tuple(names))


CHANGES: dict[str, Change] = {
    "dead columns": add_dead_columns,
    "reordered": reorder,
    "renamed": rename,
    "scaled": scale,
    "rows twice": duplicate,
}
