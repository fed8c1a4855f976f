"""What one record of a source holds: compressed, encoded, aggregated, or several values. Pure.

Layers are told by their first bytes and opened one after the other: aggregates of the Kinesis
Producer Library, gzip, zlib and base64. What is inside may be several JSON values.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

from serve.stream.aggregate import AGGREGATE_MAGIC, DamagedAggregate, user_records
from serve.stream.json_values import split_values

MAX_UNPACKED_BYTES = 32 * 2**20  # of one record, over all its layers
MAX_UNPACKED_VALUES = 200_000
MAX_LAYERS = 4
MAX_GZIP_MEMBERS = 1000
_COMPRESSED_MAGICS = (b"\x1f\x8b", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_OTHER_FORMATS = {
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"\xfd7zXZ\x00": "xz",
    b"BZh": "bzip2",
    b"PK\x03\x04": "zip",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"Obj\x01": "Avro",
    b"PAR1": "Parquet",
}
_PADDING = b"\x00\r\n"
_ANY_HEADER = zlib.MAX_WBITS | 32  # zlib's and gzip's
_BASE64 = re.compile(rb"[A-Za-z0-9+/\r\n]{8,}={0,2}[\r\n]*")
_BASE64_HEAD = 24
_CONTENTS = (b"{", b"[", AGGREGATE_MAGIC, *_COMPRESSED_MAGICS)
_Layer = Callable[[bytes], list[bytes]]


class DamagedLayer(ValueError):
    """A layer cannot be opened: the message says why."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One of the values in a record, or a part that cannot be read, with the `refusal`."""

    data: bytes
    refusal: str | None = None


def unpack(
    data: bytes,
    max_bytes: int = MAX_UNPACKED_BYTES,
) -> list[Piece]:
    """Return the pieces of a record, in order; at least one.

    A record that would unpack to more than `max_bytes`, or to too many pieces, is one refused
    piece.
    """
    pieces = _Unpacking(max_bytes).pieces(data)
    first = list(islice(pieces, MAX_UNPACKED_VALUES))
    if next(pieces, None) is None:
        return first
    return [Piece(data, f"the record holds more than {MAX_UNPACKED_VALUES} values")]


class _Unpacking:
    """Opens the layers of one record, within `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes_left = max_bytes

    def pieces(
        self,
        data: bytes,
        layers: int = MAX_LAYERS,
    ) -> Iterator[Piece]:
        try:
            contents = self._open(data, layers)
        except (DamagedLayer, DamagedAggregate) as error:
            yield Piece(data, str(error))
            return
        if contents is None:
            yield from _values(data)
            return
        for content in contents:
            yield from self.pieces(content, layers - 1)

    def _open(
        self,
        data: bytes,
        layers: int,
    ) -> list[bytes] | None:
        """The contents of the outermost layer; None where there is none."""
        layer = self._layer(data)
        if layer is None:
            return None
        if not layers:
            raise DamagedLayer(f"the record is packed more than {MAX_LAYERS} times")
        return layer(data)

    def _layer(self, data: bytes) -> _Layer | None:
        if data.startswith(AGGREGATE_MAGIC):
            return user_records
        if data.startswith(_COMPRESSED_MAGICS):
            return self._inflate
        if data.startswith(tuple(_OTHER_FORMATS)):
            return _refuse_format
        return _decode_base64 if _is_base64(data) else None

    def _inflate(self, data: bytes) -> list[bytes]:
        """The contents of a zlib stream, or of the members of a gzip file."""
        contents: list[bytes] = []
        for _ in range(MAX_GZIP_MEMBERS):
            content, data = self._inflate_member(data)
            contents.append(content)
            if not data.startswith(_COMPRESSED_MAGICS):
                break
        if data.strip(_PADDING):
            raise DamagedLayer("a compressed record with something else behind it")
        return [b"".join(contents)]

    def _inflate_member(self, data: bytes) -> tuple[bytes, bytes]:
        """The contents of a member, and what is behind it."""
        member = zlib.decompressobj(_ANY_HEADER)
        content = _decompress(member, data, self._bytes_left + 1)
        self._spend(len(content))
        if not member.eof:
            raise DamagedLayer("a compressed record that is cut off")
        return content, member.unused_data

    def _spend(self, size: int) -> None:
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise DamagedLayer(f"the record unpacks to more than {self._max_bytes} bytes")


def _decompress(
    member: Any,
    data: bytes,
    max_bytes: int,
) -> bytes:
    try:
        return member.decompress(data, max_bytes)
    except zlib.error as error:
        raise DamagedLayer(f"a compressed record that is damaged: {error}") from error


def _values(data: bytes) -> Iterator[Piece]:
    pieces = map(Piece, split_values(data))
    yield next(pieces, Piece(data, "the record is empty"))
    yield from pieces


def _refuse_format(data: bytes) -> list[bytes]:
    magic = next(filter(data.startswith, _OTHER_FORMATS))
    raise DamagedLayer(
        f"the record is {_OTHER_FORMATS[magic]}: records are JSON in UTF-8, plain or compressed by "
        "gzip or zlib"
    )


def _is_base64(data: bytes) -> bool:
    """Whether this is base64 of something that can be read."""
    if not _BASE64.fullmatch(data):
        return False
    head = _without_breaks(data[:_BASE64_HEAD])
    quads = len(head) // 4
    with suppress(binascii.Error):
        return base64.b64decode(head[: 4 * quads]).startswith(_CONTENTS)
    return False


def _decode_base64(data: bytes) -> list[bytes]:
    text = _without_breaks(data)
    try:
        return [base64.b64decode(text, validate=True)]
    except binascii.Error as error:
        raise DamagedLayer(f"base64 that is damaged: {error}") from error


def _without_breaks(data: bytes) -> bytes:
    return b"".join(data.split())
