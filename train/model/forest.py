"""CompiledForest: an IsolationForest as flat arrays, scored exactly and fast.

Isolation forest: F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation Forest", ICDM 2008. The score of a row is
s(x) = 2 ** (-E[h(x)] / c(max_samples)) in (0, 1]; higher is more anomalous.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

from vigil.arrays import Floats
from vigil.errors import BundleError

if (
    TYPE_CHECKING
):  # what serves a forest needs no scikit-learn: it would be a fifth of a replica's memory
    from sklearn.ensemble import IsolationForest

LEAF = -1
BLOCK_ROWS = 128  # rows; their values of 30 features fill a third of the fastest cache
DENSE_LEVELS = 3
ROWS_PER_THREAD = 256  # fewer are done before another thread wakes
BATCH_ROWS = 5  # from so many rows on the padded trees are faster
MAX_PADDED_LEAVES = 2**24  # of all trees together; a padded tree has 2 ** depth of them


def set_threshold(forest: IsolationForest, threshold: float) -> None:
    """Make scikit-learn's labels those of the threshold: -1 where the score is above it."""
    forest.offset_ = -threshold


# The kernels write -E[h(x)] / c(max_samples), the exponent of the score. Rows are float64 and become float32 where they are
# read, as in scikit-learn, so that no copy of them is made. Unsigned indices spare numba's wraparound of negative ones.


@njit(cache=True, nogil=True)
def _exponents(X, roots, feature, threshold, left, length, scale, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    for i in range(X.shape[0]):
        total = 0.0
        for tree in range(roots.shape[0]):
            node = np.uint32(roots[tree])
            while feature[node] >= 0:
                node = np.uint32(
                    left[node] + (np.float32(X[i, np.uint32(feature[node])]) > threshold[node])
                )
            total += length[node]
        out[i] = -total / scale


@njit(cache=True, nogil=True)
def _descend(columns, rows, feature, threshold, depth, node):  # type: ignore[no-untyped-def]  # pragma: no cover
    # Near the root all rows are tried at every node, which vectorises; below, where nodes are many, each row looks up its own.
    dense = min(depth, DENSE_LEVELS)
    node[:] = 0
    for n in range((1 << dense) - 1):
        column, limit = columns[feature[n]], threshold[n]
        for r in range(rows):
            node[r] = 2 * n + 1 + (column[r] > limit) if node[r] == n else node[r]
    for _ in range(dense, depth):
        for r in range(rows):
            i = node[r]
            node[r] = 2 * i + 1 + (columns[feature[i], r] > threshold[i])


@njit(cache=True, nogil=True)
def _padded_exponents(X, feature, threshold, length, depth, scale, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    # BLOCK rows abreast, tree by tree: the rows of a block lie side by side per feature, and no step depends on another
    # row's, so the processor overlaps them.
    first = np.uint32((1 << depth) - 1)
    columns = np.empty((X.shape[1], BLOCK_ROWS), np.float32)
    node = np.empty(BLOCK_ROWS, np.uint32)
    total = np.empty(BLOCK_ROWS, np.float64)
    for start in range(0, X.shape[0], BLOCK_ROWS):
        rows = min(BLOCK_ROWS, X.shape[0] - start)
        for r in range(rows):
            for j in range(X.shape[1]):
                columns[j, r] = X[start + r, j]
            total[r] = 0.0
        for tree in range(feature.shape[0]):
            _descend(columns, rows, feature[tree], threshold[tree], depth, node)
            for r in range(rows):
                total[r] += length[tree, node[r] - first]
        for r in range(rows):
            out[start + r] = -total[r] / scale


@njit(cache=True, nogil=True)
def _path_gains(X, roots, feature, threshold, left, length, out):  # type: ignore[no-untyped-def]  # pragma: no cover
    for i in range(X.shape[0]):
        for tree in range(roots.shape[0]):
            node = roots[tree]
            while feature[node] >= 0:
                child = left[node] + (np.float32(X[i, feature[node]]) > threshold[node])
                out[i, feature[node]] += length[node] - length[child]
                node = child


@dataclass(frozen=True)
class CompiledForest:
    """An IsolationForest as flat arrays over all nodes of all trees, children side by side (right = left + 1).

    roots     int32   [trees]  index of each root, ascending
    feature   int32   [nodes]  split feature; LEAF for a leaf
    threshold float32 [nodes]  go left where x <= threshold
    left      int32   [nodes]  index of the left child; 0 for a leaf
    length    float64 [nodes]  depth + c(rows in the node): at a leaf its path length, above it the length expected there
    """

    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: NDArray[np.float32]
    left: NDArray[np.int32]
    length: Floats
    n_features: int
    max_samples: int

    @property
    def trees(self) -> int:
        return len(self.roots)

    @classmethod
    def compile(cls, fitted: IsolationForest) -> CompiledForest:
        """The same forest, node by node in breadth-first order."""
        forest: Any = fitted  # its private attributes are not typed
        columns: list[list[NDArray[Any]]] = [[], [], [], []]
        roots, base = [], 0
        for i, estimator in enumerate(forest.estimators_):
            tree = estimator.tree_
            lengths = (
                np.asarray(forest._decision_path_lengths[i])
                + forest._average_path_length_per_tree[i]
                - 1.0
            )
            order, left = _breadth_first(tree.children_left, tree.children_right)
            split = tree.children_left[order] >= 0
            columns[0].append(
                np.where(
                    split, forest.estimators_features_[i][np.maximum(tree.feature[order], 0)], LEAF
                )
            )
            columns[1].append(np.where(split, _round_down(tree.threshold[order]), np.float32(0)))
            columns[2].append(np.where(split, left + base, 0))
            columns[3].append(lengths[order])
            roots.append(base)
            base += len(order)
        feature, threshold, left_all, length = (np.concatenate(column) for column in columns)
        return cls(
            np.array(roots, np.int32),
            feature.astype(np.int32),
            threshold.astype(np.float32),
            left_all.astype(np.int32),
            length.astype(np.float64),
            int(forest.n_features_in_),
            int(forest._max_samples),
        )

    def score(self, X: NDArray[Any], threads: int = 1) -> Floats:
        """Anomaly scores [n] of the rows [n, d]: `-IsolationForest.score_samples(X)` to 1e-6, with identical labels.

        Large batches are split over at most `threads` threads.
        """
        rows = self._rows(X)
        scores = np.empty(len(rows))
        parts = min(threads, len(rows) // ROWS_PER_THREAD)
        if parts < 2:
            self._score(rows, scores)
            return scores
        _ = self._padded  # made once, before the threads would each make it
        first, *others = pairwise(len(rows) * part // parts for part in range(parts + 1))
        running = [
            _pool(os.getpid()).submit(self._score, rows[i:j], scores[i:j]) for i, j in others
        ]
        self._score(rows[slice(*first)], scores[slice(*first)])
        for part in running:
            part.result()
        return scores

    def _score(self, rows: Floats, out: Floats) -> None:
        scale = self.trees * self._normaliser
        padded = self._padded if len(rows) >= BATCH_ROWS else None
        if padded is not None:
            _padded_exponents(rows, *padded, scale, out)
        else:
            _exponents(
                rows, self.roots, self.feature, self.threshold, self.left, self.length, scale, out
            )
        # Not exp2: it differs from scikit-learn by a unit in the last place, and a threshold may be a score itself.
        np.power(2.0, out, out=out)

    def attribute(self, X: NDArray[Any]) -> Floats:
        """Path gains [n, d]: how far splits on each feature shortened the path, as a mean over the trees.

        They add up to c(max_samples) - E[h(x)], the path-length deficit; positive means more anomalous. With bootstrap a tree
        holds fewer distinct rows, and c is that of these, as a mean over the trees.
        """
        rows = self._rows(X)
        gains = np.zeros(rows.shape)
        _path_gains(rows, self.roots, self.feature, self.threshold, self.left, self.length, gains)
        return gains / self.trees

    def check(self) -> None:
        """Raise BundleError unless every walk from every root stays in bounds and ends: no cycle, no foreign feature."""
        nodes = len(self.feature)
        inner = self.feature != LEAF
        index = np.arange(nodes)
        end = np.append(self.roots[1:], nodes)
        ends = (
            np.repeat(end, end - self.roots)
            if self.trees and (end > self.roots).all()
            else np.empty(0)
        )
        problems = {
            "arrays of different length": not (
                len(self.threshold) == len(self.left) == len(self.length) == nodes
            ),
            "no tree": not self.trees or self.roots[0] != 0 or len(ends) != nodes,
            "a feature out of range": bool(
                (self.feature < LEAF).any() or (self.feature >= self.n_features).any()
            ),
            "values that are not finite": not (
                np.isfinite(self.threshold).all() and np.isfinite(self.length).all()
            ),
        }
        for problem, found in problems.items():
            if found:
                raise BundleError(
                    f"the forest has {problem}: the bundle is damaged, use another version"
                )
        if bool(
            (self.left[inner] <= index[inner]).any() or (self.left[inner] >= ends[inner] - 1).any()
        ):
            raise BundleError(
                "the forest has a child out of range: the bundle is damaged, use another version"
            )

    def _rows(self, X: NDArray[Any]) -> Floats:
        """The rows as the kernels take them, copied only where they must be."""
        if X.dtype.kind != "f":
            X = X.astype(np.float32)  # a whole number is rounded once, as in scikit-learn
        rows = np.ascontiguousarray(X, dtype=np.float64)
        if not rows.flags.carray:
            rows = rows.copy()  # the kernels are compiled for writeable, aligned rows: for others they would be compiled anew
        if rows.ndim != 2 or rows.shape[1] != self.n_features:
            raise ValueError(f"rows of shape {rows.shape}, expected [n, {self.n_features}]")
        return rows

    @cached_property
    def _padded(self) -> tuple[NDArray[np.uint32], NDArray[np.float32], Floats, int] | None:
        """The trees padded to perfect binary heaps, (feature, threshold, leaf length, depth); None where they are too deep."""
        levels = [(self.roots.astype(np.int64)[:, None])]
        while (self.feature[levels[-1]] != LEAF).any():
            if 2 * levels[-1].size > MAX_PADDED_LEAVES:
                return None
            nodes = levels[-1]
            inner = self.feature[nodes] != LEAF
            # A leaf's place below is taken by itself: it is reached whichever way the walk goes.
            children = (
                np.where(inner, self.left[nodes], nodes),
                np.where(inner, self.left[nodes] + 1, nodes),
            )
            levels.append(np.stack(children, axis=2).reshape(self.trees, -1))
        walked = np.concatenate([np.empty((self.trees, 0), np.int64), *levels[:-1]], axis=1)
        feature = np.maximum(self.feature[walked], 0).astype(np.uint32)
        return feature, self.threshold[walked], self.length[levels[-1]], len(levels) - 1

    @cached_property
    def _normaliser(self) -> float:
        """c(max_samples): the mean path length of an unsuccessful search, to the bit as scikit-learn computes it."""
        n = self.max_samples
        return (
            2.0 * (float(np.log(n - 1.0)) + float(np.euler_gamma)) - 2.0 * (n - 1.0) / n
            if n > 2
            else float(n == 2)
        )


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process; a forked child, whose pid differs, starts its own.

    Plain threads do, as the kernels release the GIL. numba's parallel loops would bring a threading layer of their own:
    the one that is always there aborts when two threads call it at once, OpenMP's does not survive a fork.
    """
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="score")


def _breadth_first(
    left: NDArray[Any], right: NDArray[Any]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The nodes in breadth-first order, and for each its left child's new position (children are neighbours)."""
    order, position = [0], []
    for node in order:  # grows while it is read
        position.append(len(order))
        if left[node] >= 0:
            order += [int(left[node]), int(right[node])]
    return np.array(order), np.array(position)


def _round_down(threshold: Floats) -> NDArray[np.float32]:
    """The largest float32 not above each threshold: then `x <= t` is the same for every float32 x."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
