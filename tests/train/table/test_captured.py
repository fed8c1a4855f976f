"""Captured windows: in a folder, and in S3 (moto)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto import mock_aws

from train.table.captured import (
    AnsweredRows,
    CapturedWindows,
    read_captured,
    read_request,
)
from train.table.numbering import missing_rows, number_rows
from train.table.table import Table
from train.table.window_store import WindowStore, open_store, window_ms, window_name
from vigil.errors import DataError

TABLE = pa.table({"a": [1.0, 2.0], "_request": ["r", "s"]})
URL = "s3://captured/prod/rows"


def use_test_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.fixture(params=["folder", "s3"])
def where(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "captured")
        return
    use_test_credentials(monkeypatch)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="captured")
        boto3.client("s3").put_object(
            Bucket="captured", Key="prod/rows/date=x/notes.txt", Body=b"no window"
        )
        yield URL


@pytest.fixture
def store(where: str) -> WindowStore:
    return open_store(where)


def test_what_is_written_is_read_in_the_order_of_its_time_and_removed(store: WindowStore) -> None:
    assert store.names() == []
    times = [86_400.5, 3.25, 86_400.0]
    for time in times:
        store.write(window_name(time), TABLE)
    names = store.names()
    assert names == [window_name(time) for time in sorted(times)]
    assert [window_ms(name) for name in names] == [3250, 86_400_000, 86_400_500]
    with store.read(names[0]) as file:
        assert pq.ParquetFile(file).read() == TABLE
    store.remove(names[0])
    store.remove(names[0])
    assert store.names() == names[1:]
    with pytest.raises(FileNotFoundError):
        store.read(names[0])


def write_window(captured: CapturedWindows, since: float, version: str = "7") -> None:
    """Three rows of the value `since`, each of a request of its own; the first one alerts."""
    rows = Table(np.full((3, 2), since), ("a", "b"))
    requests = [f"{since:.0f}-{place}" for place in range(3)]
    alerts = np.array([True, False, False])
    answered = AnsweredRows(requests, alerts, version, number_rows(requests))
    captured.write(rows, np.full(3, 0.5), answered, since)


@pytest.fixture
def captured(where: str) -> CapturedWindows:
    """Three windows, of which two are kept."""
    captured = CapturedWindows(where, 2)
    for since in (10.0, 20.0, 30.0):
        write_window(captured, since)
    return captured


def test_the_latest_windows_are_kept_and_training_reads_them(
    captured: CapturedWindows, where: str
) -> None:
    table = read_captured(where, 0)
    assert table is not None
    assert table.names == ("a", "b")
    assert sorted(set(table.X[:, 0])) == [20.0, 30.0]


@pytest.mark.parametrize(
    ("times", "read"),
    [
        ([[3.5, 1.25], [7.0, 8.0]], [3.5, 1.25, 7.0, 8.0]),
        ([[3.5, 1.25], None], None),
        ([[3.5, np.nan], [7.0, 8.0]], None),
        ([[np.nan, np.nan], [np.nan, np.nan]], None),
        ([None, None], None),
    ],
)
def test_times_are_kept_and_known_where_every_row_has_one(
    where: str, times: list[list[float] | None], read: list[float] | None
) -> None:
    """A window without times is that of an older release, too."""
    captured = CapturedWindows(where, 9)
    requests = ["r", "s"]
    answered = AnsweredRows(requests, np.zeros(2, bool), "7", number_rows(requests))
    for since, of_rows in enumerate(times, 1):
        known = None if of_rows is None else np.array(of_rows)
        rows = Table(np.full((2, 1), float(since)), ("a",), times=known)
        captured.write(rows, np.full(2, 0.5), answered, float(since))
    table = read_captured(where, 0)
    assert table is not None
    assert table.names == ("a",)
    assert table.X.ravel().tolist() == [1.0, 1.0, 2.0, 2.0]
    assert (None if table.times is None else table.times.tolist()) == read
    scored = read_request(where, "s")
    assert scored is not None
    assert scored.rows.X.tolist() == [[1.0], [2.0]]
    assert len(captured.answers(["r"])) == 2


def test_what_requests_were_answered_is_found(captured: CapturedWindows) -> None:
    (answered,) = captured.answers(["20-0", "nobody"])
    assert (answered.requests, answered.version) == (["20-0"], "7")
    assert answered.alerts.tolist() == [True]


def test_the_rows_of_a_request_are_read_with_their_scores(
    captured: CapturedWindows, where: str
) -> None:
    scored = read_request(where, "30-1")
    assert scored is not None
    assert scored.rows.X.tolist() == [[30.0, 30.0]]
    assert (scored.scores.tolist(), scored.version) == ([0.5], "7")
    assert read_request(where, "nobody") is None


def write_rows(captured: CapturedWindows, numbers: list[int], rows: int) -> None:
    """A window with these rows of the request `r`, which had so many; each has its number."""
    numbering = np.array([(number, rows) for number in numbers])
    table = Table(numbering[:, :1].astype(float), ("a",))
    answered = AnsweredRows(["r"] * len(numbers), np.zeros(len(numbers), bool), "7", numbering)
    captured.write(table, numbering[:, 0] / 1000, answered, 10.0)


def test_rows_of_a_request_keep_their_numbers_where_a_window_is_missing(where: str) -> None:
    captured = CapturedWindows(where, 9)
    write_rows(captured, [2, 3], rows=9)
    write_rows(captured, [6, 7], rows=9)
    scored = read_request(where, "r")
    assert scored is not None
    assert scored.numbering[:, 0].tolist() == scored.rows.X[:, 0].tolist() == [2, 3, 6, 7]
    assert scored.alerts is not None
    assert not scored.alerts.any()
    assert list(missing_rows(scored.numbering)) == [(0, 1), (4, 5), (8, 8)]
    (former, latter) = captured.answers(["r"])
    assert former.numbering.tolist() == [[2, 9], [3, 9]]
    assert latter.numbering.tolist() == [[6, 9], [7, 9]]


def test_windows_of_an_older_release_are_numbered_in_sequence(where: str) -> None:
    old = {"a": [0.0, 1.0, 2.0], "_score": [0.5] * 3, "_request": ["r"] * 3, "_version": ["7"] * 3}
    store = open_store(where)
    store.write(window_name(1.0), pa.table(old))
    store.write(window_name(2.0), pa.table(old | {"_alert": [1, 0, 0]}))
    scored = read_request(where, "r")
    assert scored is not None
    assert scored.numbering[:, 0].tolist() == list(range(6))
    assert scored.alerts is None
    assert list(missing_rows(scored.numbering)) == []


def test_of_an_id_that_was_used_twice_the_latest_version_counts(where: str) -> None:
    captured = CapturedWindows(where, 9)
    write_window(captured, 10.0, version="7")
    write_window(captured, 10.0, version="8")
    scored = read_request(where, "10-0")
    assert scored is not None
    assert (len(scored.rows), scored.version) == (1, "8")


def test_a_clock_that_was_ahead_costs_no_window_that_is_written_later(where: str) -> None:
    for since in (9e9, 9e9 + 60):
        write_window(CapturedWindows(where, 2), since)
    captured = CapturedWindows(where, 2)
    for since in (10.0, 20.0):
        write_window(captured, since)
    table = read_captured(where, 0)
    assert table is not None
    assert sorted(set(table.X[:, 0])) == [10.0, 20.0]


def test_windows_that_begin_at_once_are_two_files(where: str) -> None:
    captured = CapturedWindows(where, 9)
    write_window(captured, 10.0)
    write_window(captured, 10.0)
    table = read_captured(where, 0)
    assert table is not None
    assert len(table) == 6


def test_a_bucket_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    use_test_credentials(monkeypatch)
    with mock_aws():
        with pytest.raises(OSError, match=r"s3://captured/prod/rows/: .*NoSuchBucket"):
            write_window(CapturedWindows(URL, 2), 1.0)
        with pytest.raises(
            DataError, match="the captured rows in s3://captured/prod/rows cannot be read"
        ):
            read_captured(URL, 0)
