"""Records become rows or dead letters, each with a position of its own."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from serve.model.row_format import RowFormat
from serve.stream.records import DeadLetter, DecodedRecords, RawRecord, Result, decode
from tests.serve.stream.packing import aggregate, gzipped

NAMES = ("a", "b")


def decoded(*records: bytes | str) -> tuple[DecodedRecords, list[DeadLetter]]:
    raw = [
        RawRecord(str(n), record.encode() if isinstance(record, str) else record)
        for n, record in enumerate(records)
    ]
    return decode(raw, NAMES, "s")


def record(key: Any, **more: Any) -> bytes:
    return json.dumps({"id": key, "features": [1, 2], **more}).encode()


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('{"id": 1, "features": {"a": 1, "a": 99, "b": 2}}', "a"),
        ('{"id": 1, "features": {"a": 1, "b": 2, "\\u0061": 99}}', "a"),
        ('{"id": 1, "features": {"a": 1, "b": 2}, "features": {"a": 1, "b": 3}}', "features"),
        ('{"id": 1, "id": 2, "features": [1, 2]}', "id"),
        ('{"id": "x:y", "id": "x:y", "features": [1, 2]}', "id"),
        ('{"id": 1, "features": [1, 2], "entity": "e", "entity": "f"}', "entity"),
        ('{"id": 1, "features": [1, 2], "time": 1, "time": 2}', "time"),
    ],
)
def test_a_name_that_is_there_twice_is_a_dead_letter(line: str, name: str) -> None:
    rows, (letter,) = decoded(line)
    assert rows.ids == []
    assert f"'{name}' is there twice" in letter.reason


def test_colons_in_texts_are_no_names() -> None:
    line = record("a:b:c", entity="x:y", time="2026-01-01T00:00:00+01:00", note="1:2")
    rows, letters = decoded(line)
    assert (rows.ids, letters) == (["a:b:c"], [])


def test_each_value_of_a_record_has_a_position_of_its_own() -> None:
    several = b"\n".join([record(1), b"bad", record(2, entity=3)])
    rows, letters = decoded(
        record(0), several, aggregate([record("x"), gzipped(several)]), b"worse"
    )
    assert rows.ids == [0, 1, 2, "x", 1, 2]
    assert [raw.position for raw in rows.raw] == ["0", "1/0", "1/2", "2/0", "2/1", "2/3"]
    assert [(letter.position, letter.raw) for letter in letters] == [
        ("1/1", "bad"),
        ("2/2", "bad"),
        ("3", "worse"),
    ]


def test_a_value_that_is_out_of_range_keeps_its_own_text() -> None:
    rows, (letter,) = decoded(b"\n".join([record(1), b'{"id": 2, "features": [1e300, 2]}']))
    assert rows.ids == [1]
    assert (letter.id, letter.position, letter.raw) == (
        2,
        "0/1",
        '{"id": 2, "features": [1e300, 2]}',
    )


@pytest.mark.parametrize(
    ("line", "key", "word"),
    [
        ('{"id": 1e400, "features": [1, 2]}', None, "id"),
        ('{"id": true, "features": [1, 2]}', None, "id"),
        ('{"id": 1.5, "features": [1, 2]}', None, "id"),
        ('{"id": 1, "features": [1e400, 2]}', 1, "'a': 1e400"),
        ('{"id": 1, "features": {"a": 1, "b": "2"}}', 1, "'b'"),
        ('{"id": 1, "features": "1, 2"}', 1, "not a list of numbers"),
        ('{"id": 1, "features": []}', 1, "'a'"),
        ('{"id": 1, "features": {}}', 1, "'a' is missing"),
    ],
)
def test_a_refused_value_is_named_and_its_letter_can_be_written(
    line: str, key: Any, word: str
) -> None:
    rows, (letter,) = decoded(line)
    assert rows.ids == []
    assert word in letter.reason
    assert msgspec.json.decode(msgspec.json.encode(letter))["id"] == key


@pytest.mark.parametrize("value", [1, "x", None, True, [1]])
def test_a_column_that_the_model_does_not_use_is_left_out_whatever_it_holds(value: Any) -> None:
    features = {" label ": value, "b": 2.0, "a": 1.0}
    raw = RawRecord("1", json.dumps({"id": 1, "features": features}).encode())
    rows, letters = decode([raw], NAMES, "s", unused={"label"})
    assert (rows.X.tolist(), letters) == ([[1.0, 2.0]], [])
    rows, (letter,) = decode([raw], NAMES, "s")
    assert rows.ids == []
    assert "no feature ' label '" in letter.reason


def test_a_stream_learns_which_columns_are_not_used() -> None:
    row_format = RowFormat(NAMES, unused=frozenset({"label", "time"}))
    wire = json.loads(json.dumps(row_format.to_wire()))
    assert wire["unused_columns"] == ["label", "time"]
    assert RowFormat.from_wire(wire) == row_format
    assert RowFormat.from_wire({"features": NAMES}) == RowFormat(NAMES)


def test_entity_and_time_are_carried_as_they_were_sent() -> None:
    rows, letters = decoded(
        record(1, entity="pump 7", time="2026-01-01T00:00:00Z"),
        record(2, entity=0, time=1_700_000_000_500),
        record(3, entity=None, time=None),
        record(4),
    )
    assert letters == []
    assert rows.entities == ["pump 7", 0, None, None]
    assert rows.times == ["2026-01-01T00:00:00Z", 1_700_000_000_500, None, None]
    assert rows.seconds == [1_767_225_600.0, 1_700_000_000.5, None, None]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"time": "yesterday"}, "time"),
        ({"time": [1]}, "time"),
        ({"time": True}, "time"),
        ({"entity": ""}, "entity"),
        ({"entity": {"x": 1}}, "entity"),
        ({"entity": True}, "entity"),
    ],
)
def test_an_entity_or_a_time_that_is_none_is_a_dead_letter(more: Any, field: str) -> None:
    rows, (letter,) = decoded(record(1, **more))
    assert (rows.ids, letter.id) == ([], 1)
    assert f"`{field}`" in letter.reason


def test_a_result_without_entity_and_time_has_the_four_fields_it_always_had() -> None:
    assert msgspec.to_builtins(Result("a", 0.5, 1, "7")) == {
        "id": "a",
        "anomaly_score": 0.5,
        "prediction": 1,
        "model_version": "7",
    }
