"""Kernels of a compiled forest, in numba.

They write -E[h(x)] / c(max_samples), the exponent of the score. Rows are float64 and become
float32 where they are read, as in scikit-learn, so that no copy of them is made. Unsigned indices
spare numba's wraparound of negative ones.
"""

from __future__ import annotations

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

from vigil.arrays import Floats, Integers, Singles

BLOCK_ROWS = 128  # their values of 30 features fill a third of the fastest cache
DENSE_LEVELS = 3
Indices = NDArray[np.uint32]


@njit(cache=True, nogil=True)
def exponents(  # pragma: no cover
    X: Floats,
    roots: Integers,
    feature: Integers,
    threshold: Singles,
    left: Integers,
    length: Floats,
    scale: float,
    out: Floats,
) -> None:
    """Write the exponents [n] of the rows `X` [n, d], each walked through every tree."""
    for i in range(X.shape[0]):
        total = 0.0
        for tree in range(roots.shape[0]):
            node = np.uint32(roots[tree])
            while feature[node] >= 0:
                value = np.float32(X[i, np.uint32(feature[node])])
                node = np.uint32(left[node] + (value > threshold[node]))
            total += length[node]
        out[i] = -total / scale


@njit(cache=True, nogil=True)
def padded_exponents(  # pragma: no cover
    X: Floats,
    feature: Indices,
    threshold: Singles,
    length: Floats,
    depth: int,
    scale: float,
    out: Floats,
) -> None:
    """Write the exponents [n] of the rows `X` [n, d] by trees that are padded to `depth`.

    Rows are taken in blocks, tree by tree: the rows of a block lie side by side per feature, and
    no step depends on another row's, so the processor overlaps them.
    """
    first = np.uint32((1 << depth) - 1)
    columns = np.empty((X.shape[1], BLOCK_ROWS), np.float32)
    node = np.empty(BLOCK_ROWS, np.uint32)
    total = np.empty(BLOCK_ROWS, np.float64)
    for start in range(
        0,
        X.shape[0],
        BLOCK_ROWS,
    ):
        rows = min(BLOCK_ROWS, X.shape[0] - start)
        _load_block(X, start, rows, columns)
        total[:] = 0.0
        for tree in range(feature.shape[0]):
            _descend(
                columns,
                rows,
                feature[tree],
                threshold[tree],
                depth,
                node,
            )
            for r in range(rows):
                total[r] += length[tree, node[r] - first]
        for r in range(rows):
            out[start + r] = -total[r] / scale


@njit(cache=True, nogil=True)
def _load_block(
    X: Floats,
    start: int,
    rows: int,
    columns: Singles,
) -> None:  # pragma: no cover
    """Copy the rows of a block into `columns` [d, rows]."""
    for r in range(rows):
        for j in range(X.shape[1]):
            columns[j, r] = X[start + r, j]


@njit(cache=True, nogil=True)
def _descend(  # pragma: no cover
    columns: Singles,
    rows: int,
    feature: Indices,
    threshold: Singles,
    depth: int,
    node: Indices,
) -> None:
    """Write the leaf of one padded tree that each row of a block ends in.

    Near the root all rows are tried at every node, which vectorises; below, where nodes are many,
    each row looks up its own.
    """
    dense = min(depth, DENSE_LEVELS)
    node[:] = 0
    for n in range((1 << dense) - 1):
        column = columns[feature[n]]
        limit = threshold[n]
        for r in range(rows):
            node[r] = 2 * n + 1 + (column[r] > limit) if node[r] == n else node[r]
    for _ in range(dense, depth):
        for r in range(rows):
            i = node[r]
            node[r] = 2 * i + 1 + (columns[feature[i], r] > threshold[i])


@njit(cache=True, nogil=True)
def path_gains(  # pragma: no cover
    X: Floats,
    roots: Integers,
    feature: Integers,
    threshold: Singles,
    left: Integers,
    length: Floats,
    out: Floats,
) -> None:
    """Add to `out` [n, d] how far each split on a feature shortened the path of a row."""
    for i in range(X.shape[0]):
        for tree in range(roots.shape[0]):
            node = roots[tree]
            while feature[node] >= 0:
                child = left[node] + (np.float32(X[i, feature[node]]) > threshold[node])
                out[i, feature[node]] += length[node] - length[child]
                node = child
