"""Read, validate and split a table: the only reader of training data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from train.table import reader as chunks
from train.table import scan, schema
from train.table.schema import Columns
from train.table.source import File, find_files
from train.table.table import Table
from vigil.errors import DataError


@dataclass(frozen=True)
class Fingerprint:
    """What was read. digest: sha256 over names, rows and the hashes of all columns, wherever the files lie."""

    digest: str
    rows: int
    files: tuple[File, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """What a table holds: rows to train on and, where the files have them, rows to test on.

    train: all rows, or a random sample of them in their order; recent: as many of the latest, without gaps
    """

    train: Table
    test: Table | None = None
    recent: Table | None = None
    fingerprint: Fingerprint = Fingerprint("", 0)


def read_table(
    path: str | Path,
    *,
    columns: Columns | None = None,
    label: str | None = None,
    allow_missing: bool = False,
    most: int = 2**62,
    seed: int = 0,
    over_time: str = "",
    tasks: int = 1,
    progress: Callable[[int], None] = lambda _: None,
) -> Dataset:
    """Read CSV, Parquet or .npz (arrays `train` or `X`; `test` with `label`, or `y`, where present): a file, folder or glob,
    local or s3://. At most `most` random rows and `most` latest ones are kept; the whole table is scanned and fingerprinted.

    `over_time` declares a transform (train/table/transform.py), which is applied before rows are chosen.
    Raises DataError that names file, line or row, and column of what is wrong. NaN is an error unless `allow_missing`.
    """
    columns = columns or Columns(label=label)
    files = find_files(path)
    pieces = chunks.pieces(files)
    found = scan.scan(
        pieces,
        scan.Plan(columns, most, seed, over_time, allow_missing),
        tasks=tasks,
        progress=progress,
    )
    name = files[0].path if len(files) == 1 else str(path)
    test = found.test and Table(found.test.X, found.names, found.test.labels)
    if found.rows and not len(found.sample.X):
        raise DataError(
            f"{name}: none of its {found.rows} rows has as many before it as the transform {over_time!r} looks back on"
        )
    train = Table(found.sample.X, found.names, found.sample.labels, found.ordered)
    for table in (train, test):
        if table is not None:
            _check(table, name)
    _check_leak(found, name)
    raw = (
        next(chunks.read(pieces[0], columns, allow_missing=allow_missing)).names
        if columns.schema
        else ()
    )
    if columns.schema:
        schema.keep(schema.Schema(raw, columns.label, columns.time, columns.entity), columns)
    recent = Table(found.tail.X, found.names, found.tail.labels) if found.ordered else train
    return Dataset(train, test, recent, _fingerprint(found, files))


def preview(path: str | Path, columns: Columns) -> None:
    """Raise DataError for what the first rows of a table already show; takes a second, whatever its size."""
    read = (
        chunk for piece in chunks.pieces(find_files(path)) for chunk in chunks.read(piece, columns)
    )
    first = next(read)
    found = first if len(first.X) else next((chunk for chunk in read if len(chunk.X)), first)
    _check(Table(found.X, found.names), str(path))


def _fingerprint(found: scan.Shard, files: Sequence[File]) -> Fingerprint:
    hashes = {
        name: hashlib.sha256("".join(parts).encode()).hexdigest()
        for name, parts in found.digests.items()
    }
    digest = hashlib.sha256(json.dumps([found.rows, *sorted(hashes.items())]).encode()).hexdigest()
    return Fingerprint(digest, found.rows, tuple(files), hashes)


def _check(table: Table, name: str) -> None:
    n, d = table.X.shape
    if n == 0 or d == 0:
        raise DataError(f"{name} has {n} rows and {d} feature columns; both must be at least 1")
    if len(set(table.names)) != d:
        raise DataError(f"{name}: two columns have the same name")


def _check_leak(found: scan.Shard, name: str) -> None:
    """A feature that has one value for all anomalies and another for all other rows is the label under another name."""
    if found.extremes is None:
        return
    smallest, largest = (
        found.extremes[:, 0],
        found.extremes[:, 1],
    )  # [2, d]; infinite where a class has no row
    told = (smallest == largest).all(axis=0) & (smallest[0] != smallest[1])
    if told.any():
        leak = found.names[int(np.argmax(told))]
        raise DataError(
            f"{name}: column {leak!r} tells the label: the model would learn the answer; leave it out",
            field=leak,
        )


def split_holdout(table: Table, holdout: float, seed: int) -> tuple[Table, Table]:
    """Rows to fit on and rows held out: the latest share where rows are in time order, else a random one."""
    n = len(table)
    cut = n - max(1, round(n * holdout))
    if table.ordered:
        return table.take(slice(0, cut)), table.take(slice(cut, n))
    order = np.random.default_rng(seed).permutation(n)
    return table.take(order[:cut]), table.take(order[cut:])
