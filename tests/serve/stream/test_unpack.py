"""What is in one record: layers are opened, values told apart, damage is named."""

from __future__ import annotations

import gzip
import json
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.stream.unpack import MAX_LAYERS, Piece, unpack
from tests.serve.stream.packing import LAYERS, aggregate, gzipped

ROWS = [json.dumps({"id": f"a{i}", "features": [i, {"x": "}]\\"}]}).encode() for i in range(3)]
BAD = b'{"id": "bad", "features": [1'


def data_of(record: bytes) -> list[bytes]:
    pieces = unpack(record)
    assert [piece.refusal for piece in pieces] == [None] * len(pieces)
    return [piece.data for piece in pieces]


@pytest.mark.parametrize(
    ("record", "values"),
    [
        (ROWS[0], ROWS[:1]),
        (b"\n".join(ROWS), ROWS),
        (b"\r\n".join(ROWS) + b"\r\n", ROWS),
        (b"\n\n  \n".join(ROWS), ROWS),
        (b"".join(ROWS), ROWS),
        (b"\x1e" + b"\n\x1e".join(ROWS), ROWS),
        (b"[" + b", ".join(ROWS) + b"]", ROWS),
        (b"[" + b",\n".join(ROWS) + b"\n]\n" + ROWS[0], [*ROWS, ROWS[0]]),
        (b"\xef\xbb\xbf" + b"\n\xef\xbb\xbf".join(ROWS), ROWS),
        (json.dumps(json.loads(ROWS[0]), indent=1).encode(), None),
        (b"\n".join([ROWS[0], BAD, ROWS[1]]), [ROWS[0], BAD, ROWS[1]]),
        (ROWS[0] + b" and more", [ROWS[0] + b" and more"]),
        (ROWS[0] + b",\n" + ROWS[1], [ROWS[0] + b",", ROWS[1]]),
        (b"[1, 2]", [b"[1, 2]"]),
        (b"[[1, 2]]", [b"[[1, 2]]"]),
        (b'[{"id": 1}, 5, null]', [b'{"id": 1}', b"5", b"null"]),
        (b"[]", [b"[]"]),
        (b"null", [b"null"]),
        (b"12345678", [b"12345678"]),
        (b"no json at all", [b"no json at all"]),
        (b'{"id": "a\xff"}\nx', [b'{"id": "a\xff"}', b"x"]),
        (b'{"id": 1' + b"0" * 5000 + b"}" + ROWS[0], [b'{"id": 1' + b"0" * 5000 + b"}", ROWS[0]]),
    ],
)
def test_values_are_told_apart(record: bytes, values: list[bytes] | None) -> None:
    assert data_of(record) == (values or [record])


def test_an_aggregate_holds_records_of_any_form() -> None:
    records = [ROWS[0], gzipped(b"\n".join(ROWS)), BAD, b"[" + ROWS[1] + b"]"]
    assert data_of(aggregate(records)) == [ROWS[0], *ROWS, BAD, ROWS[1]]


def has_no_text_in_text(layers: list[str]) -> bool:
    """Base64 of base64 is told from no other word."""
    return not any("base64" in one and "base64" in two for one, two in pairwise(layers))


@given(
    layers=st.lists(st.sampled_from(sorted(LAYERS)), max_size=MAX_LAYERS).filter(
        has_no_text_in_text
    ),
    rows=st.lists(st.sampled_from(ROWS), min_size=1, max_size=5),
)
def test_layers_are_opened_in_any_order(layers: list[str], rows: list[bytes]) -> None:
    record = b"\n".join(rows)
    for layer in layers:
        record = LAYERS[layer](record)
    assert data_of(record) == rows


@pytest.mark.parametrize(
    ("record", "word"),
    [
        (aggregate(ROWS)[:-1], "MD5"),
        (aggregate(ROWS)[:9] + b"X" + aggregate(ROWS)[10:], "MD5"),
        (aggregate(ROWS)[:4], "MD5"),
        (aggregate([]), "has no record"),
        (gzipped(ROWS[0])[:-9], "cut off"),
        (gzipped(ROWS[0])[:12] + b"\xff\xff" + gzipped(ROWS[0])[14:], "damaged"),
        (gzipped(ROWS[0]) + ROWS[0], "behind it"),
        (zlib.compress(ROWS[0])[:-3], "cut off"),
        (b"\x28\xb5\x2f\xfd...", "zstd"),
        (ROWS[0].decode().encode("utf-16"), "UTF-16"),
        (b"", "empty"),
        (b" \r\n \n", "empty"),
        (gzipped(b""), "empty"),
    ],
)
def test_what_cannot_be_opened_is_one_piece_with_the_reason(record: bytes, word: str) -> None:
    (piece,) = unpack(record)
    assert word in (piece.refusal or "")


def test_damage_in_an_aggregate_takes_no_other_record_with_it() -> None:
    pieces = unpack(aggregate([ROWS[0], gzipped(ROWS[1])[:-9], b"", ROWS[2]]))
    assert [piece.data for piece in pieces if piece.refusal is None] == [ROWS[0], ROWS[2]]
    assert ["cut off" in (piece.refusal or "") for piece in pieces] == [False, True, False, False]


@pytest.mark.parametrize("members", [1, 3])
def test_a_bomb_is_refused_before_it_is_unpacked(members: int) -> None:
    bomb = gzip.compress(b" " * 10_000_000, mtime=0) * members
    (piece,) = unpack(bomb, max_bytes=1_000_000)
    assert piece == Piece(bomb, "the record unpacks to more than 1000000 bytes")
    nested = unpack(aggregate([gzipped(b" " * 400_000)] * 3), max_bytes=1_000_000)
    assert "more than" in (nested[2].refusal or "")


def test_a_record_is_not_unpacked_without_end() -> None:
    record = ROWS[0]
    for _ in range(MAX_LAYERS + 1):
        record = gzipped(record)
    (piece,) = unpack(record)
    assert f"more than {MAX_LAYERS} times" in (piece.refusal or "")


@given(st.binary(max_size=300))
def test_any_bytes_are_told_apart_without_an_error(data: bytes) -> None:
    assert unpack(data)
    assert unpack(aggregate([data]))
