"""What stands for missing values: by policy, over chunks and entities, with a limit for a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.spec import JobSpec
from train.table.dataset import read_table
from train.table.impute import Imputation, Imputing, TableImputer, imputation_of_model, parse_impute
from train.table.schema import Columns
from train.table.table import Table, concat
from vigil.arrays import Floats
from vigil.errors import DataError

NAMES = ("cpu", "net", "disk")
NAN = float("nan")
IMPUTATION = Imputation(NAMES, ("median", "last", "refuse"), (5.0, 7.0, 0.0), 0.5)
VALUES = st.one_of(st.just(NAN), st.floats(-9, 9))


def rows(*values: list[float]) -> Floats:
    return np.array(values, np.float64)


def test_each_policy_has_its_value() -> None:
    X = rows([NAN, NAN, 1], [2, 3, 1], [NAN, NAN, 1])
    assert IMPUTATION.fill(X).tolist() == [[5, 7, 1], [2, 3, 1], [5, 3, 1]]
    assert np.isnan(X[0, 0])  # the caller's rows are left alone


def test_the_last_value_is_that_of_the_entity() -> None:
    X = rows([0, 1, 0], [0, 2, 0], [0, NAN, 0], [0, NAN, 0], [0, NAN, 0])
    assert IMPUTATION.fill(X, ["a", "b", "a", "b", "c"])[:, 1].tolist() == [1, 2, 1, 2, 7]


@pytest.mark.parametrize(
    ("row", "flaw"),
    [
        ([NAN, 1, 1], None),
        ([1, 1, NAN], (1, 2)),
        ([NAN, NAN, 1], (1, 0)),  # two of three are more than half
    ],
)
def test_a_row_with_too_much_missing_is_refused(
    row: list[float], flaw: tuple[int, int] | None
) -> None:
    found = IMPUTATION.first_flaw(rows([1, 1, 1], row))
    assert (found and (found.row, found.column)) == flaw


@settings(max_examples=50, deadline=None)
@given(
    values=st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=30),
    entities=st.lists(st.sampled_from("ab"), min_size=30, max_size=30),
    size=st.integers(1, 30),
)
def test_chunks_of_a_table_are_filled_as_the_whole(
    values: list[tuple[float, float]], entities: list[str], size: int
) -> None:
    imputation = Imputation(("x", "y"), ("median", "last"), (1.0, 2.0), 1.0)
    own = np.array(entities[: len(values)], dtype=object)
    table = Table(np.array(values), ("x", "y"), entities=own)
    imputer = TableImputer(imputation)
    chunks = [table.take(slice(at, at + size)) for at in range(0, len(values), size)]
    filled = concat([imputer.fill(chunk) for chunk in chunks])
    whole = imputation.fill(table.X, own)
    assert filled.X.tolist() == whole.tolist()
    assert np.isfinite(whole).all()
    known = ~np.isnan(table.X)
    assert (whole[known] == table.X[known]).all()


def test_policies_are_read_by_feature() -> None:
    assert parse_impute('median,"a,b":last,net:refuse') == {
        "": "median",
        "a,b": "last",
        "net": "refuse",
    }
    for text in ("mean", "cpu:", "cpu", "median,last", "a:last,a:last"):
        with pytest.raises(ValueError, match="a policy is median, last or refuse"):
            parse_impute(text)
    assert JobSpec(data="").imputing is None
    assert JobSpec(data="", impute="last").imputing == Imputing({"": "last"}, 0.5)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    file = tmp_path / "rows.csv"
    lines = [f"{k % 7},{'' if k % 5 == 0 else k},{k}" for k in range(200)]
    file.write_text("\n".join(["cpu,net,disk", *lines]))
    return file


def test_a_table_is_learnt_from_with_its_gaps_filled(table: Path) -> None:
    with pytest.raises(DataError, match="train with a policy for missing values"):
        read_table(table)

    found = read_table(table, imputing=Imputing({"net": "median"}), chunk_values=60)

    net = found.train.X[:, 1]
    known = [k for k in range(200) if k % 5]
    assert found.imputation is not None
    assert found.imputation.policies == ("refuse", "median", "refuse")
    assert found.imputation.medians[1] == np.median(known)
    assert net[::5].tolist() == [np.median(known)] * 40
    assert "40 of 200 values of 'net' are missing: median stands for them" in found.remarks


def test_the_last_value_is_carried_over_chunks_and_into_a_transform(table: Path) -> None:
    found = read_table(table, imputing=Imputing({"": "last"}), over_time="diff:1", chunk_values=60)
    (place,) = [k for k, name in enumerate(found.train.names) if "net" in name and "diff" in name]
    step = found.train.X[:, place]
    # Missing: as the row before it; then two steps at once.
    assert step[4::5].tolist() == [0.0] * len(step[4::5])
    assert set(step[5::5].tolist()) == {2.0}


def test_what_cannot_be_imputed_is_named(table: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no feature 'gpu'"):
        read_table(table, imputing=Imputing({"gpu": "median"}))
    with pytest.raises(DataError, match="line 2, column 'net': the value is missing, as are 33%"):
        read_table(table, imputing=Imputing({"": "median"}, max_missing=0.2))
    empty = tmp_path / "empty.csv"
    empty.write_text("cpu,net\n" + "1,\n" * 20)
    with pytest.raises(DataError, match="'net' has no values at all"):
        read_table(empty, columns=Columns(), imputing=Imputing({"": "median"}))


def test_it_is_read_back_and_what_is_damaged_is_refused() -> None:
    stored = IMPUTATION.to_json()
    assert imputation_of_model({"impute": stored}, NAMES) == IMPUTATION
    assert imputation_of_model({}, NAMES) is None
    for damage in (
        {"policies": ["mean"] * 3},
        {"medians": [NAN] * 3},
        {"medians": [1.0]},
        {"max_missing": 2},
        {"names": ["a", "b", "c"]},
    ):
        with pytest.raises((ValueError, TypeError)):
            imputation_of_model({"impute": stored | damage}, NAMES)
