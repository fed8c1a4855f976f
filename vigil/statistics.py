"""Statistics that several rooms need: an interval of a share, and quantiles of histograms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

THREE_SIGMA_LEVEL = 0.9973002039367398  # of a normal distribution within three deviations


class Interval(NamedTuple):
    """The bounds of a confidence interval."""

    low: float
    high: float


def share_interval(
    hits: int,
    trials: int,
    level: float = 0.95,
) -> Interval:
    """Wilson's confidence interval of the share `hits` / `trials`; [0, 1] without trials.

    Source: Wilson, Probable inference, 1927; as scipy computes it.
    """
    if trials == 0:
        return Interval(0.0, 1.0)
    from scipy.stats import binomtest  # 35 MB, and few need it

    bounds = binomtest(hits, trials).proportion_ci(level, method="wilson")
    return Interval(float(bounds.low), float(bounds.high))


def histogram_quantile(q: float, cumulative: Mapping[float, float]) -> float | None:
    """The q-quantile of a histogram, as Prometheus' histogram_quantile gives it.

    `cumulative`: how many values are at most an upper bound, the last of which is infinite. Within
    a bucket values are taken to be even. None for an empty histogram.
    """
    bounds = sorted(cumulative)
    count = cumulative[bounds[-1]] if bounds else 0
    if count <= 0:
        return None
    rank = q * count
    place = next(i for i, bound in enumerate(bounds) if cumulative[bound] >= rank)
    lower = bounds[place - 1] if place else 0.0
    below = cumulative[lower] if place else 0.0
    upper = bounds[place]
    if math.isinf(upper):
        return lower
    share = _share_of_bucket(rank - below, cumulative[upper] - below)
    return lower + (upper - lower) * share


def _share_of_bucket(rank: float, count: float) -> float:
    """How far into a bucket of `count` values a rank among them is; 1 for an empty one."""
    return rank / count if count else 1.0
