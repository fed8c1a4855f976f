"""One table in many layouts of text: the same rows, or a refusal that says what is wrong."""

from __future__ import annotations

import codecs
from pathlib import Path

import numpy as np
import pytest

from train.table.csv_layout import detect_layout
from train.table.dataset import read_table
from train.table.preview import preview
from train.table.schema import Columns
from train.table.source import FileInMemory
from vigil.errors import DataError

ROWS = [[1.5, 2.0, 0.25], [3.0, -4.5, 1e-3]]


def read(folder: Path, content: bytes, columns: Columns | None = None) -> np.ndarray:
    (folder / "t.csv").write_bytes(content)
    return read_table(folder / "t.csv", columns=columns).train.X


@pytest.mark.parametrize(
    "text",
    [
        "a,b,c\n1.5,2,0.25\n3,-4.5,1e-3\n",
        "a;b;c\n1.5;2;0.25\n3;-4.5;1e-3\n",
        "a;b;c\n1,5;2;0,25\n3;-4,5;1e-3\n",
        "a\tb\tc\n1.5\t2\t0.25\n3\t-4.5\t1e-3\n",
        "a|b|c\n1.5|2|0.25\n3|-4.5|1e-3\n",
        "sep=;\na;b;c\n1,5;2;0,25\n3;-4,5;1e-3\n",
        '"sep=,"\na,b,c\n1.5,2,0.25\n3,-4.5,1e-3\n',
        "sep=^\na^b^c\n1.5^2^0.25\n3^-4.5^1e-3\n",
        "sep=\t\na\tb\tc\n1.5\t2\t0.25\n3\t-4.5\t1e-3\n",
        " a, b ,\ufeffc\n 1.5,2 , 0.25\n3 ,-4.5,1e-3",
        '"a", "b","c"\n"1.5","2", "0.25"\n3,-4.5,1e-3\n',
        "a,b,c\r\n1.5,2,0.25\r\n3,-4.5,1e-3\r\n",
        "a,b,c\r1.5,2,0.25\r3,-4.5,1e-3",
        "\n \na,b,c\n\n1.5,2,0.25\n   \n\t\n3,-4.5,1e-3\n\n",
        "a,b,c,\n1.5,2,0.25,\n3,-4.5,1e-3,\n",
        "a,b,c\n1.5,2,0.25,\n3,-4.5,1e-3,\n",
        "a,b,c,,,\n1.5,2,0.25,,,\n3,-4.5,1e-3,,,\n",
        "a,b,c\n1.5,2,0.25,,\n3,-4.5,1e-3\n",
        "cpu|user,b,c|d\n1.5,2,0.25\n3,-4.5,1e-3\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_layouts_that_are_read(tmp_path: Path, text: str, encoding: str) -> None:
    np.testing.assert_array_equal(read(tmp_path, text.encode(encoding)), ROWS)


def test_truth_values_are_1_and_0_and_names_need_no_ascii(tmp_path: Path) -> None:
    text = "Température,up\n1,true\n2,False\n3,TRUE\n"
    assert read(tmp_path, text.encode("utf-16"))[:, 1].tolist() == [1, 0, 1]
    assert preview(tmp_path / "t.csv", Columns(features=("Température",))).unused == ("up",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a\tb\n1,5\t2\n", "column 'a': '1,5' is not a number .a comma is a decimal point only"),
        ("a,b\n1,5,2,5\n", "line 2 has 4 values, the header has 2, with a comma as separator"),
        ("a;b\n1;2;3\n", "line 2 has 3 values, the header has 2, with a semicolon as separator"),
        ("v\n1,5\n2,5\n", "line 2 has 2 values, the header has 1"),
        ("a b\n1 2\n", "'1 2' is not a number .columns are separated by a comma, a semicolon"),
        ("a;b\n1,5;2\n3.500;2\n", "line 3, column 'a': 3.500 has a decimal point, and other rows"),
        ("483,660\n1,2\n3,4\n", "line 1 holds numbers .483, 660, .*: it must name"),
        ("2026-01-01,5\n2026-01-02,6\n", "line 1 holds numbers"),
        ("true,5\n1,6\n", "line 1 holds numbers"),
        ("a,b\n1,2\n3,4,\n5,6,7\n", "line 4 has 3 values"),
        ("a,b,\n1,2,\n3,4,5.5\n", "column 3 has no name, and does not number the rows"),
        (b"caf\xe9,b\n1,2\n", "is not text in UTF-8 .*byte 0xe9.* `iconv -f windows-1252"),
        (b"\x1f\x8b\x08", "is packed by gzip: unpack it"),
        (b"PK\x03\x04\x14", "a ZIP archive or an Excel workbook"),
        ('[{"a": 1, "b": 2}]', "is JSON: write a line of names"),
        ("a,b,a\n1,2,3\n", "two columns have the same name, 'a'"),
    ],
)
def test_layouts_that_are_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("names", ["0,1,2", "1,2,3", ",0,1"])
def test_names_that_count_the_columns_are_names(tmp_path: Path, names: str) -> None:
    assert len(read(tmp_path, f"{names}\n1,2.5,3\n2,3.5,3\n".encode())) == 2


def test_numbers_are_names_where_the_caller_says_so(tmp_path: Path) -> None:
    columns = Columns(features=("7", "9"))
    assert read(tmp_path, b"7,9\n1,2\n", columns).tolist() == [[1, 2]]


def test_of_two_columns_with_one_name_neither_may_be_learnt(tmp_path: Path) -> None:
    assert read(tmp_path, b"a,b,a\n1,2.5,3\n", Columns(ignore=("a",))).tolist() == [[2.5]]


def test_an_entity_is_text_whatever_it_looks_like(tmp_path: Path) -> None:
    content = "at;host;v\n1;007;1,5\n2;007;2,5\n1;7;3,5\n1;NA;3\n1;1,5;4\n"
    columns = Columns(time="at", entity="host")
    assert len(read(tmp_path, content.encode(), columns)) == 5


def test_the_sender_may_say_the_encoding() -> None:
    file = FileInMemory("body", 0, "", encoding="latin-1", content=b"caf\xe9,b\n1,2\n")
    with file.open() as stream:
        assert detect_layout(stream, file.encoding).header == ("café", "b")
        with pytest.raises(DataError, match="there is no encoding 'klingon'"):
            detect_layout(stream, "klingon")


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF8])
def test_a_byte_order_mark_is_believed_before_the_sender(mark: bytes) -> None:
    encoding = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-8"
    file = FileInMemory("body", 0, "", content=mark + "a,b\n1,2\n".encode(encoding))
    with file.open() as stream:
        assert detect_layout(stream, "utf-8").header == ("a", "b")


def test_a_file_of_tabs_may_be_named_so(tmp_path: Path) -> None:
    (tmp_path / "rows.tsv").write_text("a\tb\n1\t2.5\n")
    assert read_table(tmp_path / "rows.tsv").train.X.tolist() == [[1, 2.5]]
