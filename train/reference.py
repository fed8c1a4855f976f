"""The drift reference of a training window: sorted samples, floors calibrated on contiguous blocks, score histogram.

Live telemetry is not i.i.d.: a textbook Kolmogorov-Smirnov test flags every window of it. The floors say how far a
contiguous block of the reference itself strays from the rest; only a window that strays further is drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_FLOOR = 0.10  # a KS distance below this is of no practical size, however significant
MARGIN = 1.2  # floors stand so far above the largest distance that a block of the reference showed
MAX_BLOCKS = 20
MIN_SHARE = 0.2  # on telemetry that is not i.i.d. fewer drifted features than this share happen by themselves


def ks_distances(reference: Floats, window: Floats) -> Floats:
    """Two-sample Kolmogorov-Smirnov distance [d] of each column of `window` [m, d] to the presorted `reference` [n, d]."""
    return np.array([_ks_distance(reference[:, j], np.sort(window[:, j])) for j in range(reference.shape[1])])


def _ks_distance(a: Floats, b: Floats) -> float:
    # The distance between two step functions is greatest at a step; ties need the right side of both.
    points = np.concatenate([a, b])
    return float(np.abs(
        np.searchsorted(a, points, side="right") / len(a) - np.searchsorted(b, points, side="right") / len(b)
    ).max())  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """What live windows are compared with.

    samples   [n, d]  each column sorted
    floors    [d]     KS distances up to here are ordinary for this feature
    allowed           so many features over their floor at once are ordinary
    median    [d], scale [d]   robust centre and spread (IQR / 1.349, else sd, else 1)
    can_stick [d]     True where no block of the reference was constant: a constant window is then a stuck sensor
    scores    [101]   percentiles of the anomaly score
    window_rows       rows of a window that these floors are for
    blocks            blocks they were calibrated on; fewer than 4 promise little
    """

    names: tuple[str, ...]
    samples: Floats
    floors: Floats
    allowed: int
    median: Floats
    scale: Floats
    can_stick: NDArray[np.bool_]
    scores: Floats
    window_rows: int
    blocks: int


def build(
    X: Floats, names: tuple[str, ...], scores: Floats, *, window_rows: int, max_rows: int = 10_000,
    prior: Reference | None = None,
) -> Reference:  # fmt: skip
    """Build the reference of the rows `X` [n, d], in time order, with their anomaly scores [n].

    `prior` is the reference before it: how much the stream wanders is a property of the stream, which a short window of
    new rows cannot show, so floors never fall below the prior's.
    """
    distances, constant = _block_distances(X, window_rows)
    floors = np.maximum(MIN_FLOOR, MARGIN * distances.max(axis=0, initial=0))
    allowed = _ordinary_count(distances)
    if (floors > MIN_FLOOR).any():
        allowed = max(allowed, int(np.ceil(MIN_SHARE * X.shape[1])) - 1)
    if prior is not None and prior.names == names:
        floors, allowed = np.maximum(floors, prior.floors), max(allowed, prior.allowed)
    kept = X if len(X) <= max_rows else X[np.linspace(0, len(X) - 1, max_rows).astype(int)]
    low, median, high = np.percentile(X, [25, 50, 75], axis=0)
    sd = X.std(axis=0)
    scale = np.where(high > low, (high - low) / 1.349, np.where(sd > 0, sd, 1.0))
    return Reference(
        names, np.sort(kept, axis=0), np.minimum(floors, 1.0), allowed, median, scale, ~constant,
        np.percentile(scores, np.arange(101)), window_rows, len(distances),
    )  # fmt: skip


def _block_distances(X: Floats, window_rows: int) -> tuple[Floats, NDArray[np.bool_]]:
    """KS distances [blocks, d] of contiguous blocks to all other rows, and which features were constant in a block."""
    n = len(X)
    rows = min(window_rows, max(n // 4, 1))  # a short reference is cut finer: its distances are larger, never smaller
    count = min(MAX_BLOCKS, n // rows)
    if count < 2:
        return np.zeros((0, X.shape[1])), np.zeros(X.shape[1], bool)
    distances, constant = [], np.zeros(X.shape[1], bool)
    for start in np.linspace(0, n - rows, count).astype(int):
        block = X[start : start + rows]
        rest = np.sort(np.concatenate([X[:start], X[start + rows :]]), axis=0)
        distances.append(ks_distances(rest, block))
        constant |= np.ptp(block, axis=0) == 0
    return np.array(distances), constant


def _ordinary_count(distances: Floats) -> int:
    """How many features at once a block shows over floors made from the *other* blocks, in two blocks of any three.

    Two of three is the debounce that drift must pass (drift/governor.py), so this calibrates the whole rule.
    """
    counts = []
    for i in range(len(distances)):
        floors = np.maximum(MIN_FLOOR, MARGIN * np.delete(distances, i, axis=0).max(axis=0, initial=0))
        counts.append(int((distances[i] >= floors).sum()))
    return max((sorted(counts[i : i + 3])[-2] for i in range(len(counts) - 2)), default=0)


def to_arrays(reference: Reference) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The reference as arrays and as plain JSON values."""
    arrays = {key: np.ascontiguousarray(getattr(reference, key)) for key in ARRAYS}
    plain = {
        "names": list(reference.names),
        "allowed": reference.allowed,
        "window_rows": reference.window_rows,
        "blocks": reference.blocks,
    }
    return arrays, plain


ARRAYS = ("samples", "floors", "median", "scale", "can_stick", "scores")


def from_arrays(arrays: dict[str, NDArray[Any]], plain: dict[str, Any]) -> Reference:
    """The inverse of `to_arrays`; raises KeyError or TypeError on a missing part."""
    parts: dict[str, Any] = {key: arrays[key] for key in ARRAYS}
    parts |= {key: int(plain[key]) for key in ("allowed", "window_rows", "blocks")}
    return Reference(names=tuple(plain["names"]), **parts)
