"""Types of the arrays that cross modules, and arrays as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int32]
Positions = NDArray[np.intp]  # of rows, columns or nodes
Flags = NDArray[np.bool_]


def to_lists(arrays: Mapping[str, Array]) -> dict[str, list[Any]]:
    """Return arrays as plain lists, by name."""
    return {name: array.tolist() for name, array in arrays.items()}
