"""Floors of a drift reference: how far contiguous blocks of it stray from the rest by themselves.

Live telemetry is not i.i.d.: a textbook Kolmogorov-Smirnov test flags every window of it. Only
a window that strays further than blocks of the reference did is drift.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

from train.model.blocks import BlockDistances, cut_blocks, measure_blocks, rows_without
from vigil.arrays import Floats

MIN_FLOOR = 0.08  # a KS distance below this is of no practical size, however significant
MIN_CORRELATION_FLOOR = 0.25  # the same for the shift of a feature's rank correlations
MAX_RAISE = 1.5  # floors are raised by at most so much to keep the budget; more would see nothing
MIN_BLOCKS = 8  # fewer tell too little of the stream's own restlessness to promise anything
_MIN_PREDICTING_BLOCKS = 3

# Floors stand so far above the largest distance that a block of the reference showed.
_MARGIN = 1.2
_CORRELATION_MARGIN = 1.7
_CORRELATION_DEVIATIONS = 7.0  # and so many standard deviations above the mean shift

# Floors as multiples of the mean block distance, for features that drift together and for one
# by itself. A Kolmogorov variable is above 3 times its mean once in 400,000.
_TOGETHER = 1.8
_SINGLE = 3.0

# The mean block distance that is believed: at least the first share of what the autocorrelation
# of the stream makes expect, at most the second multiple of what was observed.
_EXPECTED_SHARE = 0.9
_MAX_OBSERVED_MULTIPLE = 1.7

# On telemetry that is not i.i.d. fewer drifted features than this share happen by themselves.
_ORDINARY_SHARE = 0.2

# An episode needs two drifted windows of three (drift/governor.py). With a share q of windows
# over their floors about 3 q^2 of the windows open one.
_EPISODES_PER_1000 = 3000
_MIN_NEARNESS = 1e-6  # its logarithm is taken
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
        together = self._together(ks)
        correlated = self._correlated(correlation_shift)
        return float(max(single, together, correlated, _MIN_NEARNESS))

    def _together(self, ks: Floats) -> float:
        return _nth_largest(ks / self.ks, self.max_features_over_floor)

    def _correlated(self, shift: Floats) -> float:
        return _nth_largest(shift / self.correlation, 1)

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
        return cls(
            logs.mean(),
            _prediction_deviation(logs),
            len(logs) - 1,
        )

    def factor_for(self, budget: float) -> float:
        """Return the factor by which floors are raised so that the budget is kept."""
        drifted_share = float(np.sqrt(budget / _EPISODES_PER_1000))
        needed = self.quantile(1 - drifted_share)
        return float(np.clip(needed, 1.0, MAX_RAISE))

    def episodes(self, factor: float) -> float:
        """Return the false episodes per 1000 windows with floors raised by a factor."""
        return min(1000.0, _EPISODES_PER_1000 * self.exceedance(factor) ** 2)

    def quantile(self, share: float) -> float:
        """Return the nearness that the next block stays below with probability `share`."""
        return float(np.exp(self.mean + self.deviation * stdtrit(self.freedom, share)))

    def exceedance(self, nearness: float) -> float:
        """Return the probability that the next block is above `nearness`."""
        distance = (self.mean - np.log(nearness)) / self.deviation
        return float(stdtr(self.freedom, distance))


def calibrate_floors(
    blocks: BlockDistances, budget: float, *, is_short: bool
) -> tuple[Floors, Calibration]:
    """Return floors that keep the budget, and what they promise.

    `budget` is in false episodes per 1000 windows. Each block is judged with floors made from
    the other blocks, and the floors are raised until the next block is predicted to keep it.
    """
    floors = _with_ordinary_count(_floors(blocks), blocks)
    nearness = _nearness_to_others(blocks, floors.max_features_over_floor)
    if len(nearness) < _MIN_PREDICTING_BLOCKS:
        return floors.capped(), _no_promise(budget)
    prediction = _NextBlock.after(nearness)
    factor = prediction.factor_for(budget)
    calibration = _promise(
        prediction.episodes(factor),
        budget,
        is_short=is_short,
    )
    return floors.raised(factor).capped(), calibration


def score_floor(scores: Floats, window_rows: int) -> float:
    """Return the KS distance of anomaly scores [n] up to which a window is ordinary."""
    series = scores[:, None]
    blocks = measure_blocks(series, window_rows, cut_blocks(series, window_rows))
    return float(
        min(
            1.0,
            max(MIN_FLOOR, _MARGIN * blocks.ks.max(initial=0)),
        )
    )


def _no_promise(budget: float) -> Calibration:
    return Calibration(
        budget,
        expected=1000.0,
        promised=False,
        note=_TOO_SHORT_TO_CALIBRATE,
    )


def _promise(
    expected: float,
    budget: float,
    *,
    is_short: bool,
) -> Calibration:
    note = _shortcoming(expected, budget, is_short=is_short)
    return Calibration(
        budget,
        expected=round(expected, 3),
        promised=not note,
        note=note,
    )


def _prediction_deviation(logs: Floats) -> float:
    """Standard deviation of the difference between the next value and the mean of `logs`."""
    deviation = logs.std(ddof=1) * np.sqrt(1 + 1 / len(logs))
    return float(deviation) or 1e-9


def _floors(blocks: BlockDistances) -> Floors:
    """Floors by the distances of the blocks, before the budget is looked at."""
    if not len(blocks):
        return _lowest_floors(blocks)
    mean = _mean_ks(blocks)
    ks = _ks_floors(blocks, mean)
    return Floors(
        ks,
        single_feature=np.maximum(ks, _SINGLE * mean),
        correlation=_correlation_floors(blocks),
    )


def _lowest_floors(blocks: BlockDistances) -> Floors:
    """Floors where nothing is known of the stream; no correlation moves further."""
    lowest = np.full(blocks.features, MIN_FLOOR)
    furthest = np.sqrt(max(blocks.varying_features, 1))
    return Floors(lowest, lowest, correlation=np.full(blocks.features, furthest))


def _ks_floors(blocks: BlockDistances, mean: Floats) -> Floats:
    largest = _MARGIN * blocks.ks.max(axis=0)
    return np.maximum(MIN_FLOOR, np.maximum(largest, _TOGETHER * mean))


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
    largest = _CORRELATION_MARGIN * shift.max(axis=0)
    return np.maximum(MIN_CORRELATION_FLOOR, np.maximum(largest, _usual_shift(shift)))


def _usual_shift(shift: Floats) -> Floats:
    """Mean of the shifts [blocks, d] and some standard deviations."""
    return shift.mean(axis=0) + _CORRELATION_DEVIATIONS * shift.std(axis=0)


def _with_ordinary_count(floors: Floors, blocks: BlockDistances) -> Floors:
    """The floors with the count of features that are over them at once by themselves."""
    count = _ordinary_count(blocks.ks)
    if (floors.ks > MIN_FLOOR).any():
        count = max(count, _ordinary_share(blocks.varying_features))
    return replace(floors, max_features_over_floor=count)


def _ordinary_share(features: int) -> int:
    """Drifted features that happen by themselves on telemetry that is not i.i.d."""
    return max(0, int(np.ceil(_ORDINARY_SHARE * features)) - 1)


def _ordinary_count(ks: Floats) -> int:
    """Most features at once that are over floors from the *other* blocks, in two blocks of three.

    Two of three is the debounce that drift must pass (drift/governor.py), so this calibrates the
    whole rule.
    """
    counts = [_count_over_others(ks, block) for block in range(len(ks))]
    triples = zip(
        counts,
        counts[1:],
        counts[2:],
        strict=False,
    )
    return max((sorted(triple)[1] for triple in triples), default=0)


def _count_over_others(ks: Floats, block: int) -> int:
    largest = rows_without(ks, block).max(axis=0, initial=0)
    floors = np.maximum(MIN_FLOOR, _MARGIN * largest)
    return int((ks[block] >= floors).sum())


def _nearness_to_others(blocks: BlockDistances, max_features_over_floor: int) -> Floats:
    """For each block how near it comes to drift over floors made from the *other* blocks."""
    numbers = range(len(blocks))
    return np.array([_nearness(blocks, block, max_features_over_floor) for block in numbers])


def _nearness(
    blocks: BlockDistances,
    block: int,
    max_features_over_floor: int,
) -> float:
    floors = replace(
        _floors(blocks.without(block)),
        max_features_over_floor=max_features_over_floor,
    )
    return floors.nearness(blocks.ks[block], blocks.correlation_shift[block])


def _shortcoming(
    expected: float,
    budget: float,
    *,
    is_short: bool,
) -> str:
    """Why the budget cannot be promised; empty where it can."""
    if is_short:
        return _TOO_SHORT
    if expected > budget * 1.001:
        return _TOO_RESTLESS
    return ""


def _raise_above(
    floors: Floats,
    lowest: float,
    factor: float,
) -> Floats:
    return np.where(floors > lowest, floors * factor, floors)


def _nth_largest(ratios: Floats, n: int) -> float:
    """The value that `n` others are above; 0 where there are not so many."""
    if n >= len(ratios):
        return 0.0
    return np.sort(ratios)[::-1][n]
