"""Drift reference by hour of day: a window is judged against the rows of its own hours.

A daily cycle is no drift, however short a window is beside it. Floors of the whole day must be wide
enough for the cycle, and hide what changes within an hour. Hours are those of UTC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.model.blocks import Block, BlockDistances, measure_blocks
from train.model.distances import ks_distances
from train.model.floors import calibrate_floors
from vigil.arrays import Floats

DAY_HOURS = 24
MIN_HOUR_DAYS = 5  # that have rows of an hour, of each hour
_HOUR_S = 3600.0
_DAY_S = 24 * _HOUR_S
_MIN_HOUR_ROWS = 20
_MAX_HOUR_ROWS = 200  # that are kept: quantiles of all
_MAX_BYTES = 4 * 2**20
_MIXED_ROWS = 2000  # of the reference of a window
_SHORTEST_SHARE = 0.5  # of the time that a window of the training takes
_VALUE_BYTES = 8
_ARRAYS = ("samples", "floors", "single_feature_floors", "limits")

HourNumbers = NDArray[np.int64]


@dataclass(frozen=True)
class HourlyReference:
    """Rows of each hour of day, and floors for windows that are compared with their own hours.

    samples                [24, m, d]  each column of an hour sorted
    floors                 [d]         KS distances up to here are ordinary
    single_feature_floors  [d]         above this it is drift, were it in one feature only
    limits                 [2]         how many features over their floor at once are ordinary, and
                                       how long a window of the training takes (seconds)
    """

    samples: Floats
    floors: Floats
    single_feature_floors: Floats
    limits: Floats

    @property
    def max_features_over_floor(self) -> int:
        return int(self.limits[0])

    def takes(self, times: Floats) -> bool:
        """Return whether a window of rows of these times [m] (Unix seconds) is judged by hour.

        It is where each row has a time, and they do not lie much closer together than those of the
        training: an hour of few days says too little of what a minute may hold.
        """
        if not len(times) or np.isnan(times).any():
            return False
        return float(np.ptp(times)) >= _SHORTEST_SHARE * self.limits[1]

    def rows_of(self, times: Floats) -> Floats:
        """Return the rows [n, d], each column sorted, that rows of these times [m] are held to."""
        return mix_hours(list(self.samples), hours_of_day(times))

    def with_floors_of(self, prior: HourlyReference | None) -> HourlyReference:
        """Return the reference with floors of at least those of the one before it."""
        if prior is None or prior.floors.shape != self.floors.shape:
            return self
        return replace(
            self,
            floors=np.maximum(self.floors, prior.floors),
            single_feature_floors=np.maximum(
                self.single_feature_floors,
                prior.single_feature_floors,
            ),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays by their names in a bundle."""
        return {f"hour_{name}": np.ascontiguousarray(getattr(self, name)) for name in _ARRAYS}

    def fits(self, features: int) -> bool:
        """Return whether it is a sound one of so many features."""
        shapes = [getattr(self, name).shape for name in _ARRAYS]
        rows = self.samples.shape[1] if self.samples.ndim == 3 else 0
        of_each = (features,)
        expected = [(DAY_HOURS, rows, features), of_each, of_each, (2,)]
        return rows > 0 and shapes == expected and self._is_sound()

    def _is_sound(self) -> bool:
        is_finite = all(np.isfinite(getattr(self, name)).all() for name in _ARRAYS)
        is_sorted = bool((np.diff(self.samples, axis=1) >= 0).all())
        has_floors = bool((self.floors > 0).all() and (self.single_feature_floors > 0).all())
        return is_finite and is_sorted and has_floors and bool((self.limits >= 0).all())


def hours_from_arrays(arrays: Mapping[str, NDArray[Any]]) -> HourlyReference | None:
    """Return the inverse of `HourlyReference.arrays`; None for a bundle that knows no hours."""
    if "hour_samples" not in arrays:
        return None
    return HourlyReference(**{name: arrays[f"hour_{name}"] for name in _ARRAYS})


def hours_of_day(times: Floats) -> HourNumbers:
    """Return the hour of the day in UTC [n], from 0 on, of times in Unix seconds."""
    return (times // _HOUR_S).astype(np.int64) % DAY_HOURS


def mix_hours(by_hour: Sequence[Floats], hours: HourNumbers) -> Floats:
    """Return rows [n, d], each column sorted, of hours in the shares that `hours` [m] have.

    by_hour: rows [k, d] of each hour, each column sorted; some of those that are asked for
    """
    shares = np.bincount(hours, minlength=DAY_HOURS) / len(hours)
    parts = [
        _spread_out(rows, round(share * _MIXED_ROWS))
        for rows, share in zip(by_hour, shares, strict=True)
        if share > 0
    ]
    return np.sort(np.concatenate(parts), axis=0)


def _spread_out(rows: Floats, count: int) -> Floats:
    """So many of the rows, at least one, evenly spaced."""
    places = (np.arange(max(count, 1)) + 0.5) * len(rows) / max(count, 1)
    return rows[places.astype(np.int64)]


def build_hours(
    X: Floats,
    times: Floats | None,
    blocks: Sequence[Block],
    distances: BlockDistances,
    *,
    budget: float,
) -> HourlyReference | None:
    """Return the reference by hour of rows `X` [n, d] in the order of their times [n].

    blocks, distances: of the whole reference; budget: false episodes per 1000 windows. None where
    some hour has too few rows, or rows of fewer than MIN_HOUR_DAYS days.
    """
    if times is None or not blocks or not _spans_enough(times):
        return None
    hours = hours_of_day(times)
    of_hours = replace(
        measure_blocks(_without_cycle(X, hours), _block_rows(blocks), list(blocks)),
        ks=np.array([_block_ks(X, hours, block.rows) for block in blocks]),
        correlation_shift=distances.correlation_shift,
    )
    floors, _ = calibrate_floors(of_hours, budget, is_short=False)
    spans = [float(np.ptp(times[block.rows])) for block in blocks]
    return HourlyReference(
        samples=_kept_rows(X, hours),
        floors=floors.ks,
        single_feature_floors=floors.single_feature,
        limits=np.array([floors.max_features_over_floor, np.median(spans)]),
    )


def _block_rows(blocks: Sequence[Block]) -> int:
    return blocks[0].rows.stop - blocks[0].rows.start


def _spans_enough(times: Floats) -> bool:
    hours = hours_of_day(times)
    if len(times) < DAY_HOURS * _MIN_HOUR_ROWS:
        return False
    least = np.bincount(hours, minlength=DAY_HOURS).min()
    days = np.unique(np.column_stack([times // _DAY_S, hours]), axis=0)[:, 1]
    fewest_days = np.bincount(days.astype(np.int64), minlength=DAY_HOURS).min()
    return bool(least >= _MIN_HOUR_ROWS and fewest_days >= MIN_HOUR_DAYS)


def _without_cycle(X: Floats, hours: HourNumbers) -> Floats:
    """The rows as their distance from the median of their hour."""
    levels = np.array([np.median(X[hours == hour], axis=0) for hour in range(DAY_HOURS)])
    return X - levels[hours]


def _block_ks(X: Floats, hours: HourNumbers, block: slice) -> Floats:
    """KS distances [d] of one block to the rows of the same hours outside it."""
    rest = np.delete(X, block, axis=0)
    rest_hours = np.delete(hours, block)
    by_hour = [np.sort(rest[rest_hours == hour], axis=0) for hour in range(DAY_HOURS)]
    has_rows = np.array([len(rows) > 0 for rows in by_hour])
    own = hours[block]
    known = has_rows[own]
    if not known.any():
        return np.zeros(X.shape[1])
    return ks_distances(mix_hours(by_hour, own[known]), X[block][known])


def _kept_rows(X: Floats, hours: HourNumbers) -> Floats:
    """As many rows of each hour [24, m, d], each column sorted."""
    fitting = _MAX_BYTES // (DAY_HOURS * X.shape[1] * _VALUE_BYTES)
    least = int(np.bincount(hours, minlength=DAY_HOURS).min())
    count = max(1, min(_MAX_HOUR_ROWS, least, fitting))
    by_hour = [np.sort(X[hours == hour], axis=0) for hour in range(DAY_HOURS)]
    return np.array([_spread_out(rows, count) for rows in by_hour])
