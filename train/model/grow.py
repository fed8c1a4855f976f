"""Grow the trees of scikit-learn's IsolationForest from the rows that are drawn for them alone.

scikit-learn hands each tree the whole table, in which rows that were not drawn weigh nothing: of a
million rows, that is ten times the work of growing 100 trees of 256. Here the same draws are made,
and the same trees are grown from the drawn rows: they are equal, node by node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.ensemble._iforest import _average_path_length

from vigil.arrays import Floats, Positions, Singles

_MOST_SEEDS = np.iinfo(np.int32).max  # scikit-learn's: seeds of trees are below it
RowReader = Callable[[Positions], Singles]  # of numbers [k], the rows [k, d]


class _Draw(NamedTuple):
    """What is drawn for a tree: its seed, and the numbers of its features and of its rows."""

    seed: int
    features: Positions
    rows: Positions


def grow_trees(
    forest: IsolationForest,
    read: RowReader,
    count: int,
) -> Iterator[int]:
    """Fit `forest`, which has its parameters, to a table of `count` rows; yield the number of its
    trees after each.

    `random_state` must be a number, and `bootstrap` and `warm_start` false. It touches private
    attributes of scikit-learn, which is why its version is pinned.
    """
    member: Any = forest
    trees = member.n_estimators
    _start(member, read, count)
    targets = _random_targets(member, count)
    for draw in _draws(member, trees):
        _append(member, _grow(member, draw, read, targets), draw)
        yield len(member.estimators_)
    member.set_params(n_estimators=trees)


def _start(
    forest: Any,
    read: RowReader,
    count: int,
) -> None:
    """Give the forest what a fit gives it, but for its trees, by one on a few rows."""
    some = read(np.arange(forest.max_samples))
    forest.set_params(n_estimators=1).fit(some)
    forest._n_samples = count
    forest.estimators_ = []
    forest.estimators_features_ = []
    forest._average_path_length_per_tree = ()
    forest._decision_path_lengths = ()


def _random_targets(forest: Any, count: int) -> Floats:
    """The targets [n] that scikit-learn draws: a tree ends where they are equal to its digits."""
    return np.random.RandomState(forest.random_state).uniform(size=count)


def _draws(forest: Any, trees: int) -> Iterator[_Draw]:
    seeds = np.random.RandomState(forest.random_state).randint(_MOST_SEEDS, size=trees)
    forest._seeds = seeds
    drawn = forest._get_estimators_indices()
    for seed, (features, rows) in zip(seeds, drawn, strict=True):
        yield _Draw(seed, features, np.sort(rows))


def _grow(
    forest: Any,
    draw: _Draw,
    read: RowReader,
    targets: Floats,
) -> Any:
    """The tree of a draw."""
    rows = read(draw.rows)
    sees_all = forest._max_features == forest.n_features_in_
    seen = rows if sees_all else rows[:, draw.features]
    tree = forest._make_estimator(append=False, random_state=draw.seed)
    return tree.fit(seen, targets[draw.rows], check_input=False)


def _append(
    forest: Any,
    member: Any,
    draw: _Draw,
) -> None:
    """Add a tree, with what scikit-learn keeps of each to score by it."""
    lengths = _average_path_length(member.tree_.n_node_samples)
    depths = member.tree_.compute_node_depths()
    forest.estimators_.append(member)
    forest.estimators_features_.append(draw.features)
    forest._average_path_length_per_tree += (lengths,)
    forest._decision_path_lengths += (depths,)
