"""One table at every door: the same rows and scores, or the same refusal with the same reason."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serve.http.invocations import decode_invocations
from serve.http.line_rows import LineDecoder, RefusedLine
from serve.http.lines import SentLine
from serve.http.open_inference import decode_infer
from serve.http.predict import PredictRows, decode_predict
from serve.model.loaded import LoadedModel
from serve.stream.records import RawRecord, decode
from train.table.cells import why_no_number
from train.table.dataset import read_table
from vigil.errors import VigilError

NAMES = ("cpu", "memory", "disk", "net")
VALUES: list[list[Any]] = [
    [10.5, 0.1, True, -3.0],
    [1e-7, 2.0, False, 123456.789],
    [7.0, 9.25, True, 1.5],
]
ROWS = [[float(value) for value in row] for row in VALUES]
ORDERS = (NAMES, ("net", "disk", "cpu", "memory"))
OTHERS = ("timestamp", "Label", "id")  # set aside by training
ANSWERED = 99


@dataclass(frozen=True)
class Layout:
    """How a table is written as text; `is_padded`: with blanks around names and numbers."""

    separator: str = ","
    encoding: str = "utf-8"
    line_end: str = "\n"
    quoting: Any = csv.QUOTE_MINIMAL
    order: tuple[str, ...] = NAMES
    is_padded: bool = False
    has_others: bool = False
    has_blank_lines: bool = False
    ends_with_separator: bool = False
    has_declaration: bool = False

    def name(self, name: str) -> str:
        """A name as its writer has it, in a file or as a key of JSON."""
        return f" {name} " if self.is_padded else name

    def cell(self, value: Any) -> str:
        text = "" if value is None else str(value)
        if self.separator == ";" and isinstance(value, float):
            text = text.replace(".", ",")
        return f" {text}" if self.is_padded else text


@dataclass(frozen=True)
class Sheet:
    """A table, and how it is written."""

    layout: Layout
    values: list[list[Any]] = field(default_factory=lambda: VALUES)
    names: tuple[str, ...] = NAMES

    def records(self) -> list[dict[str, Any]]:
        """The rows by name, as a client has them that has read the file."""
        rows: list[dict[str, Any]] = []
        for i, values in enumerate(self.values):
            by_name: dict[str, Any] = dict(zip(self.names, values, strict=True))
            row = {self.layout.name(name): by_name[name] for name in self.layout.order}
            if self.layout.has_others:
                row |= dict(zip(OTHERS, [f"2026-01-01 00:0{i}", i // 2, i], strict=True))
            rows.append(row)
        return rows

    def text(self) -> bytes:
        layout = self.layout
        out = io.StringIO(newline="")
        if layout.has_declaration:
            out.write(f"sep={layout.separator}{layout.line_end}")
        writer = csv.writer(
            out,
            delimiter=layout.separator,
            quoting=layout.quoting,
            lineterminator=layout.separator * layout.ends_with_separator + layout.line_end,
        )
        records = self.records()
        writer.writerow(list(records[0]))
        for record in records:
            writer.writerow([layout.cell(value) for value in record.values()])
            out.write(f" {layout.line_end}" * layout.has_blank_lines)
        return out.getvalue().encode(layout.encoding)


def from_file(sheet: Sheet, folder: Path) -> np.ndarray:
    (folder / "t.csv").write_bytes(sheet.text())
    return read_table(folder / "t.csv").train.select(NAMES).X


def from_csv(sheet: Sheet, _: Path) -> np.ndarray:
    return decode_invocations(sheet.text(), "text/csv", NAMES, ANSWERED, unused=OTHERS).X


def invoked(document: object) -> np.ndarray:
    body = json.dumps(document).encode()
    return decode_invocations(body, "application/json", NAMES, ANSWERED, unused=OTHERS).X


def from_records(sheet: Sheet, _: Path) -> np.ndarray:
    return invoked({"dataframe_records": sheet.records()})


def from_split(sheet: Sheet, _: Path) -> np.ndarray:
    records = sheet.records()
    data = [list(record.values()) for record in records]
    return invoked({"dataframe_split": {"columns": list(records[0]), "data": data}})


def from_columns(sheet: Sheet, _: Path) -> np.ndarray:
    records = sheet.records()
    return invoked({"inputs": {name: [record[name] for record in records] for name in records[0]}})


def from_instances(sheet: Sheet, _: Path) -> np.ndarray:
    body = json.dumps({"instances": sheet.records()}).encode()
    return decode_predict(body, NAMES, ANSWERED, unused=OTHERS).X


def from_marked_lists(sheet: Sheet, _: Path) -> np.ndarray:
    body = json.dumps({"instances": sheet.values}).encode("utf-8-sig")
    return decode_predict(body, NAMES, ANSWERED).X


def from_tensor(sheet: Sheet, _: Path) -> np.ndarray:
    return inferred({"data": sheet.values}, b"", len(sheet.values))


def from_binary_tensor(sheet: Sheet, _: Path) -> np.ndarray:
    data = np.array(sheet.values, "<f8").tobytes()
    return inferred({"parameters": {"binary_data_size": len(data)}}, data, len(sheet.values))


def inferred(tensor: dict[str, Any], binary: bytes, rows: int) -> np.ndarray:
    about = {"name": "features", "datatype": "FP64", "shape": [rows, len(NAMES)]}
    head = json.dumps({"inputs": [about | tensor]}).encode()
    return decode_infer(head + binary, str(len(head)), NAMES, ANSWERED).rows


def from_lines(sheet: Sheet, _: Path) -> np.ndarray:
    lines = [
        SentLine(number, json.dumps({"features": row}).encode())
        for number, row in enumerate(sheet.records(), 1)
    ]

    def alone(body: bytes) -> PredictRows:
        return decode_predict(body, NAMES, ANSWERED, unused=OTHERS)

    found = []
    for part in LineDecoder("s", NAMES, OTHERS, alone).decode(lines):
        if isinstance(part, RefusedLine):
            raise VigilError(part.error.message)
        found.append(part.X)
    return np.concatenate(found)


def from_stream(sheet: Sheet, _: Path) -> np.ndarray:
    records = [
        RawRecord(str(i), json.dumps({"id": i, "features": row}).encode())
        for i, row in enumerate(sheet.records())
    ]
    decoded, letters = decode(records, NAMES, "s", unused=OTHERS)
    for letter in letters:
        raise VigilError(letter.reason)
    return decoded.X


DOORS: tuple[Callable[[Sheet, Path], np.ndarray], ...] = (
    from_file,
    from_csv,
    from_records,
    from_split,
    from_columns,
    from_instances,
    from_marked_lists,
    from_tensor,
    from_binary_tensor,
    from_lines,
    from_stream,
)

LAYOUTS = [
    Layout(
        separator,
        encoding,
        line_end,
        quoting,
        order=ORDERS[i % 2],
        is_padded=i % 3 == 0,
        has_blank_lines=i % 4 == 1,
        ends_with_separator=i % 5 == 2,
        has_declaration=i % 7 == 3,
    )
    for i, (separator, (encoding, line_end), quoting) in enumerate(
        product(
            (",", ";", "\t", "|"),
            (
                ("utf-8", "\n"),
                ("utf-8-sig", "\r\n"),
                ("utf-16", "\r\n"),
                ("utf-16-le", "\n"),
                ("utf-8", "\r"),
            ),
            (csv.QUOTE_MINIMAL, csv.QUOTE_ALL),
        )
    )
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=range(len(LAYOUTS)))
def test_a_table_gives_the_same_rows_and_scores_at_every_door(
    layout: Layout, tmp_path: Path, model: LoadedModel
) -> None:
    sheet = Sheet(layout)
    expected = model.bundle.forest.score(np.array(ROWS))
    for door in DOORS:
        X = door(sheet, tmp_path)
        np.testing.assert_array_equal(X, ROWS, err_msg=door.__name__)
        np.testing.assert_array_equal(model.bundle.forest.score(X), expected)


def test_columns_that_training_sets_aside_are_left_out_by_name(tmp_path: Path) -> None:
    sheet = Sheet(Layout(has_others=True))
    for door in DOORS:
        np.testing.assert_array_equal(door(sheet, tmp_path), ROWS, err_msg=door.__name__)


BAD = st.sampled_from([None, "x", "five", "1,5 m", "yes", 1e39, -1e300, float("inf")])
PLACES = st.tuples(st.integers(0, len(VALUES) - 1), st.integers(0, len(NAMES) - 1))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(layout=st.sampled_from(LAYOUTS), bad=BAD, place=PLACES)
def test_a_bad_value_is_refused_for_the_same_reason_at_every_door(
    layout: Layout, bad: Any, place: tuple[int, int], tmp_path: Path
) -> None:
    values = [list(row) for row in VALUES]
    values[place[0]][place[1]] = bad
    sheet = Sheet(layout, values)
    for door in DOORS:
        if door is from_binary_tensor and isinstance(bad, str):
            continue  # it cannot be sent
        with pytest.raises(VigilError) as caught:
            door(sheet, tmp_path)
        message = str(caught.value)
        assert why_no_number(bad) in message, door.__name__
        assert repr(NAMES[place[1]]) in message, door.__name__


@pytest.mark.parametrize(
    ("content", "charset", "said"),
    [
        (b"cpu,memory,disk,net\n1,5,2,3,4\n", None, "line 2 has 5 values, the header has 4"),
        (b"cpu,memory,disk,net\n1,2,3,\xe9\n", None, "not text in UTF-8"),
        (b"cpu,memory,disk,net\n1,2,3,\xe9\n", "latin-1", "row 0, feature 'net': 'é' is not a"),
        (b"11,2,3,4\n5,6,7,8.5\n", None, "line 1 holds numbers"),
        (b"cpu,memory,disk,net,cpu\n1,2,3,4,5\n", None, "'cpu' twice"),
        (b"cpu,memory,disk\n1,2,3\n", None, "feature 'net' is missing"),
        (b"cpu,memory,disk,net,swap\n1,2,3,4,5\n", None, "no feature 'swap'; it has cpu"),
        (b"cpu,memory,disk,net\n", None, "no row to score"),
        (b"cpu,memory,disk,net\n1,2,3,4\n", "klingon", "there is no encoding 'klingon'"),
        (b"cpu,memory,disk,net\n\n1,2,3,4\n\n1,2,x,4\n", None, "'x' is not a number (line 5)"),
    ],
)
def test_text_that_is_refused_says_what_to_do(
    content: bytes, charset: str | None, said: str
) -> None:
    with pytest.raises(VigilError) as caught:
        decode_invocations(content, "text/csv", NAMES, ANSWERED, charset=charset)
    assert said in caught.value.message
    assert "--" not in caught.value.message  # there are no options here


def test_a_name_twice_is_refused_in_a_stream_as_over_http() -> None:
    body = b'{"id": 1, "features": {"cpu": 1, "cpu": 9, "memory": 1, "disk": 1, "net": 1}}'
    assert "'cpu' is there twice" in decode([RawRecord("0", body)], NAMES, "s")[1][0].reason
    padded = json.dumps({"features": dict.fromkeys((*NAMES, " cpu"), 1)}).encode()
    with pytest.raises(VigilError, match="' cpu' is there twice"):
        decode_predict(padded, NAMES, ANSWERED)


def test_a_model_whose_names_have_blanks_is_asked_by_either(tmp_path: Path) -> None:
    names = (" cpu", "mem ")
    for body in (b'{"features": {" cpu": 1, "mem ": 2}}', b'{"features": {"cpu": 1, "mem": 2}}'):
        assert decode_predict(body, names, ANSWERED).X.tolist() == [[1, 2]]
    rows = decode_invocations(b" cpu,mem \n1,2\n", "text/csv", names, ANSWERED)
    assert rows.X.tolist() == [[1, 2]]
