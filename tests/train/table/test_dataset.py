"""Tables that are read, and what is refused and how the refusal is located; splits."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from train.table import captured as live_rows
from train.table.dataset import read_table, split_holdout
from train.table.schema import Columns
from train.table.table import Table
from vigil.errors import DataError

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.5]])
Y = np.array([0, 1, 0])


def csv(folder: Path, text: str) -> Path:
    file = folder / "rows.csv"
    file.write_text(text)
    return file


def npz(folder: Path, **arrays: Any) -> Path:
    file = folder / "rows.npz"
    np.savez(file, **arrays)
    return file


def parquet(folder: Path, frame: pd.DataFrame) -> Path:
    file = folder / "rows.parquet"
    frame.to_parquet(file)
    return file


def frame(label: str) -> pd.DataFrame:
    return pd.DataFrame({"a": X[:, 0], label: Y, "b": X[:, 1]})


@pytest.mark.parametrize("label", ["label", "y", "Is Anomaly", "broken"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tabular_files_give_rows_names_and_labels(tmp_path: Path, kind: str, label: str) -> None:
    rows = frame(label)
    file = parquet(tmp_path, rows) if kind == "parquet" else csv(tmp_path, rows.to_csv(index=False))
    table = read_table(file, columns=Columns(label="broken" if label == "broken" else None)).train
    assert (table.names, table.ordered, len(table)) == (("a", "b"), True, 3)
    np.testing.assert_array_equal(table.X, X)
    np.testing.assert_array_equal(table.labels, Y)


def test_a_table_without_label_column_has_no_labels(tmp_path: Path) -> None:
    assert read_table(csv(tmp_path, "a,b\n1,2\n")).train.labels is None


def test_npz_of_train_and_test_rows(tmp_path: Path) -> None:
    read = read_table(npz(tmp_path, train=X, test=X[::-1], label=Y, names=["a", "b"]))
    assert (read.train.names, read.train.labels, read.train.ordered) == (("a", "b"), None, True)
    assert read.test is not None
    np.testing.assert_array_equal(read.test.X, X[::-1])
    np.testing.assert_array_equal(read.test.labels, Y)


@pytest.mark.parametrize(("array", "label"), [("y", None), ("label", None), ("broken", "broken")])
def test_npz_of_one_unordered_table(tmp_path: Path, array: str, label: str | None) -> None:
    table = read_table(
        npz(tmp_path, X=X.astype(np.float32), **{array: Y}), columns=Columns(label=label)
    ).train
    assert (table.names, table.ordered, table.X.dtype) == (("f0", "f1"), False, np.float64)
    np.testing.assert_array_equal(table.labels, Y)


@pytest.mark.parametrize(
    ("text", "said", "field", "row"),
    [
        ("a,b\n1,2\n3,4,5\n", "line 3", None, None),
        ("a,b\n1,2\n3,x\n", "line 3, column 'b': 'x' is not a number", "b", 1),
        ("a,b\n1,2\n3,\n", "line 3, column 'b': the value is missing; fill", "b", 1),
        ("a,b\n-inf,2\n3,4\n", "line 2, column 'a': -inf", "a", 0),
        ("a,b\n1,2\n1e39,4\n", "line 3, column 'a': 1e.39 is not a finite float32", "a", 1),
        ("a,b\n", "0 rows and 2 feature columns", None, None),
        ("label\n1\n", "1 rows and 0 feature columns", None, None),
        ("a,label\n1,0\n2,2\n", "line 3, column 'label': labels must be 0 .* 2;", "label", 1),
        ("a,label\n1,0\n2,bad\n", "labels must be 0 .* found 'bad'", "label", 1),
        ("a,_b\n1,2\n", "reserved", None, None),
        ("\n\n", "No columns", None, None),
        ('a,b\n1,"2\n', "EOF inside string", None, None),
        (",a\n1.5,2\n", "column 1 has no name, and does not number", "Unnamed: 0", None),
        (
            "0.5,2\n3,4\n",
            r"line 1 holds numbers \(0.5, 2, ..\): it must name the columns",
            None,
            None,
        ),
        (f"a,b\n1,2\n{'9' * 400},4\n", "line 3, column 'a': inf is not a finite", "a", 1),
        (
            f"a,b\n1,2\n{'x' * 200_000},4\n",
            r"line 3, column 'a': 'x{40,60}\.\.\.x{40,60}' is not",
            "a",
            1,
        ),
    ],
)
def test_a_bad_csv_is_refused_and_located(
    tmp_path: Path, text: str, said: str, field: str | None, row: int | None
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_table(csv(tmp_path, text))
    assert (caught.value.field, caught.value.row) == (field, row)


@pytest.mark.parametrize("header", ["a,label,b", '"a","label","b"'])
def test_the_mark_that_spreadsheets_put_before_text_is_no_part_of_a_name(
    tmp_path: Path, header: str
) -> None:
    (tmp_path / "rows.csv").write_bytes(f"\ufeff{header}\n1,0,2\n3,1,4\n5,0,6.5\n".encode())
    table = read_table(tmp_path / "rows.csv").train
    assert table.names == ("a", "b")
    np.testing.assert_array_equal(table.X, X)


def test_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes(b"a,\xff\n1,2\n")
    with pytest.raises(DataError, match="utf-8"):
        read_table(tmp_path / "rows.csv")


INDEXED = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]}, index=pd.Index([10, 20, 30], name="at"))


@pytest.mark.parametrize("index", ["named", "text", "none"])
def test_what_pandas_would_make_an_index_is_a_column(tmp_path: Path, index: str) -> None:
    rows = {
        "named": INDEXED,
        "text": INDEXED.set_axis(list("xyz")),
        "none": INDEXED.reset_index(drop=True),
    }[index]
    table = read_table(
        parquet(tmp_path, rows), columns=Columns(time="at" if index == "named" else None)
    ).train
    assert table.names == ("a", "b")
    np.testing.assert_array_equal(table.X, X)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (pa.array([2**53 + 1, 3]), 2**53),
        (pa.array([2**64 - 1, 3], pa.uint64()), 2.0**64),
        (pa.array([True, False]), 1),
        (pa.array([1.5, 2], pa.float16()), 1.5),
        (pa.array([Decimal("1.5"), Decimal(2)]), 1.5),
        (pa.array(["1.5", "2"]).dictionary_encode(), 1.5),
        (pa.array(["x", "y"]).dictionary_encode(), "row 1, column 'a': 'x' is not a number"),
        (pa.array([b"1", b"2"]), "row 1, column 'a': b'1' is not a number"),
        (pa.array([[1.0], [2.0]]), "row 1, column 'a': array.* is not a number"),
        (pa.array([{"x": 1.0}, {"x": 2.0}]), "row 1, column 'a': {'x': 1.0} is not a number"),
        (
            pa.array([date(2026, 1, 1)] * 2),
            "row 1, column 'a': datetime.date.* is not a number.*--time",
        ),
        (pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 2), "column 'a' holds times"),
        (pa.nulls(2), "row 1, column 'a': the value is missing"),
        (pa.array([True, None]), "row 2, column 'a': the value is missing"),
    ],
    ids=lambda value: str(getattr(value, "type", ""))[:20] or None,
)
def test_a_parquet_column_of_each_type_is_numbers_or_is_refused(
    tmp_path: Path, values: pa.Array, found: float | str
) -> None:
    pq.write_table(pa.table({"a": values, "b": [1.0, 2.0]}), tmp_path / "t.parquet")
    columns = Columns(features=("a", "b"))
    if isinstance(found, str):
        with pytest.raises(DataError, match=found):
            read_table(tmp_path / "t.parquet", columns=columns)
    else:
        assert read_table(tmp_path / "t.parquet", columns=columns).train.X[0, 0] == found


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": X.astype(object)}, "Object arrays cannot be loaded"),
        ({"X": X, "y": Y.astype(object)}, "Object arrays cannot be loaded"),
        ({"X": X.astype(str)}, "must be numbers"),
        ({"X": X.astype(complex)}, "must be numbers"),
        ({"X": X[0]}, "must be numbers"),
        ({"rows": X}, "has the arrays rows; it needs `train` or `X`"),
        ({}, "\\(none\\)"),
        ({"X": X, "names": ["a"]}, "1 names for 2 features"),
        ({"X": X, "names": ["a", "a"]}, "two columns have the same name"),
        ({"X": X, "y": Y[:2]}, "labels .*for 3 rows"),
        ({"X": X, "y": Y - 1}, "labels must be 0"),
        ({"train": X, "test": np.where(X == 4, np.nan, X)}, "row 2, column 'f1'"),
        ({"X": X[:0]}, "0 rows"),
    ],
)
def test_a_bad_npz_is_refused(tmp_path: Path, arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_table(npz(tmp_path, **arrays))


@pytest.mark.parametrize("name", ["rows.npz", "rows.parquet"])
@pytest.mark.parametrize("content", [b"junk", pickle.dumps([1, 2])], ids=["junk", "pickle"])
def test_a_file_that_is_not_what_its_name_says_is_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="not a readable"):
        read_table(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("gone.csv", None, "no such data file"),
        ("empty.csv", "", "is empty"),
        ("rows.xlsx", "a", "unknown kind of file '.xlsx'"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(
    tmp_path: Path, name: str, content: str | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=said):
        read_table(tmp_path / name)


def test_a_label_column_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column 'broken'; it has a, b") as caught:
        read_table(csv(tmp_path, "a,b\n1,2\n"), columns=Columns(label="broken"))
    assert caught.value.field == "broken"


def test_allow_missing_lets_nan_pass_but_not_infinity(tmp_path: Path) -> None:
    assert np.isnan(read_table(csv(tmp_path, "a,b\n1,\n3,4\n"), allow_missing=True).train.X[0, 1])
    with pytest.raises(DataError, match="inf"):
        read_table(csv(tmp_path, "a,b\n1,\ninf,4\n"), allow_missing=True)


def test_constant_columns_are_reported() -> None:
    assert Table(np.array([[1.0, 7.0, 0.0], [2.0, 7.0, 0.0]]), ("a", "b", "c")).constant == (
        "b",
        "c",
    )


@pytest.mark.parametrize(
    "other",
    [Table(X * (1 + 1e-12), ("a", "b")), Table(X, ("a", "c")), Table(X.reshape(2, 3), ("a", "b"))],
    ids=["value", "name", "shape"],
)
def test_the_fingerprint_tells_tables_apart(other: Table) -> None:
    table = Table(X, ("a", "b"))
    assert (
        table.fingerprint
        == Table(X.copy(order="F"), ("a", "b"), Y).fingerprint
        != other.fingerprint
    )


@pytest.fixture
def captured(tmp_path: Path) -> Callable[[float, pd.DataFrame], None]:
    def write(stamp: float, rows: pd.DataFrame) -> None:
        folder = tmp_path / f"date=day-{stamp % 3:.0f}"
        folder.mkdir(exist_ok=True)
        rows.to_parquet(folder / Path(live_rows.window_name(stamp)).name)

    return write


def test_captured_rows_come_in_time_order_from_since_on(
    tmp_path: Path, captured: Callable[..., None]
) -> None:
    for stamp in (900.0, 1000.0, 2000.0, 11000.0):
        captured(
            stamp, pd.DataFrame({"_time": [stamp, stamp], "a": [stamp, stamp + 1], "b": [0.0, 1.0]})
        )
    table = live_rows.read_captured(tmp_path, 1000.0)
    assert table is not None
    assert (table.names, table.ordered) == (("a", "b"), True)
    np.testing.assert_array_equal(table.X[:, 0], [1000, 1001, 2000, 2001, 11000, 11001])
    assert live_rows.read_captured(tmp_path, 11000.5) is None


def test_captured_rows_that_cannot_be_read_are_refused(
    tmp_path: Path, captured: Callable[..., None]
) -> None:
    captured(1.0, pd.DataFrame({"a": [1.0]}))
    captured(2.0, pd.DataFrame({"b": [1.0]}))
    with pytest.raises(DataError, match="one schema"):
        live_rows.read_captured(tmp_path, 0)


@pytest.mark.parametrize(("rows", "holdout", "held"), [(10, 0.2, 2), (10, 0.05, 1), (3, 0.5, 2)])
@pytest.mark.parametrize("ordered", [True, False])
def test_split_holds_out_the_latest_rows_or_random_ones(
    rows: int, holdout: float, held: int, ordered: bool
) -> None:
    table = Table(np.arange(rows, dtype=float)[:, None], ("a",), np.arange(rows) % 2, ordered)
    fit, held_out = split_holdout(table, holdout, seed=1)
    assert (len(fit), len(held_out)) == (rows - held, held)
    both = np.concatenate([fit.X, held_out.X])[:, 0]
    np.testing.assert_array_equal(np.sort(both), np.arange(rows))
    np.testing.assert_array_equal(held_out.labels, held_out.X[:, 0] % 2)
    assert not ordered or (both == np.arange(rows)).all()
    np.testing.assert_array_equal(fit.X, split_holdout(table, holdout, seed=1)[0].X)


def test_a_random_split_is_not_the_order_of_the_file() -> None:
    table = Table(np.arange(100.0)[:, None], ("a",), ordered=False)
    first, second = (split_holdout(table, 0.2, seed)[1].X[:, 0].tolist() for seed in (1, 2))
    assert sorted(first) != sorted(second)
    assert sorted(first) != list(range(80, 100))


def test_a_window_is_not_before_itself(tmp_path: Path, captured: Callable[..., None]) -> None:
    captured(1636961687.3214543, pd.DataFrame({"a": [1.0]}))
    assert live_rows.read_captured(tmp_path, 1636961687.3214543) is not None


def test_captured_rows_with_nan_are_refused(tmp_path: Path, captured: Callable[..., None]) -> None:
    captured(1.0, pd.DataFrame({"a": [float("nan")]}))
    with pytest.raises(DataError, match="the value is missing"):
        live_rows.read_captured(tmp_path, 0.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,label\n1,0.5\n2,1\n", "labels must be 0"),
        ("a,label\n1,\n2,1\n", "labels must be 0"),
        ("a,b\n1,2,3\n4,5,6\n", "line 2 has 3 values, the header has 2, with a comma"),
        ("a,a\n1,2\n", "same name"),
    ],
)
def test_csv_that_would_be_misread_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=told):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("arrays", "label", "told"),
    [
        ({"X": np.ones((2, 1)), "y": np.zeros((2, 1))}, None, r"must be \[rows\]"),
        ({"X": np.ones((2, 1))}, "typo", "no array 'typo'"),
        ({"train": np.ones((2, 1)), "test": np.ones((2, 2))}, None, "`test` has 2"),
    ],
)
def test_npz_whose_parts_do_not_fit_is_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], label: str | None, told: str
) -> None:
    np.savez(tmp_path / "t.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DataError, match=told):
        read_table(tmp_path / "t.npz", columns=Columns(label=label))
