"""Which columns are labels, times and row numbers: told in words, and never in silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.table.dataset import Dataset, read_table
from train.table.preview import preview
from train.table.role_signs import LABEL_NAMES
from train.table.roles import recognise_roles
from train.table.schema import Columns
from vigil.errors import DataError

N = 40
RNG = np.random.default_rng(3)
CPU = RNG.normal(50, 9, N).round(3)
MARKS = (np.arange(N) % 9 == 4).astype(int)
DAYS = pd.date_range("2026-01-01", periods=N, freq="5min")


def table(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"cpu": CPU, **columns})


def recognise(frame: pd.DataFrame, **told: object) -> tuple[dict[str, object], str]:
    """The roles that were recognised, and what was said."""
    roles = recognise_roles(frame, Columns(**told), "/tables/t.csv")  # type: ignore[arg-type]
    columns = roles.columns
    found = {"label": columns.label, "time": columns.time, "left out": columns.ignore}
    return {role: name for role, name in found.items() if name}, "\n".join(roles.remarks)


@pytest.mark.parametrize(
    "name", ["Label", "is_anomaly", "anomaly", "Class", "Is Attack", "attack", "outlier", "target"]
)
@pytest.mark.parametrize("marks", [MARKS, MARKS.astype(bool)], ids=["0 and 1", "truth values"])
def test_labels_by_their_usual_names(name: str, marks: np.ndarray) -> None:
    found, said = recognise(table(**{name: marks}))
    assert found == {"label": name}
    assert f"t.csv: {name!r} is taken for the label (1 = anomaly)" in said
    assert "--label" in said


@pytest.mark.parametrize("name", ["y", "anomaly", "target"])
def test_measurements_under_the_name_of_a_label_are_learnt_with_a_warning(name: str) -> None:
    found, said = recognise(table(**{name: CPU / 7}))
    assert found == {}
    assert f"warning: t.csv: feature {name!r} is named as labels are" in said
    assert f"--ignore '{name}'" in said
    assert recognise(table(**{name: MARKS}), features=("cpu", name)) == ({}, "")


def test_of_several_labels_one_is_it_and_the_others_are_no_features() -> None:
    found, said = recognise(table(attack=MARKS, label=1 - MARKS, attack_rate=CPU / 3))
    assert found == {"label": "label", "left out": ("attack",)}
    assert "'attack' is left out (labels)" in said
    assert "feature 'attack_rate' is named as labels are" in said


@pytest.mark.parametrize(
    "times",
    [DAYS, DAYS.astype(str), DAYS.strftime("%Y-%m-%dT%H:%M:%SZ"), [d.date() for d in DAYS]],
    ids=["times", "text", "zulu", "dates"],
)
def test_a_column_of_times_is_the_time_whatever_its_name(times: object) -> None:
    found, said = recognise(table(when=times))
    assert found == {"time": "when"}
    assert "'when' is taken for the time" in said


def test_numbers_are_a_time_under_its_name_where_they_never_fall() -> None:
    assert recognise(table(Timestamp=1.7e9 + 60 * np.arange(N)))[0] == {"time": "Timestamp"}
    assert recognise(table(time=CPU))[0] == {}
    assert recognise(table(latency=np.arange(N) * 2.5))[0] == {}


def test_a_second_column_of_times_is_left_out() -> None:
    found, said = recognise(table(begin=DAYS.astype(str), end=DAYS.astype(str)))
    assert found == {"time": "begin", "left out": ("end",)}
    assert "'end' is left out (times)" in said
    assert recognise(table(begin=DAYS, end=DAYS), time="end")[0] == {
        "time": "end",
        "left out": ("begin",),
    }


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("Unnamed: 0", np.arange(N)),
        ("Unnamed: 0", np.arange(N)[::-1]),
        ("index", np.arange(N) * 2),
        ("ID", np.arange(N) + 5000),
        ("row", np.arange(N) + 1.0),
    ],
)
def test_row_numbers_are_left_out(name: str, numbers: np.ndarray) -> None:
    found, said = recognise(table(**{name: numbers}))
    assert found == {"left out": (name,)}
    assert f"{name!r} is left out (row numbers)" in said


@pytest.mark.parametrize(
    ("name", "numbers", "why"),
    [
        ("uptime", np.arange(N) + 7, "rises by 1 with every row"),
        ("id", np.roll(np.arange(N), 5), "has another whole number in every row"),
    ],
)
def test_what_may_be_row_numbers_is_learnt_with_a_warning(
    name: str, numbers: np.ndarray, why: str
) -> None:
    found, said = recognise(table(**{name: numbers}))
    assert found == {}
    assert f"feature {name!r} {why}" in said


def test_a_column_without_a_name_that_holds_values_is_refused() -> None:
    with pytest.raises(DataError, match=r"column 2 has no name.*--ignore 'Unnamed: 1'"):
        recognise(table(**{"Unnamed: 1": CPU / 2}))
    assert recognise(table(**{"Unnamed: 1": CPU / 2}), ignore=("Unnamed: 1",))[1] == ""


def test_an_option_that_names_no_column_is_refused() -> None:
    with pytest.raises(DataError, match="has no column 'gone'; it has cpu"):
        recognise(table(), ignore=("gone",))


def test_names_in_options_are_cleaned_as_those_of_tables_are() -> None:
    found, _ = recognise(table(lab=MARKS, at=DAYS), label=" lab", time="\ufeffat ")
    assert found == {"label": "lab", "time": "at"}


KINDS = {
    "label": MARKS,
    "time": DAYS.astype(str),
    "id": np.arange(N),
    "mem": CPU / 3,
    "net": CPU * 2,
}


@settings(max_examples=60, deadline=None)
@given(st.permutations(sorted(KINDS)), st.sets(st.sampled_from(sorted(KINDS))))
def test_the_order_of_columns_says_nothing_and_what_is_told_is_left_alone(
    order: list[str], told: set[str]
) -> None:
    frame = table(**{name: KINDS[name] for name in order})
    roles = recognise_roles(frame, Columns(ignore=tuple(sorted(told))), "t.csv")
    assert set(roles.unused) == {"label", "time", "id"} | told
    assert not any(repr(name) in remark for name in told for remark in roles.remarks)


@given(st.sampled_from(LABEL_NAMES), st.sampled_from([str.upper, str.title, str.lower]))
def test_no_label_is_a_feature_however_its_name_is_written(name: str, write: object) -> None:
    written = write(name)  # type: ignore[operator]
    assert recognise(table(**{written: MARKS}))[0] == {"label": written}


def read(folder: Path, frame: pd.DataFrame, **told: object) -> Dataset:
    frame.to_csv(folder / "t.csv", index=False)
    return read_table(folder / "t.csv", columns=Columns(**told))  # type: ignore[arg-type]


def test_a_time_that_was_only_recognised_may_fall_and_one_that_was_told_may_not(
    tmp_path: Path,
) -> None:
    frame = table(at=[*DAYS[20:].astype(str), *DAYS[:20].astype(str)])
    assert any("line 22 is earlier" in remark for remark in read(tmp_path, frame).remarks)
    with pytest.raises(DataError, match=r"line 22 is earlier than the row before it: sort"):
        read(tmp_path, frame, time="at")


def test_a_schema_remembers_the_label_and_lets_new_times_pass(tmp_path: Path) -> None:
    frame = table(at=DAYS.astype(str), Class=MARKS)
    schema = str(tmp_path / "schema.json")
    for _ in range(2):
        dataset = read(tmp_path, frame, schema=schema)
        assert dataset.train.names == ("cpu",)
        np.testing.assert_array_equal(dataset.train.labels, MARKS)


def test_arrays_have_no_roles_but_those_that_are_told(tmp_path: Path) -> None:
    X = np.column_stack([CPU, np.arange(N)])
    np.savez(tmp_path / "t.npz", X=X, names=["y", "id"])
    assert read_table(tmp_path / "t.npz").train.names == ("y", "id")
    assert preview(tmp_path / "t.npz", Columns(ignore=("id",))).remarks == ()
    assert read_table(tmp_path / "t.npz", columns=Columns(ignore=("id",))).train.names == ("y",)
