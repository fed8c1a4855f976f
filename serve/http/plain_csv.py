"""Rows of a small body of text/csv that is written plainly. Pure.

The reader of tables takes milliseconds before the first row; one row should not. What is plain has
one meaning by every rule of docs/data.md: here it is read, and the rest is left to that reader.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from train.table.cells import FLOAT32_MAX, parse_cell
from vigil.arrays import Floats

MAX_PLAIN_BYTES = 2**16
# Quotes, other separators, and bytes that say another encoding; names and cells have none of them.
_NOT_PLAIN = tuple('";\t|\0\ufeff\r')
_NUMBER_SIGNS = frozenset("0123456789.+-eE")
_Rows = list[list[str]]


def read_plain_csv(
    body: bytes,
    charset: str | None,
    names: tuple[str, ...],
    *,
    unused: Collection[str],
) -> Floats | None:
    """Return the rows [n, d] of a body with these features, None where it is not plain.

    Plain is UTF-8 with commas, without quotes, and with a number in each cell of a feature.
    `unused` are columns that may be there.
    """
    if len(body) > MAX_PLAIN_BYTES or (charset or "utf-8").lower() != "utf-8":
        return None
    lines = _plain_lines(body)
    header = lines[0].split(",")
    rows = [line.split(",") for line in lines[1:]]
    if not _is_plain_header(header, names, unused) or not _are_of_width(rows, len(header)):
        return None
    return _numbers(rows, [header.index(name) for name in names])


def _plain_lines(body: bytes) -> list[str]:
    """The lines of a plain text; one that is empty of another."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return [""]
    text = text.replace("\r\n", "\n")
    if any(sign in text for sign in _NOT_PLAIN) or text.startswith("sep="):
        return [""]
    return text.removesuffix("\n").split("\n")


def _is_plain_header(
    header: list[str],
    names: tuple[str, ...],
    unused: Collection[str],
) -> bool:
    """Whether each feature is there once, and all else is unused."""
    found = set(header)
    others = found.difference(names)
    if len(found) < len(header) or len(found) - len(others) < len(names):
        return False
    return not others or (others.issubset(unused) and any(map(_is_word, header)))


def _is_word(name: str) -> bool:
    """Whether a name cannot be a value: then it stands in a header."""
    return name[:1].isalpha() and parse_cell(name) is None


def _are_of_width(rows: _Rows, width: int) -> bool:
    return bool(rows) and all(len(row) == width for row in rows)


def _numbers(rows: _Rows, positions: list[int]) -> Floats | None:
    """The cells at these places as numbers; None where one is none that a forest can take."""
    cells = [row[position] for row in rows for position in positions]
    if not _NUMBER_SIGNS.issuperset("".join(cells)):
        return None
    try:
        numbers = list(map(float, cells))
    except ValueError:
        return None
    X = np.array(numbers).reshape(len(rows), len(positions))
    return X if (np.abs(X) <= FLOAT32_MAX).all() else None
