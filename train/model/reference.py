"""Drift reference of a training window: what live windows are compared with.

Sorted samples, floors calibrated on contiguous blocks (train/model/floors.py), the dependence
between features, and percentiles of the anomaly score.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.model.blocks import cut_blocks, measure_blocks
from train.model.column_costs import QuantileGrid
from train.model.distances import (
    decile_bins,
    free_sides,
    rank_correlation,
    robust_spread,
    spaced_rows,
    typical_magnitude,
    visible_spread,
)
from train.model.floors import (
    MIN_BLOCKS,
    Calibration,
    Floors,
    calibrate_floors,
    score_floor,
)
from train.model.hours import HourlyReference, build_hours
from train.model.repeats import distinct_rows
from train.model.separation import measure_traits
from train.model.traits import ColumnTraits
from vigil.arrays import Flags, Floats
from vigil.errors import BundleError

_MIN_SIGNED = 20  # values of one sign tell that there is no other
_NEAR_SHARE = 0.05
_PERCENTILES = np.arange(101)

# Fields by the names under which a bundle stores them: old bundles stay readable.
STORED_ARRAYS = {
    "samples": "samples",
    "floors": "floors",
    "alone": "single_feature_floors",
    "ties": "correlation",
    "ties_floors": "correlation_floors",
    "median": "median",
    "scale": "scale",
    "can_stick": "can_stick",
    "scores": "scores",
}
STORED_VALUES: dict[str, tuple[str, type]] = {
    "allowed": ("max_features_over_floor", int),
    "window_rows": ("window_rows", int),
    "blocks": ("blocks", int),
    "score_floor": ("score_floor", float),
}
_POSITIVE = ("floors", "single_feature_floors", "correlation_floors", "scale")


@dataclass(frozen=True)
class Reference:
    """What live windows are compared with.

    samples               [n, d]  each column sorted
    floors                [d]     KS distances up to here are ordinary for this feature
    single_feature_floors [d]     a KS distance above this is drift, were it in one feature only
    max_features_over_floor       so many features over their floor at once are ordinary
    correlation           [d, d]  Spearman's rank correlation
    correlation_floors    [d]     shifts of a feature's row of it up to here are ordinary
    median, scale         [d]     robust centre and spread (IQR / 1.349, else sd, else 1)
    can_stick             [d]     True where no value stood for a third of a window: a constant
                                  window is then a stuck sensor
    scores                [101]   percentiles of the anomaly score
    score_floor                   KS distance of scores up to here is ordinary
    window_rows                   rows of a window that these floors are for
    blocks                        blocks they were calibrated on
    traits                        what tells the columns apart; None of a bundle that knows none
    hours                         rows and floors by hour of day; None where no hours are known
    """

    names: tuple[str, ...]
    samples: Floats
    floors: Floats
    single_feature_floors: Floats
    max_features_over_floor: int
    correlation: Floats
    correlation_floors: Floats
    median: Floats
    scale: Floats
    can_stick: Flags
    scores: Floats
    score_floor: float
    window_rows: int
    blocks: int
    calibration: Calibration
    traits: ColumnTraits | None = None
    hours: HourlyReference | None = None

    @cached_property
    def columns(self) -> Floats:
        """`samples`, feature by feature [d, n].

        Each lies together in memory, or every search in it would copy it.
        """
        return np.ascontiguousarray(self.samples.T)

    @cached_property
    def grid(self) -> QuantileGrid:
        """Distributions of the columns at quantiles of their own."""
        return QuantileGrid.of(list(self.columns))

    @cached_property
    def varies(self) -> Flags:
        """Whether each feature [d] has more than one value."""
        return self.samples[0] < self.samples[-1]

    @cached_property
    def visible_scale(self) -> Floats:
        """`scale` [d], 0 where a forest sees nothing: see `visible_spread`."""
        return visible_spread(self.samples, self.scale)

    @cached_property
    def free_sides(self) -> Floats:
        """To which side [d] a value can stand out: see `distances.free_sides`."""
        return free_sides(self.samples)

    @cached_property
    def sd(self) -> Floats:
        """Standard deviation [d], 1 where a feature is constant."""
        sd = self.samples.std(axis=0)
        return np.where(sd > 0, sd, 1.0)

    @cached_property
    def width(self) -> Floats:
        """How many standard deviations [d] there are from the lowest value to the highest."""
        widths = self.samples[-1] - self.samples[0]
        return widths / self.sd

    @cached_property
    def size(self) -> Floats:
        """Typical magnitude [d] of the values: what a change of unit multiplies."""
        return typical_magnitude(self.samples)

    @cached_property
    def sides(self) -> Floats:
        """The sign [d] of all values but zeros; 0 where they have both, or are too few to tell."""
        above = (self.samples > 0).sum(axis=0)
        below = (self.samples < 0).sum(axis=0)
        is_one = np.minimum(above, below) == 0
        is_told = np.maximum(above, below) >= _MIN_SIGNED
        return np.where(is_one & is_told, np.sign(above - below), 0.0)

    @cached_property
    def touches_zero(self) -> Flags:
        """Whether each feature [d] comes so near to zero that zero is a wall to it."""
        return np.quantile(np.abs(self.samples), _NEAR_SHARE, axis=0) <= _NEAR_SHARE * self.size

    @cached_property
    def bins(self) -> list[tuple[Floats, Floats]]:
        """For each feature the inner edges of its decile bins, and the share of samples in each."""
        return [decile_bins(column) for column in self.samples.T]

    def longest_rest(self, j: int, value: float) -> float:
        """Return how many rows feature `j` may keep a value; 0 where no traits are known."""
        if self.traits is None:
            return 0.0
        column = self.columns[j]
        at = int(np.searchsorted(column, value))
        is_known = at < len(column) and bool(column[at] == value)
        return self.traits.rests.longest(j, value, is_known=is_known)

    def nearness(self, ks: Floats, correlation_shift: Floats) -> float:
        """Return how near a window with these distances [d] comes to drift; 1 is drift."""
        floors = Floors(
            self.floors,
            self.single_feature_floors,
            self.correlation_floors,
            self.max_features_over_floor,
        )
        return floors.nearness(ks, correlation_shift)

    def of_window(self, rows: int) -> Reference:
        """Return the reference for a window of fewer rows.

        Its distances are larger by themselves, by the root of how many fewer. Those of
        correlations `drift/statistics.py` scales itself.
        """
        if rows >= self.window_rows:
            return self
        factor = float(np.sqrt(self.window_rows / max(rows, 1)))
        return replace(
            self,
            floors=np.minimum(self.floors * factor, 1.0),
            single_feature_floors=np.minimum(self.single_feature_floors * factor, 1.0),
            score_floor=min(1.0, self.score_floor * factor),
        )

    def of_hours(self, times: Floats) -> Reference | None:
        """Return the reference for a window of rows of these times [m] (Unix seconds, NaN).

        It has the rows of the same hours, and floors for these; None where it cannot be judged so.
        """
        if self.hours is None or not self.hours.takes(times):
            return None
        return replace(
            self,
            samples=self.hours.rows_of(times),
            floors=self.hours.floors,
            single_feature_floors=self.hours.single_feature_floors,
            max_features_over_floor=self.hours.max_features_over_floor,
        )

    def completed(self, scores: Floats, prior: Reference | None) -> Reference:
        """Return the reference with the scores [n] of its rows.

        `prior` is the reference before it: how much the stream wanders is a property of the stream,
        which a short window of new rows cannot show, so floors never fall below the prior's.
        """
        scored = replace(
            self,
            scores=np.percentile(scores, _PERCENTILES),
            score_floor=score_floor(scores, self.window_rows),
        )
        return _not_below(scored, prior)

    def with_floors_of(self, prior: Reference) -> Reference:
        """Return the reference with floors of at least those of `prior`, on the same features."""
        return replace(
            self,
            floors=np.maximum(self.floors, prior.floors),
            single_feature_floors=np.maximum(
                self.single_feature_floors, prior.single_feature_floors
            ),
            max_features_over_floor=max(
                self.max_features_over_floor, prior.max_features_over_floor
            ),
            correlation_floors=np.maximum(self.correlation_floors, prior.correlation_floors),
            score_floor=max(self.score_floor, prior.score_floor),
            traits=self._traits_with(prior.traits),
            hours=self.hours and self.hours.with_floors_of(prior.hours),
        )

    def _traits_with(self, prior: ColumnTraits | None) -> ColumnTraits | None:
        traits = self.traits
        if traits is None or prior is None or traits.separated != prior.separated:
            return traits
        return traits.with_prior(prior)

    def check(self, names: tuple[str, ...]) -> None:
        """Raise BundleError unless this is a sound reference of the features `names`."""
        self._check_shapes(names)
        self._check_finite()
        self._check_ranges()
        self._check_traits()

    def _check_shapes(self, names: tuple[str, ...]) -> None:
        d = len(names)
        wrong = self._misshapen(d)
        if self.names != names or not self._has_samples_of(d) or wrong:
            raise BundleError(
                f"the drift reference does not fit the model's {d} features {wrong or ''}"
            )

    def _misshapen(self, d: int) -> list[str]:
        """Stored names of the arrays that are not of `d` features."""
        return [name for name, shape in _shapes(d).items() if self._stored(name).shape != shape]

    def _has_samples_of(self, d: int) -> bool:
        return self.samples.ndim == 2 and self.samples.shape[1] == d and len(self.samples) > 0

    def _check_finite(self) -> None:
        for name in STORED_ARRAYS:
            if not np.isfinite(self._stored(name)).all():
                raise BundleError("the drift reference holds values that are not finite")

    def _check_ranges(self) -> None:
        is_sorted = (np.diff(self.samples, axis=0) >= 0).all()
        if not (is_sorted and self._has_positive_floors() and self._has_counts()):
            raise BundleError(
                "the drift reference is not sorted, or has a spread, a window or a count "
                "out of range"
            )

    def _check_traits(self) -> None:
        if self.traits is not None and not self.traits.fits(len(self.names)):
            raise BundleError("the traits of the drift reference's columns do not fit its features")
        if self.hours is not None and not self.hours.fits(len(self.names)):
            raise BundleError("the hours of the drift reference do not fit its features")

    def _has_positive_floors(self) -> bool:
        return all((getattr(self, field) > 0).all() for field in _POSITIVE)

    def _has_counts(self) -> bool:
        has_flags = self.can_stick.dtype == np.bool_
        return has_flags and self.window_rows >= 1 and self.max_features_over_floor >= 0

    def _stored(self, name: str) -> NDArray[Any]:
        return getattr(self, STORED_ARRAYS[name])


def build_reference(
    X: Floats,
    names: tuple[str, ...],
    scores: Floats,
    *,
    window_rows: int,
    max_rows: int = 10_000,
    prior: Reference | None = None,
    budget: float = 1.0,
    times: Floats | None = None,
) -> Reference:
    """Return the reference of the rows `X` [n, d], in time order, with their scores [n]: that of
    `measure_rows`, completed."""
    measured = measure_rows(
        X,
        names,
        window_rows=window_rows,
        max_rows=max_rows,
        budget=budget,
        times=times,
    )
    return measured.completed(scores, prior)


def measure_rows(
    X: Floats,
    names: tuple[str, ...],
    *,
    window_rows: int,
    max_rows: int = 10_000,
    budget: float = 1.0,
    times: Floats | None = None,
) -> Reference:
    """Return what the rows `X` [n, d], in time order, tell by themselves; scores are all 0.

    It needs no forest, and may be measured while one is fitted. times [n]: Unix seconds, where they
    are known: then it knows hours as well. `budget` is in false episodes per 1000 windows.
    """
    kept = distinct_rows(X)
    X = X[kept]
    cut = cut_blocks(X, window_rows)
    blocks = measure_blocks(X, window_rows, cut)
    is_short = len(X) < MIN_BLOCKS * window_rows
    floors, calibration = calibrate_floors(blocks, budget, is_short=is_short)
    samples = spaced_rows(X, max_rows)
    return Reference(
        names=names,
        samples=np.sort(samples, axis=0),
        floors=floors.ks,
        single_feature_floors=floors.single_feature,
        max_features_over_floor=floors.max_features_over_floor,
        correlation=rank_correlation(samples),
        correlation_floors=floors.correlation,
        median=np.median(X, axis=0),
        scale=robust_spread(X),
        can_stick=~blocks.has_long_run,
        scores=np.zeros(len(_PERCENTILES)),
        score_floor=0.0,
        window_rows=window_rows,
        blocks=len(blocks),
        calibration=calibration,
        traits=measure_traits(X, cut),
        hours=build_hours(
            X,
            None if times is None else times[kept],
            cut,
            blocks,
            budget=budget,
        ),
    )


def _not_below(reference: Reference, prior: Reference | None) -> Reference:
    """The reference with floors of at least those of the one before it, on the same features."""
    if prior is None or prior.names != reference.names:
        return reference
    return reference.with_floors_of(prior)


def _shapes(d: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays but the samples, by stored name, for `d` features."""
    return {
        "floors": (d,),
        "alone": (d,),
        "ties": (d, d),
        "ties_floors": (d,),
        "median": (d,),
        "scale": (d,),
        "can_stick": (d,),
        "scores": (101,),
    }
