"""Where tables are, what their columns are, and what one bounded pass keeps of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from train.table.dataset import read_table
from train.table.preview import preview
from train.table.schema import Columns
from vigil.errors import DataError

ROWS = 5000


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"at": np.arange(ROWS), "a": np.arange(ROWS, dtype=float), "b": rng.normal(size=ROWS)}
    )


@pytest.fixture
def parts(tmp_path: Path, frame: pd.DataFrame) -> Path:
    """The table as a folder of Parquet files with several row groups."""
    folder = tmp_path / "parts"
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    for i in range(5):
        frame[1000 * i : 1000 * (i + 1)].to_parquet(
            folder / f"part-{i}.parquet", row_group_size=300, index=False
        )
    return folder


TIME = Columns(time="at")
# Splits of 600 rows, in chunks of 1000 rows at most.
read_in_parts = partial(read_table, columns=TIME, split_rows=600, chunk_values=1)


@pytest.mark.parametrize("where", ["", "/*.parquet", "/part-[0-4].parquet"])
def test_folders_and_globs_are_one_table(parts: Path, frame: pd.DataFrame, where: str) -> None:
    found = read_in_parts(f"{parts}{where}")
    np.testing.assert_array_equal(found.train.X, frame[["a", "b"]])
    assert found.recent is not None
    np.testing.assert_array_equal(found.recent.X, found.train.X)
    assert (
        found.fingerprint.rows,
        len(found.fingerprint.files),
        set(found.fingerprint.columns),
    ) == (ROWS, 5, {"a", "b"})


def test_a_sample_is_random_bounded_in_order_and_repeats(parts: Path) -> None:
    found = read_in_parts(parts, max_rows=400, seed=1)
    order = found.train.X[:, 0]
    assert len(found.train) == 400
    assert (np.diff(order) > 0).all()
    # Each fifth of the table has a fifth of the sample: a hypergeometric count is within 5 sd of
    # its mean.
    assert (np.abs(np.histogram(order, 5, (0, ROWS))[0] - 80) < 40).all()
    assert found.recent is not None
    np.testing.assert_array_equal(found.recent.X[:, 0], np.arange(ROWS - 400, ROWS))
    again, other = (read_in_parts(parts, max_rows=400, seed=seed) for seed in (1, 2))
    np.testing.assert_array_equal(again.train.X, found.train.X)
    assert set(other.train.X[:, 0]) != set(order)
    assert again.fingerprint == found.fingerprint == other.fingerprint


def test_the_fingerprint_sees_every_value(parts: Path, frame: pd.DataFrame) -> None:
    before = read_table(parts, columns=TIME, max_rows=1000).fingerprint
    frame.loc[1234, "b"] += 1e-9
    frame[1000:2000].to_parquet(parts / "part-1.parquet", row_group_size=300, index=False)
    after = read_table(parts, columns=TIME, max_rows=1000).fingerprint
    assert before.digest != after.digest
    assert [name for name in "ab" if before.columns[name] != after.columns[name]] == ["b"]


def test_rows_over_time_come_from_whole_histories_of_one_entity(tmp_path: Path) -> None:
    rows = pd.DataFrame(
        {"at": [0, 0, 1, 1, 2, 2], "host": list("xyxyxy"), "a": [1.0, 100, 2, 300, 4, 900]}
    )
    rows.to_csv(tmp_path / "t.csv", index=False)
    table = read_table(
        tmp_path / "t.csv", columns=Columns(time="at", entity="host"), over_time="diff:1"
    ).train
    assert table.names == ("a", "a:diff1")
    np.testing.assert_array_equal(table.X, [[2, 1], [300, 200], [4, 2], [900, 600]])
    with pytest.raises(
        DataError, match="none of its 6 rows has as many before it as the transform 'mean:4'"
    ):
        read_table(
            tmp_path / "t.csv", columns=Columns(time="at", entity="host"), over_time="mean:4"
        )


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        (
            "at,a\n1,5\n\n2,6\n2,7\n",
            Columns(time="at"),
            r"line 5 has the time of the row before it",
        ),
        (
            "at,a\n2026-01-02,5\n2026-01-01,6\n",
            Columns(time="at"),
            r"line 3 is earlier than the row before it: sort",
        ),
        (
            "at,h,a\n1,x,5\n1,y,5\n1,x,6\n",
            Columns(time="at", entity="h"),
            r"line 4 has the time of the row of 'x' before",
        ),
        (
            "at,a\n2026-01-01,5\nsoon,6\n",
            Columns(time="at"),
            r"line 3, column 'at': 'soon' is not a time",
        ),
        ("a,b\n1,2\n\n\n3,x\n", Columns(), r"line 5, column 'b': 'x' is not a number; others are"),
        ('a,b\n1,2\n"3\n",x\n', Columns(), r"line 4, column"),
        (
            "a,kind\n1,red\n2,blue\n",
            Columns(),
            r"column 'kind': 'red' is not a number; a forest learns from numbers",
        ),
        (
            "a,label\n1,0\n2,1\n",
            Columns(label="label", features=("a", "label")),
            r"is the label and among the features",
        ),
        ("a,copy,label\n1,0,0\n2,5,1\n3,0,0\n9,5,1\n", Columns(), r"'copy' tells the label"),
        ("a,b\n1,2\n", Columns(features=("a", "c")), r"no column 'c'; it has a, b"),
        ("a,b\n1,2\n", Columns(time="a", entity="a"), r"'a' has two parts"),
        ("at,a\n0001-01-01,5\n", Columns(time="at"), r"column 'at' has a time before 1678"),
        (
            "at,h,a\n1,x,5\n2,,5\n",
            Columns(time="at", entity="h"),
            r"line 3, column 'h' is empty: whose row is it",
        ),
        (
            f"at,h,a\n1,x,5\n2,{'y' * 201},5\n",
            Columns(time="at", entity="h"),
            r"line 3, column 'h': 'yyy.* is not a name of 1 to 200 characters",
        ),
    ],
)
def test_what_cannot_be_learnt_from_is_refused(
    tmp_path: Path, text: str, columns: Columns, said: str
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / "t.csv", columns=columns)


def test_files_whose_times_overlap_or_whose_columns_differ_are_refused(
    parts: Path, frame: pd.DataFrame
) -> None:
    frame[900:1000].to_parquet(parts / "part-5.parquet", index=False)
    with pytest.raises(DataError, match=r"part-5\.parquet, row 1 is earlier"):
        read_table(parts, columns=TIME)
    frame[900:1000].set_axis(["at", "a", "c"], axis=1).to_parquet(
        parts / "part-5.parquet", index=False
    )
    with pytest.raises(DataError, match=r"part-5\.parquet has not the columns .* differ in b, c"):
        read_table(parts)
    (parts / "more.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match=r"files of the kinds \.csv, \.parquet"):
        read_table(parts)


def test_a_leak_is_seen_in_all_rows_not_in_the_sample_alone(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    label = (frame["a"] % 2500 == 7).astype(int)  # 2 of the 5000 rows
    leaking = frame.assign(copy=3 - 5 * label, label=label)
    leaking.to_parquet(tmp_path / "t.parquet", index=False)
    with pytest.raises(DataError, match=r"column 'copy' tells the label"):
        read_table(tmp_path / "t.parquet", max_rows=1000)
    leaking.loc[4000, "copy"] = 2
    leaking.to_parquet(tmp_path / "t.parquet", index=False)
    assert "copy" in read_table(tmp_path / "t.parquet", max_rows=1000).train.names


def test_parts_without_rows_and_files_that_links_show_twice_change_nothing(
    parts: Path, frame: pd.DataFrame
) -> None:
    for name in ("part-", "part-1b"):
        frame[:0].to_parquet(parts / f"{name}.parquet", index=False)
    preview(parts, TIME)
    (parts / "again").symlink_to(parts)  # a circle
    (parts / "part-9.parquet").symlink_to(parts / "part-0.parquet")
    for where in (parts, f"{parts}/**/*.parquet"):
        np.testing.assert_array_equal(read_table(where, columns=TIME).train.X, frame[["a", "b"]])


def test_whole_numbers_of_nanoseconds_are_not_rounded(tmp_path: Path) -> None:
    pd.DataFrame({"at": 1_790_000_000_000_000_000 + np.arange(3), "a": [1.0, 2, 3]}).to_parquet(
        tmp_path / "t.parquet"
    )
    assert len(read_table(tmp_path / "t.parquet", columns=TIME).train) == 3


def test_a_schema_is_inferred_once_and_enforced_afterwards(
    tmp_path: Path, frame: pd.DataFrame
) -> None:
    file, schema = tmp_path / "t.csv", str(tmp_path / "schema.json")
    frame.to_csv(file, index=False)
    first = read_table(file, columns=Columns(time="at", schema=schema)).train
    assert json.loads(Path(schema).read_text()) == {
        "features": ["a", "b"],
        "label": None,
        "time": "at",
        "entity": None,
    }
    frame[["b", "at", "a"]].to_csv(file, index=False)
    again = read_table(file, columns=Columns(schema=schema)).train
    assert again.names == first.names
    np.testing.assert_array_equal(again.X, first.X)
    frame.assign(new=1.0).drop(columns="b").to_csv(file, index=False)
    with pytest.raises(DataError, match=r"it lacks b and has new beside it"):
        read_table(file, columns=Columns(schema=schema))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "cannot be read"),
        ('{"features": "ab"}', "list of names"),
        (None, "cannot be written"),
    ],
)
def test_a_schema_file_that_is_none_is_refused(tmp_path: Path, text: str | None, said: str) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    schema = tmp_path / "schema.json" if text is not None else tmp_path / "t.csv" / "schema.json"
    if text is not None:
        schema.write_text(text)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / "t.csv", columns=Columns(schema=str(schema)))


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """A boto3 client of moto's server, which pyarrow reads from over HTTP too."""
    import boto3
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name, value in {
            "ACCESS_KEY_ID": "test",
            "SECRET_ACCESS_KEY": "test",
            "DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(f"AWS_{name}", value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="tables")
        yield client
    server.stop()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_tables_in_s3(s3: Any, parts: Path, frame: pd.DataFrame) -> None:
    for file in parts.iterdir():
        s3.upload_file(str(file), "tables", f"june/{file.name}")
    sound = (parts / "part-1.parquet").read_bytes()
    for key, body in {
        "t.csv": b"a,b\n1,2\n\n3,x\n",
        "bad/one.parquet": b"junk",
        "torn/part-0.parquet": (parts / "part-0.parquet").read_bytes(),
        "torn/part-1.parquet": sound[:4] + b"\xff" * 400 + sound[404:],
        "odd/what? #1.csv": b"a,b\n1,2\n",
    }.items():
        s3.put_object(Bucket="tables", Key=key, Body=body)
    local = read_table(parts, columns=TIME)
    for where in ("june", "june/", "june/part-*.parquet", "june/part-?.parquet"):
        found = read_table(f"s3://tables/{where}", columns=TIME)
        np.testing.assert_array_equal(found.train.X, frame[["a", "b"]])
        assert found.fingerprint.digest == local.fingerprint.digest
        assert all(len(file.etag) == 32 for file in found.fingerprint.files)
    assert len(read_table("s3://tables/odd").train) == 1
    for where, said in {
        "s3://tables/t.csv": r"s3://tables/t.csv, line 4, column 'b': 'x' is not a number",
        "s3://tables/bad": r"s3://tables/bad/one.parquet is not a readable Parquet",
        "s3://tables/torn": r"s3://tables/torn/part-1.parquet is not a readable Parquet",
        "s3://tables/none": r"no such data file: s3://tables/none",
        "s3://nowhere/t.csv": r"there is no bucket 'nowhere'",
        "s3:///t.csv": r"names no bucket",
    }.items():
        with pytest.raises(DataError, match=said):
            read_table(where)


@pytest.fixture
def enforced(s3: Any) -> Iterator[None]:
    """From here on moto asks what a caller may do."""
    import requests

    endpoint = os.environ["AWS_ENDPOINT_URL"]
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"0", timeout=10)
    yield
    requests.post(f"{endpoint}/moto-api/reset-auth", data=b"inf", timeout=10)


@pytest.fixture
def lister(s3: Any) -> dict[str, str]:
    """The environment of a user who may list the bucket, and read nothing in it."""
    import boto3

    s3.put_object(Bucket="tables", Key="closed/t.parquet", Body=b"junk")
    iam = boto3.Session().client("iam")
    iam.create_user(UserName="lister")
    statement = {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": "*"}
    iam.put_user_policy(
        UserName="lister",
        PolicyName="list",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    key = iam.create_access_key(UserName="lister")["AccessKey"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
    }


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_who_may_list_and_not_read_is_told_which_object(
    lister: dict[str, str], enforced: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"access to the bucket 'tables' is denied"):
        read_table("s3://tables/t.csv")
    for name, value in lister.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(
        DataError,
        match=r"s3://tables/closed/t\.parquet cannot be read: access is denied .*s3:GetObject",
    ):
        read_table("s3://tables/closed")


@pytest.mark.usefixtures("s3")
def test_no_credentials_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(DataError, match=r"s3://tables/t\.csv cannot be listed: .*credentials"):
        read_table("s3://tables/t.csv")


def test_an_archived_object_is_named(s3: Any) -> None:
    s3.put_object(Bucket="tables", Key="cold.csv", Body=b"a\n1\n", StorageClass="GLACIER")
    with pytest.raises(DataError, match=r"s3://tables/cold\.csv cannot be read"):
        read_table("s3://tables/cold.csv")
