"""Floors of a drift reference: how far contiguous blocks of it stray from the rest by themselves.

Live telemetry is not i.i.d.: a textbook Kolmogorov-Smirnov test flags every window of it. Only
a window that strays further than blocks of the reference did is drift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from train.model.distances import (
    autocorrelation_time,
    correlation_shifts,
    ks_distances,
    rank_correlation,
)
from vigil.arrays import Floats

MIN_FLOOR = 0.08  # a KS distance below this is of no practical size, however significant
MIN_CORRELATION_FLOOR = 0.25  # the same for the shift of a feature's rank correlations
MAX_RAISE = 1.5  # floors are raised by at most so much to keep the budget; more would see nothing
MIN_BLOCKS = 8  # fewer tell too little of the stream's own restlessness to promise anything
_MAX_BLOCKS = 20
_MIN_BLOCKS_OF_PREDICTION = 3

# Floors stand so far above the largest distance that a block of the reference showed.
_MARGIN = 1.2
_CORRELATION_MARGIN = 1.7
_CORRELATION_DEVIATIONS = 7.0  # and so many standard deviations above the mean shift

# Floors as multiples of the mean block distance, for features that drift together and for one
# by itself. A Kolmogorov variable is above 3 times its mean once in 400,000.
_TOGETHER = 1.8
_SINGLE = 3.0
_KOLMOGOROV_MEAN = 0.8687  # of the Kolmogorov distribution: sqrt(pi / 2) * log(2)

# The mean block distance that is believed: at least the first share of what the autocorrelation
# of the stream makes expect, at most the second multiple of what was observed.
_EXPECTED_SHARE = 0.9
_MAX_OBSERVED_MULTIPLE = 1.7

_MAX_CORRELATION_ROWS = 5000  # enough for a correlation
_LONG_RUN_SHARE = 3  # a feature that kept one value for a third of a window may for a whole one
# On telemetry that is not i.i.d. fewer drifted features than this share happen by themselves.
_ORDINARY_SHARE = 0.2

# An episode needs two drifted windows of three (drift/governor.py). With a share q of windows
# over their floors about 3 q^2 of the windows open one.
_EPISODES_PER_1000 = 3000
_TOO_SHORT_TO_CALIBRATE = "the reference is too short to calibrate: give it more rows"
_TOO_SHORT = f"the reference is shorter than {MIN_BLOCKS} windows: too short to promise the budget"
_TOO_RESTLESS = "the stream strays further by itself than the floors may be raised"


@dataclass(frozen=True)
class Calibration:
    """Promise of the floors.

    budget: false episodes per 1000 windows that are wanted
    expected: those to be expected from how far the blocks strayed
    promised: whether the reference was long and steady enough to promise the budget
    note: why it was not, for people
    """

    budget: float
    expected: float
    promised: bool
    note: str


@dataclass(frozen=True)
class BlockDistances:
    """Distances of contiguous blocks of a series to all rows outside them.

    ks                [blocks, d]  Kolmogorov-Smirnov distance of each feature
    correlation_shift [blocks, d]  shift of each feature's rank correlations with all others
    has_long_run      [d]          a feature kept one value for a third of a block
    expected_ks       [d]          mean KS distance of a block by the stream's autocorrelation
    """

    ks: Floats
    correlation_shift: Floats
    has_long_run: NDArray[np.bool_]
    expected_ks: Floats

    def __len__(self) -> int:
        return len(self.ks)

    @property
    def features(self) -> int:
        return self.ks.shape[1]

    def without(self, block: int) -> BlockDistances:
        """Return the distances of all other blocks."""
        return replace(
            self,
            ks=np.delete(self.ks, block, axis=0),
            correlation_shift=np.delete(self.correlation_shift, block, axis=0),
        )


@dataclass(frozen=True)
class Floors:
    """Distances up to which a window is ordinary.

    ks             [d]  of a feature, together with others
    single_feature [d]  of a feature by itself: above this it is drift, were it the only one
    correlation    [d]  of a feature's rank correlations with all others
    max_features_over_floor: so many features over their `ks` floor at once are ordinary
    """

    ks: Floats
    single_feature: Floats
    correlation: Floats
    max_features_over_floor: int = 0

    def nearness(self, ks: Floats, correlation_shift: Floats) -> float:
        """Return how near a window with these distances [d] comes to drift; 1 and above is drift.

        It is drift by one feature alone, by more features over their floors than are ordinary,
        or by two features whose correlations have moved (one alone cannot).
        """
        single = (ks / self.single_feature).max()
        together = _nth_largest(ks / self.ks, self.max_features_over_floor)
        correlated = _nth_largest(correlation_shift / self.correlation, 1)
        return float(max(single, together, correlated, 1e-6))

    def raised(self, factor: float) -> Floors:
        """Return the floors raised by a factor, but those that are at their minimum."""
        return replace(
            self,
            ks=_raise_above(self.ks, MIN_FLOOR, factor),
            single_feature=_raise_above(self.single_feature, MIN_FLOOR, factor),
            correlation=_raise_above(self.correlation, MIN_CORRELATION_FLOOR, factor),
        )

    def capped(self) -> Floors:
        """Return the floors with KS distances of at most 1, which none exceeds."""
        return replace(
            self,
            ks=np.minimum(self.ks, 1.0),
            single_feature=np.minimum(self.single_feature, 1.0),
        )


@dataclass(frozen=True)
class _NextBlock:
    """Prediction of how near the next block comes to drift.

    The logarithm of the nearness is taken for normal, and the next window for another such
    block: a t prediction interval, because the blocks are few (Hahn and Meeker, Statistical
    Intervals, 1991, chapter 4).
    """

    mean: float
    deviation: float
    freedom: int

    @classmethod
    def after(cls, nearness: Floats) -> _NextBlock:
        """Return the prediction from the nearness [blocks] of the blocks before."""
        logs = np.log(nearness)
        deviation = float(logs.std(ddof=1) * np.sqrt(1 + 1 / len(logs)))
        return cls(logs.mean(), deviation or 1e-9, len(logs) - 1)

    def quantile(self, share: float) -> float:
        """Return the nearness that the next block stays below with probability `share`."""
        return float(np.exp(self.mean + self.deviation * stdtrit(self.freedom, share)))

    def exceedance(self, nearness: float) -> float:
        """Return the probability that the next block is above `nearness`."""
        distance = (self.mean - np.log(nearness)) / self.deviation
        return float(stdtr(self.freedom, distance))


def measure_blocks(X: Floats, window_rows: int) -> BlockDistances:
    """Compare contiguous blocks of `X` [n, d] of at most `window_rows` with all other rows."""
    n, d = X.shape
    # A short reference is cut finer: its distances are larger, never smaller.
    rows = min(window_rows, max(n // 4, 1))
    count = min(_MAX_BLOCKS, n // rows)
    expected = _expected_ks(X, rows)
    if count < 2:
        none = np.zeros((0, d))
        return BlockDistances(none, none, np.zeros(d, bool), expected)
    starts = np.linspace(0, n - rows, count).astype(int)
    distances = [_compare_block(X, start, rows) for start in starts]
    return BlockDistances(
        ks=np.array([ks for ks, _ in distances]),
        correlation_shift=np.array([shift for _, shift in distances]),
        has_long_run=_has_long_run(X, rows),
        expected_ks=expected,
    )


def calibrate_floors(
    blocks: BlockDistances, budget: float, *, is_short: bool
) -> tuple[Floors, Calibration]:
    """Return floors that keep the budget, and what they promise.

    `budget` is in false episodes per 1000 windows. Each block is judged with floors made from
    the other blocks, and the floors are raised until the next block is predicted to keep it.
    """
    floors = _with_ordinary_count(_floors(blocks), blocks)
    nearness = _nearness_to_others(blocks, floors.max_features_over_floor)
    if len(nearness) < _MIN_BLOCKS_OF_PREDICTION:
        return floors.capped(), Calibration(budget, 1000.0, False, _TOO_SHORT_TO_CALIBRATE)
    prediction = _NextBlock.after(nearness)
    needed = prediction.quantile(1 - float(np.sqrt(budget / _EPISODES_PER_1000)))
    factor = float(np.clip(needed, 1.0, MAX_RAISE))
    expected = min(1000.0, _EPISODES_PER_1000 * prediction.exceedance(factor) ** 2)
    note = _shortcoming(expected, budget, is_short=is_short)
    calibration = Calibration(budget, round(expected, 3), promised=not note, note=note)
    return floors.raised(factor).capped(), calibration


def score_floor(scores: Floats, window_rows: int) -> float:
    """Return the KS distance of anomaly scores [n] up to which a window is ordinary."""
    blocks = measure_blocks(scores[:, None], window_rows)
    return float(min(1.0, max(MIN_FLOOR, _MARGIN * blocks.ks.max(initial=0))))


def _expected_ks(X: Floats, rows: int) -> Floats:
    """Mean KS distance [d] of a block of so many rows to `X` [n, d]."""
    times = np.array([autocorrelation_time(column) for column in X.T])
    return _KOLMOGOROV_MEAN * np.sqrt(times * (1 / rows + 1 / len(X)))


def _compare_block(X: Floats, start: int, rows: int) -> tuple[Floats, Floats]:
    """KS distances [d] and correlation shifts [d] of one block to the rows outside it."""
    block = X[start : start + rows]
    rest = np.concatenate([X[:start], X[start + rows :]])
    thinned = rest[:: max(1, len(X) // _MAX_CORRELATION_ROWS)]
    shifts = correlation_shifts(rank_correlation(thinned), rank_correlation(block))
    return ks_distances(np.sort(rest, axis=0), block), shifts


def _has_long_run(X: Floats, rows: int) -> NDArray[np.bool_]:
    """Whether each feature kept one value for a third of a block."""
    return np.array([_longest_run(column) * _LONG_RUN_SHARE >= rows for column in X.T])


def _longest_run(column: Floats) -> int:
    """Most rows in sequence that have one value."""
    changes = np.concatenate([[True], np.diff(column) != 0, [True]])
    return int(np.diff(np.flatnonzero(changes)).max())


def _floors(blocks: BlockDistances) -> Floors:
    """Floors by the distances of the blocks, before the budget is looked at."""
    d = blocks.features
    if not len(blocks):
        lowest = np.full(d, MIN_FLOOR)
        return Floors(lowest, lowest, np.full(d, np.sqrt(d)))
    mean = _mean_ks(blocks)
    highest = np.maximum(_MARGIN * blocks.ks.max(axis=0), _TOGETHER * mean)
    ks = np.maximum(MIN_FLOOR, highest)
    return Floors(ks, np.maximum(ks, _SINGLE * mean), _correlation_floors(blocks))


def _mean_ks(blocks: BlockDistances) -> Floats:
    """Mean KS distance [d] of the blocks.

    Few blocks may by chance be nearer than blocks of this stream are; its autocorrelation is
    known better than their mean.
    """
    observed = blocks.ks.mean(axis=0)
    expected = _EXPECTED_SHARE * blocks.expected_ks
    return np.clip(expected, observed, _MAX_OBSERVED_MULTIPLE * observed)


def _correlation_floors(blocks: BlockDistances) -> Floats:
    shift = blocks.correlation_shift
    usual = shift.mean(axis=0) + _CORRELATION_DEVIATIONS * shift.std(axis=0)
    highest = np.maximum(_CORRELATION_MARGIN * shift.max(axis=0), usual)
    return np.maximum(MIN_CORRELATION_FLOOR, highest)


def _with_ordinary_count(floors: Floors, blocks: BlockDistances) -> Floors:
    """The floors with the count of features that are over them at once by themselves."""
    count = _ordinary_count(blocks.ks)
    if (floors.ks > MIN_FLOOR).any():
        share = int(np.ceil(_ORDINARY_SHARE * blocks.features)) - 1
        count = max(count, share)
    return replace(floors, max_features_over_floor=count)


def _ordinary_count(ks: Floats) -> int:
    """Most features at once that are over floors from the *other* blocks, in two blocks of three.

    Two of three is the debounce that drift must pass (drift/governor.py), so this calibrates the
    whole rule.
    """
    counts = [_count_over_others(ks, block) for block in range(len(ks))]
    triples = zip(counts, counts[1:], counts[2:], strict=False)
    return max((sorted(triple)[1] for triple in triples), default=0)


def _count_over_others(ks: Floats, block: int) -> int:
    largest = np.delete(ks, block, axis=0).max(axis=0, initial=0)
    floors = np.maximum(MIN_FLOOR, _MARGIN * largest)
    return int((ks[block] >= floors).sum())


def _nearness_to_others(blocks: BlockDistances, max_features_over_floor: int) -> Floats:
    """For each block how near it comes to drift over floors made from the *other* blocks."""
    nearness = []
    for block in range(len(blocks)):
        floors = _floors(blocks.without(block))
        floors = replace(floors, max_features_over_floor=max_features_over_floor)
        nearness.append(floors.nearness(blocks.ks[block], blocks.correlation_shift[block]))
    return np.array(nearness)


def _shortcoming(expected: float, budget: float, *, is_short: bool) -> str:
    """Why the budget cannot be promised; empty where it can."""
    if is_short:
        return _TOO_SHORT
    if expected > budget * 1.001:
        return _TOO_RESTLESS
    return ""


def _raise_above(floors: Floats, lowest: float, factor: float) -> Floats:
    return np.where(floors > lowest, floors * factor, floors)


def _nth_largest(ratios: Floats, n: int) -> float:
    """The value that `n` others are above; 0 where there are not so many."""
    if n >= len(ratios):
        return 0.0
    return np.sort(ratios)[::-1][n]
