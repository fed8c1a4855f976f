"""Rows of an .npz archive: arrays `train` or `X`; `test` with `label`, or `y`, where present."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from train.table.cells import clean_name
from train.table.schema import Columns, infer_schema
from train.table.source import File, FileSplit
from train.table.table import Table
from train.table.values import RowOrigin, parse_labels
from vigil.arrays import Array
from vigil.errors import DataError

_BAD_ARCHIVE = (ValueError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile)

Arrays = Mapping[str, Array]


def read_npz(
    split: FileSplit,
    columns: Columns,
    chunk_values: int,
) -> Iterator[Table]:
    """Return the rows to train on, then those to test on. An archive is read whole.

    Raises DataError that says which array is missing, or what is wrong with it.
    """
    file = split.file
    if columns.time or columns.entity:
        raise DataError(
            f"{file.path}: an .npz file has no time or entity column; use CSV or Parquet"
        )
    if columns.categories:
        raise DataError(f"{file.path}: an .npz file has numbers alone, no categories: use CSV")
    archive = _Archive(file, columns, _load_arrays(file))
    archive.check()
    if "train" in archive.arrays:
        yield from archive.train_and_test()
    else:
        yield archive.unordered()


def _load_arrays(file: File) -> Arrays:
    try:
        with file.open() as stream:
            content = io.BytesIO(stream.read())
            with np.load(content, allow_pickle=False) as archive:
                return {key: np.asarray(archive[key]) for key in archive.files}
    except _BAD_ARCHIVE as error:
        raise DataError(f"{file.path} is not a readable .npz file: {error}") from error


@dataclass(frozen=True)
class _Archive:
    """The arrays of a file, and what the caller says of them."""

    file: File
    columns: Columns
    arrays: Arrays

    def check(self) -> None:
        arrays = ", ".join(self.arrays)
        if "train" not in self.arrays and "X" not in self.arrays:
            raise DataError(
                f"{self.file.path} has the arrays {arrays or '(none)'}; it needs `train` or `X`"
            )
        label = self.columns.label
        if label is not None and label not in self.arrays:
            raise DataError(
                f"{self.file.path} has no array {label!r}; it has {arrays}",
                field=label,
            )

    def unordered(self) -> Table:
        """The rows of `X`, whose order means nothing."""
        label = self.columns.label or "y"
        labels = self.arrays.get(label, self.arrays.get("label"))
        return replace(self._table("X", labels), ordered=False)

    def train_and_test(self) -> Iterator[Table]:
        """The rows of `train`, and those of `test` where there are any."""
        train = self._table("train", None)
        yield train
        if "test" in self.arrays:
            labels = self.arrays.get(self.columns.label or "label")
            test = self._table("test", labels)
            if test.names != train.names:
                raise DataError(
                    f"{self.file.path}: `train` has {len(train.names)} features, "
                    f"`test` has {len(test.names)}"
                )
            yield replace(test, is_test=True)

    def _table(
        self,
        array: str,
        labels: Array | None,
    ) -> Table:
        X = self.arrays[array]
        path = self.file.path
        if X.ndim != 2 or X.dtype.kind not in "iufb":
            raise DataError(
                f"{path}: an array of shape {X.shape} and type {X.dtype}; "
                "it must be numbers [rows, features]"
            )
        names = self._names(X.shape[1])
        if labels is not None and labels.shape != X.shape[:1]:
            raise DataError(
                f"{path}: labels of shape {labels.shape} for {len(X)} rows; they must be [rows]"
            )
        features = self._features(names)
        chosen = X.astype(np.float64)[:, [names.index(name) for name in features]]
        numbers = (
            None
            if labels is None
            else parse_labels(pd.Series(labels), "labels", RowOrigin(self.file))
        )
        return Table(
            chosen,
            features,
            numbers,
            index=np.arange(len(X)),
        )

    def _names(self, features: int) -> tuple[str, ...]:
        if "names" not in self.arrays:
            return tuple(f"f{i}" for i in range(features))
        names = tuple(clean_name(str(name)) for name in self.arrays["names"].ravel())
        if len(names) != features:
            raise DataError(f"{self.file.path}: {len(names)} names for {features} features")
        return names

    def _features(self, names: tuple[str, ...]) -> tuple[str, ...]:
        chosen = replace(self.columns, label=None)
        return infer_schema(names, chosen, self.file.path).features
