"""Read, validate and split a table: the only reader of training data."""

from __future__ import annotations

import csv
import hashlib
import warnings
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from train.errors import DataError

LABEL_COLUMNS = ("label", "is_anomaly", "y")  # recognised in CSV and Parquet when no label column is named


@dataclass(frozen=True)
class Table:
    """Rows [n, d] with the names of their d features; `labels` [n] are 1 for an anomaly; `ordered` means by time."""

    X: NDArray[np.float64]
    names: tuple[str, ...]
    labels: NDArray[np.int64] | None = None
    ordered: bool = True

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: slice | NDArray[Any]) -> Table:
        return replace(self, X=self.X[rows], labels=None if self.labels is None else self.labels[rows])

    @property
    def constant(self) -> tuple[str, ...]:
        """Features with one value only: kept, worth a warning."""
        return tuple(n for n, same in zip(self.names, np.ptp(self.X, axis=0) == 0, strict=True) if same)

    @property
    def fingerprint(self) -> str:
        """sha256 over names, shape and values."""
        digest = hashlib.sha256("\0".join((*self.names, str(self.X.shape))).encode())
        digest.update(np.ascontiguousarray(self.X).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Dataset:
    """What a file holds: rows to train on and, where the file has them, rows to test on."""

    train: Table
    test: Table | None = None


def read(path: str | Path, *, label: str | None = None, allow_missing: bool = False) -> Dataset:
    """Read CSV, Parquet or .npz (arrays `train` or `X`; `test` with `label`, or `y`, where present).

    Raises DataError that names the line or row and the column of what is wrong. NaN is an error unless `allow_missing`.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"no such data file: {path}")
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty")
    readers = {".csv": _read_csv, ".parquet": _read_parquet, ".npz": _read_npz}
    if file.suffix not in readers:
        raise DataError(f"{file}: unknown kind of file {file.suffix!r}; use .csv, .parquet or .npz")
    dataset = readers[file.suffix](file, label)
    for table in (dataset.train, dataset.test):
        if table is not None:
            _check(table, file, allow_missing)
    return dataset


def read_captured(folder: Path, since: float) -> Table | None:
    """The live rows that the monitor captured from `since` (Unix seconds) on, in time order; None when there are none."""
    files = sorted(file for file in folder.glob("date=*/window-*.parquet") if _stamp(file) >= int(since * 1000))
    if not files:
        return None
    tables = []
    for file in files:
        with suppress(FileNotFoundError):  # the monitor's retention was faster
            try:
                whole = pq.ParquetFile(file).read()
                tables.append(whole.select([name for name in whole.column_names if not name.startswith("_")]))
            except pa.ArrowInvalid as error:
                raise DataError(f"{file} is not a readable Parquet file: {error}") from error
    if not tables:
        return None
    try:
        whole = pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise DataError(f"the captured rows since then are not of one schema: {error}") from error
    columns = tuple(whole.column_names)
    table = Table(np.column_stack([whole[name].to_numpy().astype(np.float64) for name in columns]), columns)
    _check(table, folder, allow_missing=False)
    return table


def read_request(folder: Path, request: str) -> tuple[Table, NDArray[np.float64], str] | None:
    """The captured rows of one request, with the scores [n] they got and the version that gave them.

    A request may lie in several windows. Where a client has given one id to requests of several versions, it is the latest.
    """
    parts: list[pa.Table] = []
    for file in sorted(folder.glob("date=*/window-*.parquet")):
        with suppress(FileNotFoundError, pa.ArrowInvalid):
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


def captured_name(stamp: float) -> str:
    """The file name of the window whose first row was seen at `stamp` (Unix seconds); sorts by time."""
    return f"window-{int(stamp * 1000):015d}.parquet"


def _stamp(file: Path) -> int:
    """Milliseconds, as the name has them."""
    digits = file.stem.removeprefix("window-")
    return int(digits) if digits.isdigit() else -1


def split(table: Table, holdout: float, seed: int) -> tuple[Table, Table]:
    """Rows to fit on and rows held out: the latest share where rows are in time order, else a random one."""
    n = len(table)
    cut = n - max(1, round(n * holdout))
    if table.ordered:
        return table.take(slice(0, cut)), table.take(slice(cut, n))
    order = np.random.default_rng(seed).permutation(n)
    return table.take(order[:cut]), table.take(order[cut:])


def _read_csv(file: Path, label: str | None) -> Dataset:
    try:
        with file.open(newline="") as text:
            header = next(csv.reader(text), [])
        if len(set(header)) != len(header):
            raise DataError(f"{file}: two columns have the same name")
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            frame = pd.read_csv(file, index_col=False)
    except (pd.errors.ParserError, pd.errors.ParserWarning, pd.errors.EmptyDataError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: {error}") from error
    return Dataset(_from_frame(frame, file, label, first_line=2))


def _read_parquet(file: Path, label: str | None) -> Dataset:
    try:
        frame = pd.read_parquet(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file} is not a readable Parquet file: {error}") from error
    return Dataset(_from_frame(frame, file, label, first_line=1))


def _from_frame(frame: pd.DataFrame, file: Path, label: str | None, first_line: int) -> Table:
    if label is not None and label not in frame.columns:
        raise DataError(f"{file} has no column {label!r}; it has {', '.join(map(str, frame.columns))}", field=label)
    if label is None:
        label = next((name for name in LABEL_COLUMNS if name in frame.columns), None)
    labels = None if label is None else _labels(frame[label].to_numpy(), file)
    features = frame.drop(columns=[label] if label else [])
    columns = [_numbers(column, str(name), file, first_line) for name, column in features.items()]
    X = np.column_stack(columns) if columns else np.empty((len(frame), 0))
    return Table(X, tuple(map(str, features.columns)), labels)


def _numbers(column: pd.Series, name: str, file: Path, first_line: int) -> NDArray[np.float64]:
    """The column as float64, or a DataError that names the first value that is no number."""
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        raise DataError(f"{file}, column {name!r} holds times, not numbers: drop it", field=name)
    values = np.asarray(pd.to_numeric(column, errors="coerce"), dtype=np.float64)
    wrong = np.isnan(values) & column.notna().to_numpy()
    if wrong.any():
        row = int(np.argmax(wrong))
        value = column.iloc[row]
        raise DataError(
            f"{file}, line {row + first_line}, column {name!r}: {value!r} is not a number; "
            "drop the column or encode it, and name a label column with --label",
            field=name, row=row,
        )  # fmt: skip
    return values


def _read_npz(file: Path, label: str | None) -> Dataset:
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {key: np.asarray(archive[key]) for key in archive.files}
    except (ValueError, TypeError, AttributeError, OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} is not a readable .npz file: {error}") from error
    main = next((key for key in ("train", "X") if key in arrays), None)
    if main is None:
        raise DataError(f"{file} has the arrays {', '.join(arrays) or '(none)'}; it needs `train` or `X`")
    if label is not None and label not in arrays:
        raise DataError(f"{file} has no array {label!r}; it has {', '.join(arrays)}", field=label)
    names = tuple(str(n) for n in arrays["names"].ravel()) if "names" in arrays else None
    if main == "X":
        labels = arrays.get(label or "y", arrays.get("label"))
        return Dataset(_from_array(arrays["X"], names, labels, file, ordered=False))
    test = None
    if "test" in arrays:
        test = _from_array(arrays["test"], names, arrays.get(label or "label"), file, ordered=True)
    train = _from_array(arrays["train"], names, None, file, ordered=True)
    if test is not None and test.names != train.names:
        raise DataError(f"{file}: `train` has {len(train.names)} features, `test` has {len(test.names)}")
    return Dataset(train, test)


def _from_array(X: NDArray[Any], names: tuple[str, ...] | None, labels: Any, file: Path, ordered: bool) -> Table:
    if X.ndim != 2 or X.dtype.kind not in "iufb":
        raise DataError(f"{file}: an array of shape {X.shape} and type {X.dtype}; it must be numbers [rows, features]")
    names = names or tuple(f"f{i}" for i in range(X.shape[1]))
    if len(names) != X.shape[1]:
        raise DataError(f"{file}: {len(names)} names for {X.shape[1]} features")
    if labels is not None and labels.shape != X.shape[:1]:
        raise DataError(f"{file}: labels of shape {labels.shape} for {len(X)} rows; they must be [rows]")
    return Table(X.astype(np.float64), names, None if labels is None else _labels(labels, file), ordered)


def _labels(values: NDArray[Any], file: Path) -> NDArray[np.int64]:
    try:
        labels = np.asarray(values, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise DataError(f"{file}: labels must be 0 (normal) or 1 (anomaly)") from error
    wrong = ~np.isin(labels, (0, 1))
    if wrong.any():
        raise DataError(f"{file}: labels must be 0 (normal) or 1 (anomaly), found {labels[wrong][0]}")
    return labels.astype(np.int64)


def _check(table: Table, file: Path, allow_missing: bool) -> None:
    n, d = table.X.shape
    if n == 0 or d == 0:
        raise DataError(f"{file} has {n} rows and {d} feature columns; both must be at least 1")
    if len(set(table.names)) != d:
        raise DataError(f"{file}: two columns have the same name")
    if any(name.startswith("_") for name in table.names):
        raise DataError(f"{file}: column names that begin with _ are reserved for captured rows")
    bad = np.isinf(table.X) if allow_missing else ~np.isfinite(table.X)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise DataError(
            f"{file}, row {row + 1}, column {table.names[column]!r}: {table.X[row, column]} is not a finite number; "
            f"fill or drop such rows ({int(bad.any(axis=1).sum())} of them)",
            field=table.names[column], row=row,
        )  # fmt: skip
    if np.abs(table.X[np.isfinite(table.X)]).max(initial=0) > np.finfo(np.float32).max:
        raise DataError(f"{file}: a value is beyond the float32 range that isolation forests work in; rescale the column")
