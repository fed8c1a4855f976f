"""Columns that a forest is fitted on: which, in what order, and whether rows are copied."""

from __future__ import annotations

import numpy as np
import pytest

from train.model.columns import FitColumns
from train.model.shard import Shard
from vigil.arrays import Singles

ROWS: Singles = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def taken(X: Singles, names: tuple[str, ...]) -> Singles:
    return FitColumns.of(Shard(X), names, may_leave_out=True).take(X)


@pytest.mark.parametrize("names", [(), ("a", "b", "c")])
def test_columns_in_the_order_of_their_names_are_not_copied(names: tuple[str, ...]) -> None:
    assert taken(ROWS, names) is ROWS


def test_others_are_put_in_the_order_of_their_names() -> None:
    np.testing.assert_array_equal(taken(ROWS, ("c", "a", "b")), ROWS[:, [1, 2, 0]])


def test_a_constant_column_is_left_out() -> None:
    X = ROWS.copy()
    X[:, 1] = 7.0
    np.testing.assert_array_equal(taken(X, ("a", "b", "c")), X[:, [0, 2]])
