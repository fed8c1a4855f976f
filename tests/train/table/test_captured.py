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

from drift.capture import Captured
from drift.window import Window
from serve.metrics import DriftMetrics
from train.table.captured import (
    Windows,
    read_captured,
    read_request,
    window_ms,
    window_name,
    windows,
)
from vigil.errors import DataError

TABLE = pa.table({"a": [1.0, 2.0], "_request": ["r", "s"]})
URL = "s3://captured/prod/rows"


@pytest.fixture(params=["folder", "s3"])
def where(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "captured")
        return
    for name, value in (
        ("ACCESS_KEY_ID", "testing"),
        ("SECRET_ACCESS_KEY", "testing"),
        ("DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="captured")
        boto3.client("s3").put_object(
            Bucket="captured", Key="prod/rows/date=x/notes.txt", Body=b"no window"
        )
        yield URL


@pytest.fixture
def kept(where: str) -> Windows:
    return windows(where)


def test_what_is_written_is_read_in_the_order_of_its_time_and_removed(kept: Windows) -> None:
    assert kept.names() == []
    stamps = [86_400.5, 3.25, 86_400.0]
    for stamp in stamps:
        kept.write(window_name(stamp), TABLE)
    names = kept.names()
    assert names == [window_name(stamp) for stamp in sorted(stamps)]
    assert [window_ms(name) for name in names] == [3250, 86_400_000, 86_400_500]
    with kept.read(names[0]) as file:
        assert pq.ParquetFile(file).read() == TABLE
    kept.remove(names[0])
    kept.remove(names[0])
    assert kept.names() == names[1:]
    with pytest.raises(FileNotFoundError):
        kept.read(names[0])


def test_the_monitor_keeps_the_latest_and_training_reads_them(where: str) -> None:
    metrics = DriftMetrics()
    captured = Captured(where, 2, metrics)
    for since in (10.0, 20.0, 30.0):
        rows, requests = np.full((3, 2), since), [f"{since:.0f}-{place}" for place in range(3)]
        captured.write(
            Window(rows, np.full(3, 0.5), requests, since),
            ("a", "b"),
            "7",
            np.array([True, False, False]),
        )
    table = read_captured(where, 0)
    assert table is not None
    assert sorted(set(table.X[:, 0])) == [20.0, 30.0]
    ((requests, alerts, version),) = captured.answers(["20-0", "nobody"])
    assert (requests, alerts.tolist(), version) == (["20-0"], [True], "7")
    found = read_request(where, "30-1")
    assert found is not None
    assert (found[0].X.tolist(), found[2]) == ([[30.0, 30.0]], "7")


def test_a_bucket_that_is_not_there_costs_the_window_and_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (
        ("ACCESS_KEY_ID", "testing"),
        ("SECRET_ACCESS_KEY", "testing"),
        ("DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(f"AWS_{name}", value)
    metrics = DriftMetrics()
    with mock_aws():
        window = Window(np.ones((1, 1)), np.ones(1), ["r"], 1.0)
        Captured(URL, 2, metrics).write(window, ("a",), "7", np.array([False]))
        with pytest.raises(
            DataError, match="the captured rows in s3://captured/prod/rows cannot be read"
        ):
            read_captured(URL, 0)
    assert metrics.registry.get_sample_value("vigil_capture_write_failures_total") == 1
