"""CompiledForest: an IsolationForest as flat arrays, scored exactly and fast.

Isolation forest: F. T. Liu, K. M. Ting, Z.-H. Zhou, "Isolation Forest", ICDM 2008. The score of
a row is s(x) = 2 ** (-E[h(x)] / c(max_samples)) in (0, 1]; higher is more anomalous.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from train.model.kernels import (
    BLOCK_ROWS,
    DENSE_LEVELS,
    exponents,
    padded_exponents,
    path_gains,
)
from vigil.arrays import Array, Floats, Integers, Positions, Singles
from vigil.errors import BundleError

# What serves a forest needs no scikit-learn: it would be a fifth of a replica's memory.
if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

LEAF = -1
_Nodes = NDArray[np.int64]  # their indices
ROWS_PER_THREAD = 256  # fewer are done before another thread wakes
BATCH_ROWS = 5  # from so many rows on the padded trees are faster
MAX_PADDED_LEAVES = 2**24  # of all trees together; a padded tree has 2 ** depth of them


def set_threshold(forest: IsolationForest, threshold: float) -> None:
    """Make scikit-learn's labels those of the threshold: -1 where the score is above it."""
    forest.offset_ = -threshold


@dataclass(frozen=True)
class CompiledForest:
    """An IsolationForest as flat arrays over all nodes of all trees.

    Children are side by side: right = left + 1.

    roots     int32   [trees]  index of each root, ascending
    feature   int32   [nodes]  split feature; LEAF for a leaf
    threshold float32 [nodes]  go left where x <= threshold
    left      int32   [nodes]  index of the left child; 0 for a leaf
    length    float64 [nodes]  depth + c(rows in the node): at a leaf its path length, above it
                               the length expected there
    """

    roots: Integers
    feature: Integers
    threshold: Singles
    left: Integers
    length: Floats
    n_features: int
    max_samples: int

    @property
    def trees(self) -> int:
        return len(self.roots)

    @classmethod
    def compile(cls, fitted: IsolationForest) -> CompiledForest:
        """Return the same forest, node by node in breadth-first order."""
        forest: Any = fitted  # its private attributes are not typed
        numbers = range(len(forest.estimators_))
        trees = [_flatten_tree(forest, number) for number in numbers]
        roots = _roots(trees)
        nodes = _join(trees, roots)
        return cls(
            roots=roots.astype(np.int32),
            feature=nodes.feature.astype(np.int32),
            threshold=nodes.threshold.astype(np.float32),
            left=nodes.left.astype(np.int32),
            length=nodes.length.astype(np.float64),
            n_features=int(forest.n_features_in_),
            max_samples=int(forest._max_samples),
        )

    def score(self, X: Array, threads: int = 1) -> Floats:
        """Return the anomaly scores [n] of the rows [n, d].

        They are `-IsolationForest.score_samples(X)` to 1e-6, with identical labels. Large
        batches are split over at most `threads` threads.
        """
        rows = self._rows(X)
        scores = np.empty(len(rows))
        parts = min(threads, len(rows) // ROWS_PER_THREAD)
        if parts < 2:
            self._score(rows, scores)
        else:
            self._score_in_threads(rows, scores, parts)
        return scores

    def attribute(self, X: Array) -> Floats:
        """Return the path gains [n, d] of the rows [n, d]: how far splits on each feature
        shortened the path, as a mean over the trees.

        They add up to c(max_samples) - E[h(x)], the path-length deficit; positive means more
        anomalous. With bootstrap a tree holds fewer distinct rows, and c is that of these, as a
        mean over the trees.
        """
        rows = self._rows(X)
        gains = np.zeros(rows.shape)
        path_gains(rows, *self._nodes, gains)
        return gains / self.trees

    def check(self) -> None:
        """Raise BundleError unless every walk from every root stays in bounds and ends: no cycle,
        no foreign feature."""
        problem = self._problem()
        if problem:
            raise BundleError(
                f"the forest has {problem}: the bundle is damaged, use another version"
            )

    def _problem(self) -> str:
        if not self._has_equal_lengths():
            return "arrays of different length"
        if not self._has_whole_trees():
            return "no tree"
        if not self._has_known_features():
            return "a feature out of range"
        if not self._has_finite_values():
            return "values that are not finite"
        if not self._has_children_in_range():
            return "a child out of range"
        return ""

    def _has_equal_lengths(self) -> bool:
        arrays = (self.feature, self.threshold, self.left, self.length)
        return len(set(map(len, arrays))) == 1

    def _has_whole_trees(self) -> bool:
        """Whether the trees lie one behind the other, and every node is in one."""
        if not self.trees or self.roots[0] != 0:
            return False
        has_nodes = self._ends() > self.roots
        return bool(has_nodes.all())

    def _has_known_features(self) -> bool:
        return bool((self.feature >= LEAF).all() and (self.feature < self.n_features).all())

    def _has_finite_values(self) -> bool:
        return bool(np.isfinite(self.threshold).all() and np.isfinite(self.length).all())

    def _has_children_in_range(self) -> bool:
        """Whether both children of every split are behind it, in the same tree."""
        inner = np.flatnonzero(self.feature != LEAF)
        left = self.left[inner]
        end = self._end_of_tree()[inner]
        is_behind = left > inner
        is_in_tree = left < end - 1  # the right child is the left one's neighbour
        return bool((is_behind & is_in_tree).all())

    def _end_of_tree(self) -> Array:
        """For each node the index [nodes] behind the last node of its tree."""
        ends = self._ends()
        return np.repeat(ends, ends - self.roots)

    def _ends(self) -> Array:
        """Index [trees] of the node behind the last one of each tree."""
        nodes = len(self.feature)
        return np.append(self.roots[1:], nodes)

    def _rows(self, X: Array) -> Floats:
        """The rows as the kernels take them, copied only where they must be."""
        if X.dtype.kind != "f":
            X = X.astype(np.float32)  # a whole number is rounded once, as in scikit-learn
        rows = np.ascontiguousarray(X, dtype=np.float64)
        if rows.shape[1:] != (self.n_features,):
            raise ValueError(f"rows of shape {rows.shape}, expected [n, {self.n_features}]")
        # The kernels are compiled for writeable, aligned rows: for others they would be compiled
        # anew.
        return rows if rows.flags.carray else rows.copy()

    def _score(self, rows: Floats, out: Floats) -> None:
        scale = self.trees * self._normaliser
        padded = self._padded if len(rows) >= BATCH_ROWS else None
        if padded is not None:
            padded_exponents(rows, *padded, scale, out)
        else:
            exponents(rows, *self._nodes, scale, out)
        # Not exp2: it differs from scikit-learn by a unit in the last place, and a threshold may
        # be a score itself.
        np.power(2.0, out, out=out)

    def _score_in_threads(
        self,
        rows: Floats,
        out: Floats,
        parts: int,
    ) -> None:
        """Score all parts but the first in threads, the first here."""
        _ = self._padded  # computed once, before the threads would each compute it
        pool = _pool(os.getpid())
        first, *others = _slices(len(rows), parts)
        running: list[Future[None]] = []
        for part in others:
            scoring = pool.submit(self._score, rows[part], out[part])
            running.append(scoring)
        self._score(rows[first], out[first])
        for scoring in running:
            scoring.result()

    @property
    def _nodes(
        self,
    ) -> tuple[Integers, Integers, Singles, Integers, Floats]:
        """The arrays as the kernels take them."""
        return self.roots, self.feature, self.threshold, self.left, self.length

    @cached_property
    def _padded(self) -> _PaddedTrees | None:
        """The trees padded to perfect binary heaps; None where they are too deep."""
        lowest = self.roots.astype(np.int64)[:, None]
        levels = [lowest]
        while len(levels) <= DENSE_LEVELS + 1 or self._has_splits(lowest):
            if 2 * lowest.size > MAX_PADDED_LEAVES:
                return None
            lowest = self._level_below(lowest)
            levels.append(lowest)
        return self._heaps(levels)

    def _has_splits(self, nodes: _Nodes) -> bool:
        return bool((self.feature[nodes] != LEAF).any())

    def _heaps(self, levels: list[_Nodes]) -> _PaddedTrees:
        """The trees whose nodes are those [trees, 2 ** level] of each level."""
        *inner, leaves = levels
        none = levels[0]  # numbers begin at 1
        splits = np.concatenate([none, *inner], axis=1)
        features = np.maximum(self.feature[splits], 0)
        return _PaddedTrees(
            place=features.astype(np.uint32) * np.uint32(BLOCK_ROWS),
            threshold=self.threshold[splits],
            length=self.length[leaves],
            depth=len(inner),
        )

    def _level_below(self, nodes: _Nodes) -> _Nodes:
        """The children [trees, 2 k] of the nodes [trees, k].

        A leaf's place below is taken by itself: it is reached whichever way the walk goes.
        """
        is_inner = self.feature[nodes] != LEAF
        left = self.left[nodes]
        children = np.stack((left, left + 1), axis=2)
        below = np.where(is_inner[..., None], children, nodes[..., None])
        return below.reshape(self.trees, -1)

    @cached_property
    def _normaliser(self) -> float:
        """c(max_samples): the mean path length of an unsuccessful search, to the bit as
        scikit-learn computes it."""
        n = self.max_samples
        if n <= 2:
            return float(n == 2)
        harmonic = float(np.log(n - 1.0)) + float(np.euler_gamma)
        surplus = 2.0 * (n - 1.0) / n
        return 2.0 * harmonic - surplus


class _PaddedTrees(NamedTuple):
    """Trees padded to perfect binary heaps: 1 is the root, below n are 2 n and 2 n + 1.

    place [trees, 2 ** depth]: where the values of a node's feature begin in a block of rows; of
    the first, which is no node, as threshold; length [trees, 2 ** depth] of the leaves
    """

    place: NDArray[np.uint32]
    threshold: Singles
    length: Floats
    depth: int


@dataclass(frozen=True)
class _FlatTree:
    """Arrays [nodes] of one tree in breadth-first order; `left` counts from its root."""

    feature: Array
    threshold: Singles
    left: Positions
    length: Floats

    def __len__(self) -> int:
        return len(self.feature)

    def left_from(self, root: int) -> Positions:
        """Index of each left child in a forest where the tree begins at `root`."""
        return np.where(
            self.feature != LEAF,
            self.left + root,
            0,
        )


def _roots(trees: Sequence[_FlatTree]) -> Positions:
    """Index of each tree's root, when the trees lie one behind the other."""
    return np.cumsum(
        [
            0,
            *map(len, trees[:-1]),
        ]
    )


def _join(trees: Sequence[_FlatTree], roots: Positions) -> _FlatTree:
    """The nodes of all trees, one behind the other."""
    placed = zip(trees, roots, strict=True)
    left = [tree.left_from(root) for tree, root in placed]
    return _FlatTree(
        feature=np.concatenate([tree.feature for tree in trees]),
        threshold=np.concatenate([tree.threshold for tree in trees]),
        left=np.concatenate(left),
        length=np.concatenate([tree.length for tree in trees]),
    )


def _slices(n: int, parts: int) -> list[slice]:
    """`n` rows in so many parts of about one size."""
    bounds = [n * part // parts for part in range(parts + 1)]
    return [slice(start, end) for start, end in pairwise(bounds)]


@cache
def _pool(process: int) -> ThreadPoolExecutor:
    """The threads of this process; a forked child, whose pid differs, starts its own.

    Plain threads do, as the kernels release the GIL. numba's parallel loops would bring a
    threading layer of their own: the one that is always there aborts when two threads call it at
    once, OpenMP's does not survive a fork.
    """
    return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="score")


def _flatten_tree(forest: Any, index: int) -> _FlatTree:
    tree = forest.estimators_[index].tree_
    order, left = _breadth_first(tree.children_left, tree.children_right)
    is_split = tree.children_left[order] >= 0
    features = _split_features(forest, index)[order]
    thresholds = _round_down(tree.threshold[order])
    return _FlatTree(
        feature=np.where(is_split, features, LEAF),
        threshold=np.where(is_split, thresholds, np.float32(0)),
        left=left,
        length=_path_lengths(forest, index)[order],
    )


def _split_features(forest: Any, index: int) -> Array:
    """Feature of each split of a tree; anything for a leaf.

    A tree that sees some of the features numbers those from 0.
    """
    tree = forest.estimators_[index].tree_
    seen = forest.estimators_features_[index]
    return seen[np.maximum(tree.feature, 0)]


def _path_lengths(forest: Any, index: int) -> Floats:
    """Depth + c(rows in the node) of each node of a tree."""
    depths = np.asarray(forest._decision_path_lengths[index])
    return depths + forest._average_path_length_per_tree[index] - 1.0


def _breadth_first(left: Array, right: Array) -> tuple[Positions, Positions]:
    """The nodes in breadth-first order, and for each its left child's new position (children are
    neighbours)."""
    order = [0]
    position = []
    for node in order:  # grows while it is read
        position.append(len(order))
        if left[node] >= 0:
            children = (left[node], right[node])
            order.extend(map(int, children))
    return np.array(order), np.array(position)


def _round_down(threshold: Floats) -> Singles:
    """The largest float32 not above each threshold: then `x <= t` is the same for every float32
    x."""
    rounded = threshold.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded > threshold, below, rounded)
