"""Features over time: what a row is compared with the rows before it. Declared once, stored in the bundle, and computed by this
one function in training, in the stream consumer and behind the service's door.

A point-wise forest cannot see that a value is ordinary by itself and odd after the last ten. Sums run row by row in one order,
so the same rows give the same bits, however many are transformed at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vigil.arrays import Floats
from vigil.errors import DataError

STEP_KINDS = ("diff", "mean", "sd", "min", "max")
MAX_LOOKBACK_ROWS = 1440


@dataclass(frozen=True)
class Transform:
    """From the rows of one entity, oldest first, to the model's rows: the features `names` as they are, then each step's.

    steps: (kind, rows): `diff` to the row so many before; `mean`, `sd`, `min`, `max` over so many rows, the present one included
    """

    names: tuple[str, ...]
    steps: tuple[tuple[str, int], ...]

    def __post_init__(self) -> None:
        for kind, rows in self.steps:
            if kind not in STEP_KINDS or not 1 <= rows <= MAX_LOOKBACK_ROWS:
                raise DataError(
                    f"step {kind}:{rows} of the transform: use {', '.join(STEP_KINDS)}, 1 to {MAX_LOOKBACK_ROWS} rows"
                )
        if len(set(self.steps)) != len(self.steps):
            raise DataError("the transform has a step twice")

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The model's features: cpu, .., cpu:mean10, .."""
        return (
            *self.names,
            *(f"{name}:{kind}{rows}" for kind, rows in self.steps for name in self.names),
        )

    @cached_property
    def length(self) -> int:
        """So many earlier rows are needed; of fewer the features are computed over those that there are."""
        return max((rows if kind == "diff" else rows - 1 for kind, rows in self.steps), default=0)

    def apply(self, X: Floats, past: Floats | None = None) -> Floats:
        """The model's rows [n, D] of consecutive rows `X` [n, d] of one entity, `past` [k, d] being those before them."""
        before = (
            np.empty((0, X.shape[1])) if past is None else past[max(0, len(past) - self.length) :]
        )
        whole = np.concatenate([before, X])
        return np.hstack(
            [X, *(_STEPS[kind](whole, rows)[len(before) :] for kind, rows in self.steps)]
        )

    def row(self, past: Floats, row: Floats) -> Floats:
        """The model's row [D] of one row [d] and those before it [k, d]."""
        return self.apply(row[None, :], past)[0]


def parse(text: str, names: tuple[str, ...]) -> Transform:
    """A transform as the command line has it, such as `diff:1,mean:10,sd:10`."""
    steps = []
    for word in text.split(","):
        found = re.fullmatch(r"\s*([a-z]+):(\d{1,5})\s*", word)
        if found is None:
            raise DataError(
                f"transform {text!r}: write it as diff:1,mean:10,sd:10 ({', '.join(STEP_KINDS)}, and a number of rows)"
            )
        steps.append((found[1], int(found[2])))
    return Transform(names, tuple(steps))


def _lags(X: Floats, rows: int) -> tuple[Floats, NDArray[np.int64]]:
    """`X` with rows - 1 rows of zeros before it, and how many real rows the window that ends at each row holds, [n, 1]."""
    padded = np.concatenate([np.zeros((rows - 1, X.shape[1])), X])
    return padded, np.minimum(np.arange(1, len(X) + 1), rows)[:, None]


def _diff(X: Floats, rows: int) -> Floats:
    """To the row so many before, or the earliest that there is."""
    return X - X[np.maximum(np.arange(len(X)) - rows, 0)]


def _mean(X: Floats, rows: int) -> Floats:
    padded, count = _lags(X, rows)
    total = np.zeros_like(X)
    for lag in range(rows):
        total += padded[lag : lag + len(X)]
    return total / count


def _sd(X: Floats, rows: int) -> Floats:
    padded, count = _lags(X, rows)
    mean, total = _mean(X, rows), np.zeros_like(X)
    for lag in range(rows):
        real = (count > rows - 1 - lag).astype(np.float64)
        total += real * (padded[lag : lag + len(X)] - mean) ** 2
    return np.sqrt(total / count)


def _extreme(X: Floats, rows: int, ufunc: np.ufunc) -> Floats:
    worst = X.copy()
    for lag in range(1, min(rows, len(X))):
        ufunc(worst[lag:], X[:-lag], out=worst[lag:])
    return worst


_STEPS = {
    "diff": _diff,
    "mean": _mean,
    "sd": _sd,
    "min": lambda X, rows: _extreme(X, rows, np.minimum),
    "max": lambda X, rows: _extreme(X, rows, np.maximum),
}
