"""Features over time: what a row is compared with the rows before it.

A transform is declared once and stored in the bundle. Training, the stream consumer and the
service compute it by this one function. A point-wise forest cannot see that a value is ordinary by
itself and odd after the last ten. Sums run row by row in one order, so the same rows give the same
bits, however many are transformed at once.
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
_STEP = re.compile(r"\s*([a-z]+):(\d{1,5})\s*")

Step = tuple[str, int]  # (kind, rows)


@dataclass(frozen=True)
class RollingTransform:
    """From the rows of one entity, oldest first, to the rows of the model.

    names: of the raw features, which the model gets as they are, followed by those of each step;
    steps: (kind, rows): `diff` to the row so many before; `mean`, `sd`, `min`, `max` over so many
    rows, the present one included
    """

    names: tuple[str, ...]
    steps: tuple[Step, ...]

    def __post_init__(self) -> None:
        check_steps(self.steps)

    @classmethod
    def parse(
        cls,
        text: str,
        names: tuple[str, ...],
    ) -> RollingTransform:
        """Return the transform of the features `names` that `text` declares; see parse_steps."""
        return cls(names, parse_steps(text))

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """Features of the model: cpu, .., cpu:mean10, .."""
        rolling = [f"{name}:{kind}{rows}" for kind, rows in self.steps for name in self.names]
        return (*self.names, *rolling)

    @cached_property
    def length(self) -> int:
        """Earlier rows that are needed; of fewer the features are computed over those there are."""
        return max((_rows_before(step) for step in self.steps), default=0)

    def apply(
        self,
        X: Floats,
        past: Floats | None = None,
    ) -> Floats:
        """Return the model's rows [n, D] of consecutive rows `X` [n, d] of one entity.

        `past` [k, d] are the rows before them.
        """
        if past is None:
            past = np.empty((0, X.shape[1]))
        before = past[max(0, len(past) - self.length) :]
        whole = np.concatenate([before, X])
        features = [X]
        for kind, rows in self.steps:
            features.append(_STEPS[kind](whole, rows)[len(before) :])
        return np.hstack(features)

    def row(
        self,
        past: Floats,
        row: Floats,
    ) -> Floats:
        """Return the model's row [D] of one row [d] and those before it [k, d]."""
        return self.apply(row[None, :], past)[0]


def parse_steps(text: str) -> tuple[Step, ...]:
    """Return the steps of a transform as the command line has it, such as `diff:1,mean:10,sd:10`.

    Raises DataError that says how to write them.
    """
    steps = tuple(_parse_step(word, text) for word in text.split(","))
    check_steps(steps)
    return steps


def check_steps(steps: tuple[Step, ...]) -> None:
    """Raise DataError for steps of an unknown kind or length, and for one that is there twice."""
    for kind, rows in steps:
        if kind not in STEP_KINDS or not 1 <= rows <= MAX_LOOKBACK_ROWS:
            kinds = ", ".join(STEP_KINDS)
            raise DataError(
                f"step {kind}:{rows} of the transform: use {kinds}, 1 to {MAX_LOOKBACK_ROWS} rows"
            )
    if len(set(steps)) != len(steps):
        raise DataError("the transform has a step twice")


def _parse_step(word: str, text: str) -> Step:
    match = _STEP.fullmatch(word)
    if match is None:
        kinds = ", ".join(STEP_KINDS)
        raise DataError(
            f"transform {text!r}: write it as diff:1,mean:10,sd:10 ({kinds}, and a number of rows)"
        )
    return match[1], int(match[2])


def _rows_before(step: Step) -> int:
    kind, rows = step
    return rows if kind == "diff" else rows - 1


def _lags(X: Floats, rows: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return `X` below rows - 1 rows of zeros, and the real rows of each window [n, 1]."""
    padding = np.zeros((rows - 1, X.shape[1]))
    padded = np.concatenate([padding, X])
    return padded, np.minimum(np.arange(1, len(X) + 1), rows)[:, None]


def _diff(X: Floats, rows: int) -> Floats:
    """Difference to the row so many before, or the earliest that there is."""
    return X - X[np.maximum(np.arange(len(X)) - rows, 0)]


def _mean(X: Floats, rows: int) -> Floats:
    padded, count = _lags(X, rows)
    total = np.zeros_like(X)
    for lag in range(rows):
        total += padded[lag : lag + len(X)]
    return total / count


def _sd(X: Floats, rows: int) -> Floats:
    padded, count = _lags(X, rows)
    mean = _mean(X, rows)
    total = np.zeros_like(X)
    for lag in range(rows):
        real = (count > rows - 1 - lag).astype(np.float64)
        total += real * (padded[lag : lag + len(X)] - mean) ** 2
    return np.sqrt(total / count)


def _min(X: Floats, rows: int) -> Floats:
    return _extreme(X, rows, np.minimum)


def _max(X: Floats, rows: int) -> Floats:
    return _extreme(X, rows, np.maximum)


def _extreme(
    X: Floats,
    rows: int,
    ufunc: np.ufunc,
) -> Floats:
    extreme = X.copy()
    for lag in range(1, min(rows, len(X))):
        ufunc(extreme[lag:], X[:-lag], out=extreme[lag:])
    return extreme


_STEPS = {
    "diff": _diff,
    "mean": _mean,
    "sd": _sd,
    "min": _min,
    "max": _max,
}
