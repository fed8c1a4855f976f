"""Records as producers pack them: KPL aggregates, gzip, zlib, base64."""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib

from serve.stream.aggregate import AGGREGATE_MAGIC


def aggregate(records: list[bytes]) -> bytes:
    """An aggregate as the producer writes it, encoded by hand: all use the first partition key."""
    message = _field(1, b"key")
    for record in records:
        message += _field(3, _varint(1 << 3) + _varint(0) + _field(3, record))
    digest = hashlib.md5(message, usedforsecurity=False).digest()
    return AGGREGATE_MAGIC + message + digest


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


LAYERS = {
    "kpl": lambda data: aggregate([data]),
    "gzip": gzipped,
    "gzip members": lambda data: gzipped(data[:7]) + gzipped(data[7:]),
    "zlib": zlib.compress,
    "base64": base64.b64encode,
    "base64 lines": base64.encodebytes,
}
