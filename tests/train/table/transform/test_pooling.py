"""`top` leaves the largest deviations of each kind of feature, in spreads of the training."""

from pathlib import Path

import numpy as np

from train.table.dataset import Dataset, read_table
from vigil.arrays import Floats

RAW = ("f0", "f1", "f2")


def read(rows: Floats, folder: Path, over_time: str) -> Dataset:
    np.savez(folder / "t.npz", train=rows)
    return read_table(folder / "t.npz", over_time=over_time)


def rows_with_an_outlier() -> Floats:
    X = np.random.default_rng(0).normal(5, (1, 10, 100), size=(200, 3))
    X[150, 1] = 500.0
    return X


def test_the_columns_of_each_kind_are_replaced_by_the_largest_of_them(tmp_path: Path) -> None:
    X = rows_with_an_outlier()
    train = read(X, tmp_path, "diff:1,top:2").train
    assert train.names == (*RAW, "top1", "top2", "diff1:top1", "diff1:top2")
    known = X[1:]  # the first has no row before it
    deviations = np.abs((known - known.mean(axis=0)) / known.std(axis=0))
    np.testing.assert_allclose(train.X[:, 3], deviations.max(axis=1))
    np.testing.assert_allclose(train.X[:, 4], np.median(deviations, axis=1))
    assert train.X[:, 3].argmax() == 149
    assert set(train.X[:, 5].argsort()[-2:]) == {149, 150}


def test_there_are_no_more_columns_than_features(tmp_path: Path) -> None:
    train = read(rows_with_an_outlier(), tmp_path, "residual,top:8").train
    assert len(train.names) == 3 * 3


def test_a_constant_feature_that_changes_is_among_the_largest(tmp_path: Path) -> None:
    X = rows_with_an_outlier()
    X[:, 0] = 7.0
    transform = read(X, tmp_path, "sd:3,top:1").transform
    assert transform is not None
    X[199, 0] = 8.0
    assert transform.apply(X)[199, 3] == 1000.0
