"""Read the files of a table a chunk at a time: rows as float64, checked, with errors that name file, line and column."""

from __future__ import annotations

import csv
import io
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from train.table import values
from train.table.schema import Columns, Schema, infer
from train.table.source import File
from vigil.arrays import Floats
from vigil.errors import DataError

CHUNK_VALUES = 2**20  # of one chunk: 8 MB as float64
PIECE_ROWS = 2**20  # of Parquet, read by one task
BUFFER_BYTES = 2**18  # read ahead in each column; without it a row group is in memory whole
_FLOAT32_MAX = float(np.finfo(np.float32).max)
BAD_PARQUET = (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError)


@dataclass(frozen=True)
class Piece:
    """What one task reads: a file, of a Parquet file some row groups. `first` is its first row in the file."""

    file: File
    groups: tuple[int, ...] = ()
    first: int = 0
    rows: int | None = None  # where the file says so without being read


@dataclass(frozen=True)
class Chunk:
    """Rows [n, d] as they follow each other in the file, from its row `first` (counted from 0) on."""

    X: Floats
    names: tuple[str, ...]
    first: int
    labels: NDArray[np.int64] | None = None
    times: NDArray[Any] | None = None
    entities: NDArray[Any] | None = None
    part: Literal["train", "test"] = "train"
    ordered: bool = True


def pieces(files: Sequence[File]) -> list[Piece]:
    """The pieces of all files, in order."""
    made: list[Piece] = []
    for file in files:
        made += _row_groups(file) if file.kind == ".parquet" else [Piece(file)]
    return made


def _row_groups(file: File) -> list[Piece]:
    try:
        with file.open() as opened:
            meta = pq.ParquetFile(opened).metadata
            sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
    except BAD_PARQUET as error:
        raise _unreadable(file, "Parquet", error) from error
    made: list[Piece] = []
    for i, size in enumerate(sizes):
        last = made[-1] if made else None
        if last is not None and last.rows is not None and last.rows + size <= PIECE_ROWS:
            made[-1] = Piece(file, (*last.groups, i), last.first, last.rows + size)
        else:
            made.append(Piece(file, (i,), last.first + (last.rows or 0) if last else 0, size))
    return made or [Piece(file, (), 0, 0)]


def read(piece: Piece, columns: Columns, *, allow_missing: bool = False) -> Iterator[Chunk]:
    """The rows of a piece, chunk by chunk; raises DataError for what cannot be learnt from."""
    readers = {".csv": _csv, ".parquet": _parquet, ".npz": _npz}
    for chunk in readers[piece.file.kind](piece, columns):
        check(chunk, piece.file, allow_missing)
        yield chunk


def _csv(piece: Piece, columns: Columns) -> Iterator[Chunk]:
    file = piece.file
    try:
        with file.open() as opened:
            header = next(
                csv.reader(
                    io.TextIOWrapper(io.BytesIO(_first_line(opened)), "utf-8-sig", newline="")
                ),
                [],
            )
            _check_header(header, file)
            schema = infer(header, columns, file.path) if header else None
            opened.seek(0)
            rows = max(1000, CHUNK_VALUES // max(len(header), 1))
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "error", pd.errors.ParserWarning
                )  # rows longer than the header
                first = 0
                for frame in pd.read_csv(opened, index_col=False, chunksize=rows, low_memory=False):
                    assert schema is not None  # pandas refuses a file without header
                    yield _from_frame(frame, schema, file, first)
                    first += len(frame)
    except UnicodeDecodeError as error:
        raise DataError(f"{file.path} is not text in UTF-8 ({error}): save it as such") from error
    except (
        pd.errors.ParserError,
        pd.errors.ParserWarning,
        pd.errors.EmptyDataError,
        csv.Error,
    ) as error:
        raise DataError(f"{file.path}: {error}") from error
    except OSError as error:
        raise DataError(f"{file.path} cannot be read: {error}") from error


def _check_header(header: list[str], file: File) -> None:
    """Names may be numbers (pandas counts columns), but not measured ones: then the first row was taken for names."""
    try:
        numbers = [float(name) for name in header]
    except ValueError:
        return
    if not all(number.is_integer() for number in numbers):
        raise DataError(
            f"{file.path}, line 1 holds numbers ({', '.join(header[:3])}, ..): it must name the columns"
        )


def _first_line(opened: Any) -> bytes:
    """The header: the line up to which all quotes are closed. pandas takes the first one that is not blank."""
    lines = b""
    for line in iter(lambda: _line(opened), b""):
        lines = lines + line if lines.strip() else line
        if lines.strip() and lines.count(b'"') % 2 == 0:
            break
    return lines.lstrip()


def _line(opened: Any) -> bytes:
    """pyarrow's files have no readline for binary data."""
    if hasattr(opened, "peek"):
        return opened.readline()
    start = opened.tell()
    block = opened.read(65536)
    end = block.find(b"\n") + 1 or len(block)
    opened.seek(start + end)
    return block[:end]


def _parquet(piece: Piece, columns: Columns) -> Iterator[Chunk]:
    try:
        with piece.file.open() as opened:
            table = pq.ParquetFile(opened, buffer_size=BUFFER_BYTES)
            names = [
                name for name in table.schema_arrow.names if not name.startswith("__index_level_")
            ]  # pandas' row numbers
            schema = infer(names, columns, piece.file.path)
            rows, first = max(1000, CHUNK_VALUES // max(len(schema.used), 1)), piece.first
            if not piece.rows:
                yield _from_frame(_frame(table.schema_arrow.empty_table()), schema, piece.file, 0)
            for batch in table.iter_batches(
                rows, row_groups=list(piece.groups), columns=list(schema.used), use_threads=False
            ):
                yield _from_frame(_frame(batch), schema, piece.file, first)
                first += len(batch)
    except BAD_PARQUET as error:
        raise _unreadable(piece.file, "Parquet", error) from error


def _frame(found: pa.Table | pa.RecordBatch) -> pd.DataFrame:
    """The columns as the file has them, also those that pandas would make its index again."""
    return found.to_pandas(ignore_metadata=True)


def _unreadable(file: File, kind: str, error: Exception) -> DataError:
    return DataError(f"{file.path} is not a readable {kind} file: {error}")


def _from_frame(frame: pd.DataFrame, schema: Schema, file: File, first: int) -> Chunk:
    X = np.empty(
        (len(schema.features), len(frame))
    ).T  # columns side by side: they come, and are hashed, one by one
    for j, name in enumerate(schema.features):
        X[:, j] = values.numbers(frame[name], name, file, first)
    labels = (
        None if schema.label is None else values.labels(frame[schema.label].to_numpy(), file, first)
    )
    times = (
        None if schema.time is None else values.times(frame[schema.time], schema.time, file, first)
    )
    entities = None if schema.entity is None else values.entities(frame[schema.entity], file, first)
    return Chunk(X, schema.features, first, labels, times, entities)


def _npz(piece: Piece, columns: Columns) -> Iterator[Chunk]:
    """Arrays `train` or `X`; `test` with `label`, or `y`, where present. An archive is read whole."""
    file, label = piece.file, columns.label
    if columns.time or columns.entity:
        raise DataError(
            f"{file.path}: an .npz file has no time or entity column; use CSV or Parquet"
        )
    arrays = _arrays(file)
    main = next((key for key in ("train", "X") if key in arrays), None)
    if main is None:
        raise DataError(
            f"{file.path} has the arrays {', '.join(arrays) or '(none)'}; it needs `train` or `X`"
        )
    if label is not None and label not in arrays:
        raise DataError(
            f"{file.path} has no array {label!r}; it has {', '.join(arrays)}", field=label
        )
    names = tuple(str(n) for n in arrays["names"].ravel()) if "names" in arrays else None
    if main == "X":
        yield _array(
            arrays["X"],
            names,
            arrays.get(label or "y", arrays.get("label")),
            file,
            columns,
            ordered=False,
        )
        return
    train = _array(arrays["train"], names, None, file, columns)
    yield train
    if "test" in arrays:
        test = _array(
            arrays["test"], names, arrays.get(label or "label"), file, columns, part="test"
        )
        if test.names != train.names:
            raise DataError(
                f"{file.path}: `train` has {len(train.names)} features, `test` has {len(test.names)}"
            )
        yield test


def _arrays(file: File) -> dict[str, NDArray[Any]]:
    try:
        with (
            file.open() as opened,
            np.load(io.BytesIO(opened.read()), allow_pickle=False) as archive,
        ):
            return {key: np.asarray(archive[key]) for key in archive.files}
    except (ValueError, TypeError, AttributeError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise _unreadable(file, ".npz", error) from error


def _array(
    X: NDArray[Any],
    names: tuple[str, ...] | None,
    labels: Any,
    file: File,
    columns: Columns,
    *,
    part: Literal["train", "test"] = "train",
    ordered: bool = True,
) -> Chunk:
    if X.ndim != 2 or X.dtype.kind not in "iufb":
        raise DataError(
            f"{file.path}: an array of shape {X.shape} and type {X.dtype}; it must be numbers [rows, features]"
        )
    names = names or tuple(f"f{i}" for i in range(X.shape[1]))
    if len(names) != X.shape[1]:
        raise DataError(f"{file.path}: {len(names)} names for {X.shape[1]} features")
    if labels is not None and labels.shape != X.shape[:1]:
        raise DataError(
            f"{file.path}: labels of shape {labels.shape} for {len(X)} rows; they must be [rows]"
        )
    chosen = infer(
        names, Columns(features=columns.features, schema=columns.schema), file.path
    ).features
    chosen = (
        chosen if columns.features or columns.schema else names
    )  # an array's column may well be called y
    picked = X.astype(np.float64)[:, [names.index(name) for name in chosen]]
    return Chunk(
        picked,
        chosen,
        0,
        None if labels is None else values.labels(labels, file),
        part=part,
        ordered=ordered,
    )


def check(chunk: Chunk, file: File, allow_missing: bool) -> None:
    """Raise DataError for the first value that no forest can take."""
    if any(name.startswith("_") for name in chunk.names):
        raise DataError(
            f"{file.path}: column names that begin with _ are reserved for captured rows"
        )
    most = max(-chunk.X.min(initial=0), chunk.X.max(initial=0))
    if most <= _FLOAT32_MAX:  # not so where it is NaN
        return
    bad = np.isinf(chunk.X) if allow_missing else ~np.isfinite(chunk.X)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{values.where(file, chunk.first + row)}, column {chunk.names[column]!r}: {chunk.X[row, column]} is not a finite "
            f"number; fill or drop such rows ({int(bad.any(axis=1).sum())} of the {len(bad)} that were read with it)",
            field=chunk.names[column],
            row=chunk.first + row,
        )
    if np.nanmax(np.abs(chunk.X)) > _FLOAT32_MAX:
        raise DataError(
            f"{file.path}: a value is beyond the float32 range that isolation forests work in; rescale the column"
        )
