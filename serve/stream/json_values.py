"""Where one JSON value ends and the next begins. Pure.

A record or a file may hold more than one value. Either all of it is whole values, which may then
stretch over lines, or each line stands for itself: a damaged one takes no other with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain

import msgspec

# Blanks, the byte-order mark, and the separator of JSON text sequences (RFC 7464).
_BLANKS = " \t\r\n\x1e\ufeff"
_NOT_BLANK = re.compile(f"[^{_BLANKS}]")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_OPENING = ("{", "[")
# Numbers are not looked at here, however long they are.
_any_value = json.JSONDecoder(
    parse_int=str,
    parse_float=str,
    parse_constant=str,
)
_elements = msgspec.json.Decoder(list[msgspec.Raw])


def split_values(data: bytes) -> Iterator[bytes]:
    """Yield the values in `data`, and whole lines where they are none; nothing where it is blank.

    The elements of an array of objects are values of their own.
    """
    text = _decode(data)
    values = _whole_values(text)
    if values is None:
        values = _values_of_lines(text)
    yield from chain.from_iterable(map(_split_array, values))


def is_whole(data: bytes) -> bool:
    """Whether these are whole JSON objects or arrays: what follows can be no part of them."""
    return bool(_whole_values(_decode(data)))


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _values_of_lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        values = _whole_values(line)
        if values is None:
            values = [line.strip(_BLANKS)]
        yield from values


def _whole_values(text: str) -> list[str] | None:
    """The objects and arrays that the text is made of; None where it is not."""
    values: list[str] = []
    at = _next_character(text, 0)
    while at < len(text):
        end = _end_of_value(text, at)
        if end is None:
            return None
        values.append(text[at:end])
        at = _next_character(text, end)
    return values


def _next_character(text: str, at: int) -> int:
    match = _NOT_BLANK.search(text, at)
    return match.start() if match else len(text)


def _end_of_value(text: str, at: int) -> int | None:
    """Where the object or array at `at` ends; None where there is none."""
    if not text.startswith(_OPENING, at):
        return None
    try:
        return _any_value.raw_decode(text, at)[1]
    except (ValueError, RecursionError):
        return None


def _split_array(value: str) -> list[bytes]:
    """The elements of an array that has an object; all else is one value."""
    data = _encode(value)
    if not data.startswith(b"["):
        return [data]
    elements = _elements_of(data)
    has_object = any(element.startswith(b"{") for element in elements)
    return elements if has_object else [data]


def _elements_of(array: bytes) -> list[bytes]:
    """The elements of an array, none where it is damaged."""
    with suppress(*_UNREADABLE):
        return list(map(bytes, _elements.decode(array)))
    return []
