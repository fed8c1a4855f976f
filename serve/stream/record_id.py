"""The id of a record, also of one that is damaged elsewhere. Pure."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from serve.http.rows import DECODE_ERRORS
from serve.http.sent_values import read_float

Id = str | int
_READABLE_ID = re.compile(rb'"id"\s*:\s*("(?:[^"\\\x00-\x1f]|\\.)*"|-?\d{1,18}\b)')
_object_decoder = msgspec.json.Decoder(dict[str, Any], float_hook=read_float)


def readable_id(data: bytes) -> Id | None:
    """The id of a record that is damaged elsewhere."""
    try:
        value = _object_decoder.decode(data).get("id")
    except DECODE_ERRORS:
        return _id_in_text(data)
    return value if _is_id(value) else None


def _is_id(value: Any) -> bool:
    return type(value) in (str, int)


def _id_in_text(data: bytes) -> Id | None:
    match = _READABLE_ID.search(data)
    if match is None:
        return None
    try:
        return msgspec.json.decode(match[1])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
