"""The drift reference of a training window: sorted samples, floors calibrated on contiguous blocks, score percentiles.

Live telemetry is not i.i.d.: a textbook Kolmogorov-Smirnov test flags every window of it. The floors say how far a
contiguous block of the reference itself strays from the rest; only a window that strays further is drift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from train.model.distances import (
    bin_shares,
    ks_distances,
    memory,
    rank_correlation,
    spread,
    ties_distances,
    typical_size,
)
from vigil.arrays import Floats

MIN_FLOOR = 0.08  # a KS distance below this is of no practical size, however significant
MIN_TIES_FLOOR = 0.25  # the same for the change of a feature's rank correlations with all others
MARGIN = 1.2  # floors stand so far above the largest distance that a block of the reference showed
ALONE, TOGETHER = (
    3.0,
    1.8,
)  # of the mean block distance: a Kolmogorov variable is above 3 times it once in 400,000
KOLMOGOROV_MEAN = 0.8687  # of the Kolmogorov distribution
OF_MEMORY, MOST_OF_MEMORY = (
    0.9,
    1.7,
)  # of the distance that the memory of a stream makes expect, and of the one that was seen
TIES_MARGIN, TIES_SPREADS = 1.7, 7.0
MAX_BLOCKS = 20
MIN_BLOCKS = 8  # fewer tell too little of the stream's own restlessness to promise anything
MAX_RAISE = 1.5  # floors are raised by at most so much to keep the budget; more would see nothing
MAX_RUN = 3  # a feature that kept one value for a third of a window may keep it for a whole one
MIN_SHARE = 0.2  # on telemetry that is not i.i.d. fewer drifted features than this share happen by themselves
PSI_BINS = 10


@dataclass(frozen=True)
class Calibration:
    """What the floors promise. budget, expected: false episodes per 1000 windows, wanted and to be expected from how far the
    blocks strayed; promised: whether the reference was long and steady enough; note: why not, for people."""

    budget: float
    expected: float
    promised: bool
    note: str


@dataclass(frozen=True)
class Reference:
    """What live windows are compared with.

    samples   [n, d]  each column sorted
    floors    [d]     KS distances up to here are ordinary for this feature
    allowed           so many features over their floor at once are ordinary
    alone     [d]     a KS distance above this is drift, were it in one feature only
    ties      [d, d]  Spearman's rank correlation;   ties_floors [d]: changes of a feature's row up to here are ordinary
    median    [d], scale [d]   robust centre and spread (IQR / 1.349, else sd, else 1)
    can_stick [d]     True where no value stood for a third of a window: a constant window is then a stuck sensor
    scores    [101]   percentiles of the anomaly score;   score_floor: KS distance of scores up to here is ordinary
    window_rows       rows of a window that these floors are for
    blocks            blocks they were calibrated on
    """

    names: tuple[str, ...]
    samples: Floats
    floors: Floats
    alone: Floats
    allowed: int
    ties: Floats
    ties_floors: Floats
    median: Floats
    scale: Floats
    can_stick: NDArray[np.bool_]
    scores: Floats
    score_floor: float
    window_rows: int
    blocks: int
    calibration: Calibration

    @cached_property
    def columns(self) -> Floats:
        """`samples`, feature by feature [d, n]: each lies together in memory, or every search in it would copy it."""
        return np.ascontiguousarray(self.samples.T)

    def of_window(self, rows: int) -> Reference:
        """For a window of fewer rows: its distances are larger by themselves, by the root of how many fewer. Those of
        correlations `drift/statistics.py` scales itself."""
        if rows >= self.window_rows:
            return self
        by = np.sqrt(self.window_rows / max(rows, 1))
        return replace(
            self,
            floors=np.minimum(self.floors * by, 1.0),
            alone=np.minimum(self.alone * by, 1.0),
            score_floor=min(1.0, self.score_floor * float(by)),
        )

    @cached_property
    def sd(self) -> Floats:
        """Standard deviation [d], 1 where a feature is constant."""
        sd = self.samples.std(axis=0)
        return np.where(sd > 0, sd, 1.0)

    @cached_property
    def size(self) -> Floats:
        """Median [d] of the absolute values that are not zero; 0 where all are: what a change of unit multiplies."""
        return typical_size(self.samples)

    @cached_property
    def bins(self) -> list[tuple[Floats, Floats]]:
        """For each feature the inner edges of its decile bins, and the shares of the reference in them."""
        made = []
        for column in self.samples.T:
            edges = np.unique(np.quantile(column, np.linspace(0, 1, PSI_BINS + 1)[1:-1]))
            made.append((edges, bin_shares(edges, column)))
        return made


class _Blocks(NamedTuple):
    """What contiguous blocks show against all other rows. ks, ties [blocks, d]; constant [d]: kept one value for long;
    expected [d]: mean KS distance of a block by the stream's own memory."""

    ks: Floats
    ties: Floats
    constant: NDArray[np.bool_]
    expected: Floats


def build(
    X: Floats,
    names: tuple[str, ...],
    scores: Floats,
    *,
    window_rows: int,
    max_rows: int = 10_000,
    prior: Reference | None = None,
    budget: float = 1.0,
) -> Reference:
    """Build the reference of the rows `X` [n, d], in time order, with their anomaly scores [n].

    `budget` is in false episodes per 1000 windows. `prior` is the reference before it: how much the stream wanders is a
    property of the stream, which a short window of new rows cannot show, so floors never fall below the prior's.
    """
    blocks = _cut(X, window_rows)
    floors, alone, ties_floors = _floors(blocks, X.shape[1])
    allowed = _ordinary_count(blocks.ks)
    if (floors > MIN_FLOOR).any():
        allowed = max(allowed, int(np.ceil(MIN_SHARE * X.shape[1])) - 1)
    raised, calibration = _calibrate(
        blocks, allowed, budget, short=len(X) < MIN_BLOCKS * window_rows
    )
    floors, alone, ties_floors = (
        np.where(floor > least, floor * raised, floor)
        for floor, least in ((floors, MIN_FLOOR), (alone, MIN_FLOOR), (ties_floors, MIN_TIES_FLOOR))
    )
    score_floor = float(
        min(1.0, max(MIN_FLOOR, MARGIN * _cut(scores[:, None], window_rows).ks.max(initial=0)))
    )
    if prior is not None and prior.names == names:
        floors, alone, allowed = (
            np.maximum(floors, prior.floors),
            np.maximum(alone, prior.alone),
            max(allowed, prior.allowed),
        )
        ties_floors, score_floor = (
            np.maximum(ties_floors, prior.ties_floors),
            max(score_floor, prior.score_floor),
        )
    kept = X if len(X) <= max_rows else X[np.linspace(0, len(X) - 1, max_rows).astype(int)]
    return Reference(
        names,
        np.sort(kept, axis=0),
        np.minimum(floors, 1.0),
        np.minimum(alone, 1.0),
        allowed,
        rank_correlation(kept),
        ties_floors,
        np.median(X, axis=0),
        spread(X),
        ~blocks.constant,
        np.percentile(scores, np.arange(101)),
        score_floor,
        window_rows,
        len(blocks.ks),
        calibration,
    )


def _cut(X: Floats, window_rows: int) -> _Blocks:
    """Compare contiguous blocks of `X` with all rows outside them."""
    n, d = X.shape
    rows = min(
        window_rows, max(n // 4, 1)
    )  # a short reference is cut finer: its distances are larger, never smaller
    count = min(MAX_BLOCKS, n // rows)
    expected = KOLMOGOROV_MEAN * np.sqrt(
        np.array([memory(column) for column in X.T]) * (1 / rows + 1 / n)
    )
    if count < 2:
        return _Blocks(np.zeros((0, d)), np.zeros((0, d)), np.zeros(d, bool), expected)
    ks, ties, constant = (
        [],
        [],
        np.array([_longest_run(column) * MAX_RUN >= rows for column in X.T]),
    )
    thin = max(1, n // 5000)  # enough rows for a correlation
    for start in np.linspace(0, n - rows, count).astype(int):
        block = X[start : start + rows]
        rest = np.concatenate([X[:start], X[start + rows :]])
        ties.append(ties_distances(rank_correlation(rest[::thin]), rank_correlation(block)))
        ks.append(ks_distances(np.sort(rest, axis=0), block))
    return _Blocks(np.array(ks), np.array(ties), constant, expected)


def _longest_run(column: Floats) -> int:
    """Most rows in sequence that have one value."""
    changes = np.flatnonzero(np.concatenate([[True], np.diff(column) != 0, [True]]))
    return int(np.diff(changes).max())


def _floors(blocks: _Blocks, d: int) -> tuple[Floats, Floats, Floats]:
    """floors, alone and ties_floors, [d] each, before the budget is looked at."""
    if not len(blocks.ks):
        return np.full(d, MIN_FLOOR), np.full(d, MIN_FLOOR), np.full(d, np.sqrt(d))
    # Few blocks may by chance be nearer than blocks of this stream are; its memory is known better than their mean.
    seen = blocks.ks.mean(axis=0)
    mean = np.clip(OF_MEMORY * blocks.expected, seen, MOST_OF_MEMORY * seen)
    floors = np.maximum(MIN_FLOOR, np.maximum(MARGIN * blocks.ks.max(axis=0), TOGETHER * mean))
    alone = np.maximum(floors, ALONE * mean)
    usual = blocks.ties.mean(axis=0) + TIES_SPREADS * blocks.ties.std(axis=0)
    return (
        floors,
        alone,
        np.maximum(MIN_TIES_FLOOR, np.maximum(TIES_MARGIN * blocks.ties.max(axis=0), usual)),
    )


def _calibrate(
    blocks: _Blocks, allowed: int, budget: float, *, short: bool
) -> tuple[float, Calibration]:
    """By how much floors must be raised to keep the budget, and what they promise then.

    Each block is judged with floors made from the others. The logarithm of how near it came to drift is taken for normal, and
    the next window for another such block (a t prediction interval, because the blocks are few). An episode needs two
    drifted windows of three (drift/governor.py): with a share q of windows over their floors by themselves about
    3 q^2 of the windows open one.
    """
    near, q = _nearness(blocks, allowed), float(np.sqrt(budget / 3000))
    if len(near) < 3:
        return 1.0, Calibration(
            budget, 1000.0, False, "the reference is too short to calibrate: give it more rows"
        )
    log, freedom = np.log(near), len(near) - 1
    spread = float(log.std(ddof=1) * np.sqrt(1 + 1 / len(log))) or 1e-9
    wanted = float(np.exp(log.mean() + spread * stdtrit(freedom, 1 - q)))
    raised = float(np.clip(wanted, 1.0, MAX_RAISE))
    beyond = float(stdtr(freedom, (log.mean() - np.log(raised)) / spread))
    expected = min(1000.0, 3000 * beyond**2)
    note = (
        ""
        if expected <= budget * 1.001
        else "the stream strays further by itself than the floors may be raised"
    )
    if short:
        note = (
            f"the reference is shorter than {MIN_BLOCKS} windows: too short to promise the budget"
        )
    return raised, Calibration(budget, round(expected, 3), not note, note)


def _nearness(blocks: _Blocks, allowed: int) -> Floats:
    """For each block how near it comes to being drift over floors made from the *other* blocks; 1 is drift."""
    near = []
    for i in range(len(blocks.ks)):
        others = blocks._replace(
            ks=np.delete(blocks.ks, i, axis=0), ties=np.delete(blocks.ties, i, axis=0)
        )
        floors, alone, ties_floors = _floors(others, blocks.ks.shape[1])
        near.append(nearness(blocks.ks[i], blocks.ties[i], floors, alone, ties_floors, allowed))
    return np.array(near)


def nearness(
    ks: Floats, ties: Floats, floors: Floats, alone: Floats, ties_floors: Floats, allowed: int
) -> float:
    """How near a window comes to drift, 1 and above is drift: by one feature alone, by more features over their floors than
    are allowed, or by two features whose correlations have moved (one alone cannot)."""
    ranked = np.sort(ks / floors)[::-1]
    together = ranked[min(allowed, len(ranked) - 1)] if allowed < len(ranked) else 0.0
    moved = np.sort(ties / ties_floors)[::-1]
    return float(max((ks / alone).max(), together, moved[1] if len(moved) > 1 else 0.0, 1e-6))


def _ordinary_count(distances: Floats) -> int:
    """How many features at once a block shows over floors made from the *other* blocks, in two blocks of any three.

    Two of three is the debounce that drift must pass (drift/governor.py), so this calibrates the whole rule.
    """
    counts = []
    for i in range(len(distances)):
        floors = np.maximum(
            MIN_FLOOR, MARGIN * np.delete(distances, i, axis=0).max(axis=0, initial=0)
        )
        counts.append(int((distances[i] >= floors).sum()))
    return max((sorted(counts[i : i + 3])[-2] for i in range(len(counts) - 2)), default=0)


def to_arrays(reference: Reference) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """The reference as arrays and as plain JSON values."""
    arrays = {key: np.ascontiguousarray(getattr(reference, key)) for key in ARRAYS}
    plain = {key: getattr(reference, key) for key in PLAIN}
    return arrays, {
        **plain,
        "names": list(reference.names),
        "calibration": vars(reference.calibration),
    }


ARRAYS = (
    "samples",
    "floors",
    "alone",
    "ties",
    "ties_floors",
    "median",
    "scale",
    "can_stick",
    "scores",
)
PLAIN: dict[str, type] = {"allowed": int, "window_rows": int, "blocks": int, "score_floor": float}


def from_arrays(arrays: dict[str, NDArray[Any]], plain: dict[str, Any]) -> Reference:
    """The inverse of `to_arrays`; raises KeyError or TypeError on a missing part."""
    parts: dict[str, Any] = {key: arrays[key] for key in ARRAYS}
    parts |= {key: kind(plain[key]) for key, kind in PLAIN.items()}
    return Reference(
        names=tuple(plain["names"]), calibration=Calibration(**plain["calibration"]), **parts
    )
