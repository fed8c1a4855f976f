"""Read, validate and split a table: the only reader of training data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from train.table import reader as chunks
from train.table import scan, schema, source
from train.table.captured import stamp_of, windows
from train.table.reader import Chunk
from train.table.schema import Columns
from train.table.source import File
from vigil.arrays import Floats
from vigil.errors import DataError


@dataclass(frozen=True)
class Table:
    """Rows [n, d] with the names of their d features; `labels` [n] are 1 for an anomaly; `ordered` means by time."""

    X: Floats
    names: tuple[str, ...]
    labels: NDArray[np.int64] | None = None
    ordered: bool = True

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: slice | NDArray[Any]) -> Table:
        return replace(
            self, X=self.X[rows], labels=None if self.labels is None else self.labels[rows]
        )

    @property
    def told_apart(self) -> NDArray[np.int64] | None:
        """The labels, where both classes occur: only then can they say how good a score is."""
        return (
            self.labels
            if self.labels is not None and 0 < self.labels.sum() < len(self.labels)
            else None
        )

    @property
    def constant(self) -> tuple[str, ...]:
        """Features with one value only: kept, worth a warning."""
        return tuple(
            n for n, same in zip(self.names, np.ptp(self.X, axis=0) == 0, strict=True) if same
        )

    @property
    def fingerprint(self) -> str:
        """sha256 over names, shape and values."""
        digest = hashlib.sha256("\0".join((*self.names, str(self.X.shape))).encode())
        digest.update(np.ascontiguousarray(self.X).tobytes())
        return digest.hexdigest()


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


def read(
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
    files = source.find(path)
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
        chunk for piece in chunks.pieces(source.find(path)) for chunk in chunks.read(piece, columns)
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


def read_captured(where: str | Path, since: float) -> Table | None:
    """The live rows that the monitor captured from `since` (Unix seconds) on, in time order; None when there are none.

    `where`: a folder or an s3:// URL. Raises DataError when it cannot be read.
    """
    kept, tables = windows(where), []
    try:
        for name in kept.names():
            if stamp_of(name) < int(since * 1000):
                continue
            with (
                suppress(FileNotFoundError),
                kept.read(name) as file,
            ):  # the monitor's retention was faster
                whole = _whole(file, f"{name} in {where}")
                tables.append(
                    whole.select([name for name in whole.column_names if not name.startswith("_")])
                )
    except OSError as error:
        raise DataError(f"the captured rows in {where} cannot be read: {error}") from error
    if not tables:
        return None
    try:
        whole = pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise DataError(f"the captured rows since then are not of one schema: {error}") from error
    columns = tuple(whole.column_names)
    table = Table(
        np.column_stack([whole[name].to_numpy().astype(np.float64) for name in columns]), columns
    )
    chunks.check(Chunk(table.X, columns, 0), File(str(where), 0, ""), allow_missing=False)
    return table


def _whole(file: IO[bytes], where: str) -> pa.Table:
    try:
        return pq.ParquetFile(file).read()
    except pa.ArrowInvalid as error:
        raise DataError(f"{where} is not a readable Parquet file: {error}") from error


def read_request(where: str | Path, request: str) -> tuple[Table, Floats, str] | None:
    """The captured rows of one request, with the scores [n] they got and the version that gave them.

    A request may lie in several windows. Where a client has given one id to requests of several versions, it is the latest.
    """
    parts: list[pa.Table] = []
    kept = windows(where)
    for name in kept.names():
        with suppress(FileNotFoundError, pa.ArrowInvalid), kept.read(name) as file:
            part = pq.ParquetFile(file).read().filter(pc.field("_request") == request)
            if len(part):
                parts.append(part)
    if not parts:
        return None
    version = parts[-1]["_version"][-1].as_py()
    found = pa.concat_tables([part for part in parts if part["_version"][-1].as_py() == version])
    names = tuple(name for name in found.column_names if not name.startswith("_"))
    X = np.column_stack([found[name].to_numpy() for name in names])
    return Table(X, names), found["_score"].to_numpy(), version


def split(table: Table, holdout: float, seed: int) -> tuple[Table, Table]:
    """Rows to fit on and rows held out: the latest share where rows are in time order, else a random one."""
    n = len(table)
    cut = n - max(1, round(n * holdout))
    if table.ordered:
        return table.take(slice(0, cut)), table.take(slice(cut, n))
    order = np.random.default_rng(seed).permutation(n)
    return table.take(order[:cut]), table.take(order[cut:])
