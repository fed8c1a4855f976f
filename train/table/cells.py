"""What a name, a number, a truth value and a missing value are: one set of rules for every door.

Training, drift checks, HTTP and streams all ask here; docs/data.md states the rules for people.
"""

from __future__ import annotations

import csv
import io
import math
import re
import reprlib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from vigil.arrays import Floats

FLOAT32_MAX = float(np.finfo(np.float32).max)
IS_MISSING = "the value is missing"
NOT_FINITE = "is not a finite float32 number"
# In any case; a cell of blanks is missing too.
MISSING_WORDS = frozenset(
    {
        "",
        "na",
        "n/a",
        "nan",
        "-nan",
        "null",
        "none",
        "<na>",
        "#na",
        "#n/a",
        "#n/a n/a",
        "1.#ind",
        "-1.#ind",
        "1.#qnan",
        "-1.#qnan",
    }
)
TRUTH_WORDS = {"true": 1.0, "false": 0.0}
MAX_ENTITY_LENGTH = 200  # of its name
_MAX_SHOWN = 100  # letters of a value in a message
_MAX_TEXT = 400  # of one with values in it
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|[+-]?inf(?:inity)?")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:e[+-]?[0-9]+)?")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}(?:[,.' ][0-9]{3})+(?:[.,][0-9]+)?")
_PERCENT = re.compile(r"[+-]?[0-9.,]+ ?%")
_TIME = re.compile(r"[0-9]{1,4}[-/.][0-9]{1,2}[-/.][0-9]{1,4}.*|[0-9]{1,2}:[0-9]{2}.*")
_SEVERAL = re.compile(r"[+-]?[0-9.,]+(?:[ ;|\t]+[+-]?[0-9.,]+)+")
_OTHER_SIGN = re.compile(r"[+-]?[0-9.,]+([^\w\s.,+-]|\x01)[+-]?[0-9.,]+(?:\1[+-]?[0-9.,]+)*")
_HINTS = (
    (
        _DECIMAL_COMMA,
        "a comma is a decimal point only where ; separates the columns: write a point, or ;",
    ),
    (_THOUSANDS, "write it without separators of thousands"),
    (_PERCENT, "write it without %"),
    (_TIME, "it looks like a time"),
    (_SEVERAL, "columns are separated by a comma, a semicolon, a tab or a bar, one for all lines"),
)


def clean_name(name: str) -> str:
    """Return the name of a column: without blanks and byte-order mark around it, in Unicode's NFC.

    A letter that is written as two code points is the same name as one that is written as one.
    """
    return unicodedata.normalize("NFC", name).replace("\ufeff", "").strip()


def split_names(names: str) -> tuple[str, ...]:
    """Return the names of an option: commas between them, quotes around one that has commas."""
    text = io.StringIO(names, newline="")
    fields = next(csv.reader(text, skipinitialspace=True), [])
    return tuple(clean_name(field) for field in fields)


def join_names(names: Iterable[str]) -> str:
    """Return the names as an option has them; see `split_names`."""
    text = io.StringIO()
    csv.writer(text).writerow(names)
    return text.getvalue().removesuffix("\r\n")


def parse_cell(text: str) -> float | None:
    """Return the number that a cell of text holds: NaN where it is missing, None where it is none.

    `true` and `false` are 1 and 0. Digits are ASCII, and nothing separates thousands.
    """
    word = text.strip().lower()
    if word in MISSING_WORDS:
        return math.nan
    if _NUMBER.fullmatch(word):
        return float(word)
    return TRUTH_WORDS.get(word)


def parse_value(value: object) -> float | None:
    """Return a value of a table as a number: NaN where it is missing, None where it is none."""
    if isinstance(value, str):
        return parse_cell(value)
    if is_missing(value):
        return math.nan
    if isinstance(value, bool | int | float | Decimal | np.number | np.bool_):
        return to_float(value)
    return None


def is_missing(value: object) -> bool:
    """Whether a value that is no text says that there is none: null, NaN, and pandas' own."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float | Decimal) and math.isnan(value)


def to_float(number: bool | int | float | Decimal | np.number | np.bool_) -> float:
    """Return the number as float64; one with hundreds of digits is infinite."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


class JsonRepr(reprlib.Repr):
    """Shows values in a few letters, and null, true and false as JSON has them."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = _MAX_SHOWN
        self.maxother = _MAX_SHOWN

    def repr(self, x: object) -> str:
        text = super().repr(x)
        return text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}..."

    def repr_NoneType(self, value: None, level: int) -> str:  # noqa: N802
        return "null"

    def repr_bool(self, value: bool, level: int) -> str:
        return "true" if value else "false"


_short = JsonRepr()


def show_value(value: object) -> str:
    """Return a value for a message: a hostile one does not make it long."""
    return _short.repr(value.item() if isinstance(value, np.generic) else value)


def why_no_number(value: object) -> str:
    """Return what is wrong with a value that is no finite number in the range of float32."""
    if is_missing(value):
        return IS_MISSING
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{show_value(value)} {NOT_FINITE}"
    if not isinstance(value, str):
        return f"{show_value(value)} is not a number"
    word = value.strip()
    return f"{show_value(word)} is not a number{_hint(word)}"


def _hint(text: str) -> str:
    for form, advice in _HINTS:
        if form.fullmatch(text.lower()):
            return f" ({advice})"
    others = _OTHER_SIGN.fullmatch(text)
    if others is None:
        return ""
    sign = others[1] if others[1].isprintable() else repr(others[1])[1:-1]
    return f" (if {sign} separates the columns, say so in a first line sep={sign})"


@dataclass(frozen=True)
class CellFlaw:
    """A value that no forest can take: its place in a matrix, and what is wrong with it."""

    row: int
    column: int
    reason: str


def find_flaw(X: Floats, *, allow_missing: bool = False) -> CellFlaw | None:
    """Return the first value of `X` [n, d] that is missing, infinite or beyond float32, if any."""
    largest = max(-X.min(initial=0), X.max(initial=0))
    if largest <= FLOAT32_MAX:  # not so where one is NaN
        return None
    is_good = np.abs(X) <= FLOAT32_MAX
    if allow_missing:
        is_good |= np.isnan(X)
    places = np.argwhere(~is_good)
    if not len(places):
        return None
    row, column = (int(place) for place in places[0])
    return CellFlaw(row, column, why_no_number(float(X[row, column])))
