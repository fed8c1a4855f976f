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
DENSE_LEVELS = 3  # of padded trees, which have one more at least
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
    place: Indices,
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
    cells = np.empty(X.shape[1] * BLOCK_ROWS, np.float32)
    node = np.empty(BLOCK_ROWS, np.uint32)
    total = np.empty(BLOCK_ROWS, np.float64)
    for start in range(
        0,
        X.shape[0],
        BLOCK_ROWS,
    ):
        rows = np.uint64(min(BLOCK_ROWS, X.shape[0] - start))
        _load_block(X[start:], rows, cells)
        total[:] = 0.0
        for tree in range(place.shape[0]):
            _descend_dense(cells, rows, place[tree], threshold[tree], node)
            for _ in range(DENSE_LEVELS, depth - 1):
                _descend(cells, rows, place[tree], threshold[tree], node)
            _add_lengths(
                cells,
                rows,
                place[tree],
                threshold[tree],
                length[tree],
                node,
                total,
            )
        for r in range(rows):
            out[start + r] = -total[r] / scale


@njit(cache=True, nogil=True)
def _load_block(X: Floats, rows: np.uint64, cells: Singles) -> None:  # pragma: no cover
    """Copy the first rows of `X` [n, d] into `cells` [d * BLOCK_ROWS], feature by feature."""
    for r in range(rows):
        for j in range(X.shape[1]):
            cells[j * BLOCK_ROWS + r] = X[r, j]


@njit(cache=True, nogil=True)
def _descend_dense(  # pragma: no cover
    cells: Singles,
    rows: np.uint64,
    place: Indices,
    threshold: Singles,
    node: Indices,
) -> None:
    """Write the node that each row of a block comes to by DENSE_LEVELS steps from the root.

    Near the root all rows are tried at every node, which vectorises: without a branch, and in one
    loop, whose masks stay in registers.
    """
    places = (place[1], place[2], place[3], place[4], place[5], place[6], place[7])
    limits = (
        threshold[1],
        threshold[2],
        threshold[3],
        threshold[4],
        threshold[5],
        threshold[6],
        threshold[7],
    )
    for r in range(rows):
        first = cells[places[0] + r] > limits[0]
        second = _side(
            first,
            cells[places[1] + r] > limits[1],
            cells[places[2] + r] > limits[2],
        )
        below_left = _side(
            second,
            cells[places[3] + r] > limits[3],
            cells[places[4] + r] > limits[4],
        )
        below_right = _side(
            second,
            cells[places[5] + r] > limits[5],
            cells[places[6] + r] > limits[6],
        )
        third = _side(first, below_left, below_right)
        node[r] = 8 + 4 * first + 2 * second + third


@njit(cache=True, nogil=True)
def _side(
    goes_right: bool,
    left: bool,
    right: bool,
) -> bool:  # pragma: no cover
    """What holds on the side that a row goes to."""
    return (goes_right & right) | ((not goes_right) & left)


@njit(cache=True, nogil=True)
def _descend(  # pragma: no cover
    cells: Singles,
    rows: np.uint64,
    place: Indices,
    threshold: Singles,
    node: Indices,
) -> None:
    """Lead each row of a block a step down: far from the root, each looks up its own node."""
    for r in range(rows):
        node[r] = _child(cells, r, place, threshold, node[r])


@njit(cache=True, nogil=True)
def _add_lengths(  # pragma: no cover
    cells: Singles,
    rows: np.uint64,
    place: Indices,
    threshold: Singles,
    length: Floats,
    node: Indices,
    total: Floats,
) -> None:
    """Add the path length of each row of a block, which is a step above its leaf."""
    leaves = np.uint32(length.shape[0])
    for r in range(rows):
        leaf = _child(cells, r, place, threshold, node[r])
        total[r] += length[leaf - leaves]


@njit(cache=True, nogil=True)
def _child(  # pragma: no cover
    cells: Singles,
    r: int,
    place: Indices,
    threshold: Singles,
    node: np.uint32,
) -> np.uint32:
    """The node below, to which the row goes."""
    goes_right = cells[place[node] + r] > threshold[node]
    return np.uint32(2 * node + goes_right)


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
