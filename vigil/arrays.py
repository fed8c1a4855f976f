"""Types of the arrays that cross modules."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Integers = NDArray[np.int32]
Positions = NDArray[np.intp]  # of rows, columns or nodes
Flags = NDArray[np.bool_]
