"""Values of a JSON body: numbers that no float holds, and how a message shows what was sent. Pure.

Every reader of bodies and of records uses them, so that all say the same.
"""

from __future__ import annotations

import math
from typing import Any

from train.table.cells import JsonRepr


class OutOfRangeNumber(str):
    """A number that is larger than a float can be, as it was sent: it is refused where it is."""

    def __repr__(self) -> str:
        return str(self)


def read_float(text: str) -> float | OutOfRangeNumber:
    """Return the number of a literal; a `float_hook` of decoders whose values have no type."""
    number = float(text)
    if math.isinf(number):
        return OutOfRangeNumber(text)
    return number


class _SentRepr(JsonRepr):
    def repr_OutOfRangeNumber(self, value: OutOfRangeNumber, level: int) -> str:  # noqa: N802
        return self.repr_instance(value, level)


_short = _SentRepr()


def abbreviate(value: Any) -> str:
    """Return what the caller sent for an error message; a hostile value does not make it long."""
    return _short.repr(value)
