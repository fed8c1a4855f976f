"""What a name, a number and a missing value are: the same in a word, a column and a message."""

from __future__ import annotations

import io
import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from train.table.cells import (
    MISSING_WORDS,
    clean_name,
    find_flaw,
    join_names,
    parse_cell,
    parse_value,
    show_value,
    split_names,
    why_no_number,
)
from train.table.csv_reader import CsvReader
from train.table.schema import Columns
from train.table.source import FileInMemory
from train.table.values import parse_column


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        (" 1.5 ", 1.5),
        ("\u00a02\t", 2),
        ("+.5e1", 5),
        ("-5.", -5),
        ("1E+5", 1e5),
        ("007", 7),
        ("true", 1),
        ("False", 0),
        ("TRUE ", 1),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
        ("1e400", math.inf),
    ],
)
def test_a_cell_that_is_a_number(text: str, number: float) -> None:
    assert parse_cell(text) == number


@pytest.mark.parametrize("word", [*sorted(MISSING_WORDS), "  ", "NA", "Null", "\u00a0"])
def test_a_cell_that_is_missing(word: str) -> None:
    number = parse_cell(word)
    assert number is not None
    assert math.isnan(number)


@pytest.mark.parametrize(
    "text", ["x", "1_000", "1,5", "1,234.5", "50%", "0x1F", "1e", "1 2", "--1", "yes", "\u0661"]
)
def test_a_cell_that_is_neither(text: str) -> None:
    assert parse_cell(text) is None
    assert f"{text!r} is not a number" in why_no_number(text)


NUMBERS = st.text("0123456789+-.eE", max_size=7) | st.floats().map(repr) | st.integers().map(str)
WORDS = st.sampled_from(["true", "FALSE", "NA", "nan", "", " ", "x", "inf", "1_0", "none", "N/A"])
CELLS = st.builds(
    "{}{}{}".format, st.sampled_from(["", " "]), NUMBERS | WORDS, st.sampled_from(["", " ", "\t"])
)


@settings(max_examples=300, deadline=None)
@given(st.lists(CELLS, min_size=1, max_size=4))
@example(["9" * 400])
@example(["1", "", "true"])
@example(["18446744073709551617", "-1"])
def test_a_column_of_a_file_is_what_its_cells_are(cells: list[str]) -> None:
    """The parser of whole columns knows no number that a single cell is not."""
    lines = [f'1,"{cell}"' for cell in cells]
    file = FileInMemory("t.csv", 0, "", content="\n".join(["a,b", *lines]).encode())
    (frame,) = CsvReader(file, Columns()).frames(None)
    column = parse_column(frame["b"])
    expected = [parse_cell(cell) for cell in cells]
    assert column.is_wrong.tolist() == [number is None for number in expected]
    numbers = [math.nan if number is None else number for number in expected]
    np.testing.assert_array_equal(column.numbers, numbers)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (True, 1),
        (np.bool_(False), 0),
        (np.int64(3), 3),
        (Decimal("1.5"), 1.5),
        (10**400, math.inf),
        (-(10**400), -math.inf),
        (None, math.nan),
        (pd.NA, math.nan),
        (pd.NaT, math.nan),
        (Decimal("nan"), math.nan),
        (b"1", None),
        ([1.0], None),
        ({}, None),
    ],
)
def test_a_value_that_is_no_text(value: Any, number: float | None) -> None:
    np.testing.assert_equal(parse_value(value), number)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "the value is missing"),
        (math.nan, "the value is missing"),
        (1e39, "1e+39 is not a finite float32 number"),
        (10**400, "000 is not a finite float32 number"),
        ([None, True], "[null, true] is not a number"),
        ({"a": 1}, "{'a': 1} is not a number"),
        ("1,5", "'1,5' is not a number (a comma is a decimal point only where ; separates"),
        ("1,234,567.8", "is not a number (write it without separators of thousands)"),
        ("5 %", "is not a number (write it without %)"),
        ("7/7/2017 3:30", "is not a number (it looks like a time)"),
        ("1;2;3", "is not a number (columns are separated by a comma"),
        ("1^2.5^-3", "(if ^ separates the columns, say so in a first line sep=^)"),
        ("1\x012", "(if \\x01 separates the columns"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_a_value(value: Any, reason: str) -> None:
    assert reason in why_no_number(value)


@given(st.recursive(st.none() | st.booleans() | st.text(), st.lists) | st.binary())
def test_no_value_makes_a_message_long(value: Any) -> None:
    assert len(show_value(value)) <= 700


NAMES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))


@given(NAMES)
def test_names_survive_an_option(names: list[str]) -> None:
    cleaned = tuple(name for name in map(clean_name, names) if name)
    if cleaned:
        assert split_names(join_names(cleaned)) == cleaned


@given(st.text())
def test_a_clean_name_is_clean(name: str) -> None:
    assert clean_name(clean_name(name)) == clean_name(name)


def test_a_name_is_the_same_however_it_is_written() -> None:
    assert clean_name("\ufeff cafe\u0301\u00a0") == "caf\u00e9"
    assert split_names(' a , "b, c" ,d') == ("a", "b, c", "d")


@pytest.mark.parametrize("allow_missing", [True, False])
def test_the_first_flaw_of_a_matrix(allow_missing: bool) -> None:
    X = np.array([[1.0, 2.0], [math.nan, -1e39], [math.inf, 0.0]])
    flaw = find_flaw(X, allow_missing=allow_missing)
    assert flaw is not None
    assert (flaw.row, flaw.column) == ((1, 1) if allow_missing else (1, 0))
    assert find_flaw(X[:1]) is None


def test_json_and_a_file_spell_a_value_alike() -> None:
    frame = pd.read_csv(io.StringIO("a\n0.1\n1e22\n5e-324\n123456789.123456789\n"))
    assert frame["a"].tolist() == json.loads("[0.1, 1e22, 5e-324, 123456789.123456789]")
