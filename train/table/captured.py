"""Captured rows: live rows in windows, with what they were answered, written and read.

The monitor writes them; training, feedback and `vigil replay` read them. A window is a Parquet
file with a column for each feature, and some that begin with _: score, request, version, alert, row
(its number in the request), rows (that the request had), and where rows had any, time (Unix
seconds, NaN of a row without). Its metadata have the key of the
transform that made its features: what another one has learnt makes others of the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from train.table.numbering import Numbering, number_rows
from train.table.source import File
from train.table.table import Table
from train.table.window_store import WindowStore, open_store, window_ms, window_name
from vigil.arrays import Array, Flags, Floats
from vigil.errors import DataError

_ANSWER_COLUMNS = ("_request", "_alert", "_version")
_NUMBERING_COLUMNS = ("_row", "_rows")  # an older Vigil has not written them
_TIME_COLUMN = "_time"  # nor this
_TRANSFORM = b"vigil.transform"  # nor this


class AnsweredRows(NamedTuple):
    """What rows were answered: the request of each [n], which of them alert [n], and by whom.

    numbering [n, 2]: which row of its request each was, of how many
    """

    requests: list[str]
    alerts: Flags
    version: str
    numbering: Numbering


class CapturedRequest(NamedTuple):
    """Rows of one request with the scores [n] that they got, and the version that gave them.

    numbering [n, 2]: which row of the request each was, of how many; not all need be there;
    alerts [n]: which of them alerted; None where an older Vigil has not said so
    """

    rows: Table
    scores: Floats
    version: str
    numbering: Numbering
    alerts: Flags | None = None


class CapturedWindows:
    """The windows in a folder or below an s3:// URL, of which the latest `keep` are kept."""

    def __init__(
        self,
        where: str | Path,
        keep: int,
    ) -> None:
        self.keep = keep
        self._store = open_store(where)
        self._last_ms = 0

    def write(
        self,
        rows: Table,
        scores: Floats,
        answered: AnsweredRows,
        since: float,
        *,
        made_by: str = "",
    ) -> None:
        """Write a window whose first row was seen at `since` (Unix seconds); raises OSError.

        Times of rows are Unix seconds, NaN where one has none.
        made_by: the key of the transform that made the features of its rows, "" for none
        """
        features = dict(zip(rows.names, rows.X.T, strict=True))
        numbers, counts = answered.numbering.T
        provenance = {
            "_score": scores,
            "_request": answered.requests,
            "_version": [answered.version] * len(rows),
            "_alert": answered.alerts,
            "_row": numbers,
            "_rows": counts,
        }
        times = _times_to_keep(rows)
        name = window_name(self._distinct(since))
        window = pa.table(features | provenance | times)
        self._store.write(name, window.replace_schema_metadata({_TRANSFORM: made_by}))
        self._remove_oldest(name)

    def _remove_oldest(self, latest: str) -> None:
        """Keep so many windows, among them the one that was written last.

        A window whose time is after it was written under a clock that ran ahead: it is older.
        """
        names = self._store.names()
        ahead = [name for name in names if name > latest]
        in_order = ahead + [name for name in names if name <= latest]
        for name in in_order[: -self.keep]:
            self._store.remove(name)

    def _distinct(self, since: float) -> float:
        """`since` to the millisecond, later than any before.

        Windows of one report begin at once, and their files must differ.
        """
        self._last_ms = max(int(since * 1000), self._last_ms + 1)
        return self._last_ms / 1000

    def answers(self, requests: Iterable[str]) -> list[AnsweredRows]:
        """Return what the rows of these requests were answered, window by window."""
        wanted = pa.array(list(requests), pa.string())
        answers: list[AnsweredRows] = []
        for name in self._store.names():
            with (
                suppress(OSError, pa.ArrowInvalid, pa.ArrowKeyError),
                self._store.read(name) as file,
            ):
                answers += _read_answers(file, wanted)
        return answers


def _times_to_keep(rows: Table) -> dict[str, Array]:
    """The column of times; none where no row has one."""
    times = rows.times
    if times is None or np.isnan(times).all():
        return {}
    return {_TIME_COLUMN: times}


def _read_answers(file: IO[bytes], requests: pa.Array) -> list[AnsweredRows]:
    columns = [*_ANSWER_COLUMNS, *_NUMBERING_COLUMNS]
    window = pq.ParquetFile(file).read(columns)
    if not set(_ANSWER_COLUMNS) <= set(window.column_names):  # an older Vigil's
        return []
    is_wanted = pc.field("_request").isin(requests)
    wanted = window.filter(is_wanted)
    return [_answers_of(wanted)] if len(wanted) else []


def _answers_of(window: pa.Table) -> AnsweredRows:
    alerts = window["_alert"].to_numpy()
    return AnsweredRows(
        window["_request"].to_pylist(),
        alerts.astype(bool),
        window["_version"][0].as_py(),
        _numbering(window),
    )


def _numbering(window: pa.Table) -> Numbering:
    """The numbering of rows; counted off where a window is of an older Vigil."""
    has_numbers = set(_NUMBERING_COLUMNS) <= set(window.column_names)
    if not has_numbers or window["_row"].null_count:
        return number_rows(window["_request"].to_pylist())
    columns = [window[name].to_numpy() for name in _NUMBERING_COLUMNS]
    return np.column_stack(columns)


def read_captured(
    where: str | Path,
    since: float,
    until: float = math.inf,
    *,
    made_by: str | None = None,
) -> Table | None:
    """Return the rows captured from `since` (Unix seconds) on, in time order; None without any.

    They have times (Unix seconds) where each of them had one.
    Windows that begin at `until` or later are left out, and those of another transform than that
    of the key `made_by`. `where`: a folder or an s3:// URL. Raises DataError when they cannot be
    read.
    """
    try:
        found = _windows_between(open_store(where), where, since, until)
        windows = [_learnt_columns(window) for window in found if _is_made_by(window, made_by)]
    except OSError as error:
        raise DataError(f"the captured rows in {where} cannot be read: {error}") from error
    if not windows:
        return None
    try:
        table = _features(pa.concat_tables(map(_feature_columns, windows)))
    except pa.ArrowInvalid as error:
        raise DataError(f"the captured rows since then are not of one schema: {error}") from error
    from train.table.reader import check_values  # here: with pandas, which writing goes without

    check_values(table, File(str(where), 0, ""), allow_missing=False)
    return replace(table, times=_row_times(windows))


def _windows_between(
    store: WindowStore,
    where: str | Path,
    since: float,
    until: float,
) -> Iterator[pa.Table]:
    first_ms = int(since * 1000)
    for name in store.names():
        if not first_ms <= window_ms(name) < until * 1000:
            continue
        # The retention of the monitor may have been faster.
        with suppress(FileNotFoundError), store.read(name) as file:
            yield _read_window(file, f"{name} in {where}")


def _is_made_by(window: pa.Table, key: str | None) -> bool:
    """Whether a window is of the transform of this key, or does not say of which it is."""
    maker = _maker(window)
    return key is None or maker is None or maker.decode() == key


def _maker(window: pa.Table) -> bytes | None:
    return (window.schema.metadata or {}).get(_TRANSFORM)


def _learnt_columns(window: pa.Table) -> pa.Table:
    """Features, and times where there are any: what else was written would fill the memory."""
    kept = filter(_is_learnt_from, window.column_names)
    return window.select(list(kept))


def _is_learnt_from(name: str) -> bool:
    return name == _TIME_COLUMN or _is_feature(name)


def _feature_columns(window: pa.Table) -> pa.Table:
    """The columns of features; what the windows say of themselves differs."""
    return window.select(_feature_names(window)).replace_schema_metadata(None)


def _row_times(windows: list[pa.Table]) -> Floats | None:
    """The times of the rows of all windows; None where one of them has none."""
    times = np.concatenate(list(map(_window_times, windows)))
    return _all_or_none(times)


def _all_or_none(times: Floats) -> Floats | None:
    return None if np.isnan(times).any() else times


def _window_times(window: pa.Table) -> Floats:
    if _TIME_COLUMN in window.column_names:
        return window[_TIME_COLUMN].to_numpy()
    return np.full(len(window), np.nan)


def _read_window(file: IO[bytes], place: str) -> pa.Table:
    try:
        return pq.ParquetFile(file).read()
    except pa.ArrowInvalid as error:
        raise DataError(f"{place} is not a readable Parquet file: {error}") from error


def read_request(where: str | Path, request: str) -> CapturedRequest | None:
    """Return the captured rows of one request; None where there are none.

    A request may lie in several windows, of which some need not be there: a data break is not
    kept. Where a client has given one id to requests of several versions, it is the latest.
    """
    parts = list(_windows_of_request(open_store(where), request))
    if not parts:
        return None
    version = _last_version(parts[-1])
    parts = [part for part in parts if _last_version(part) == version]
    window = pa.concat_tables(parts, promote_options="default")
    scores = window["_score"].to_numpy()
    return CapturedRequest(
        _features(window),
        scores,
        version,
        _numbering(window),
        _alerts(window),
    )


def _alerts(window: pa.Table) -> Flags | None:
    if "_alert" not in window.column_names or window["_alert"].null_count:
        return None
    return window["_alert"].to_numpy().astype(bool)


def _windows_of_request(store: WindowStore, request: str) -> Iterator[pa.Table]:
    is_of_request = pc.field("_request") == request
    for name in store.names():
        with suppress(FileNotFoundError, pa.ArrowInvalid), store.read(name) as file:
            whole = pq.ParquetFile(file).read()
            window = whole.filter(is_of_request)
            if len(window):
                yield window


def _last_version(window: pa.Table) -> str:
    return window["_version"][-1].as_py()


def _feature_names(window: pa.Table) -> list[str]:
    return list(filter(_is_feature, window.column_names))


def _is_feature(column: str) -> bool:
    return not column.startswith("_")


def _features(window: pa.Table) -> Table:
    names = _feature_names(window)
    columns = [window[name].to_numpy() for name in names]
    X = np.column_stack(columns).astype(np.float64)
    return Table(X, tuple(names))
