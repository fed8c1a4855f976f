"""Steps over the last rows of an entity: difference, mean, standard deviation, extremes.

Each takes the windows of n rows and gives n rows, a column for each feature. A window that has
fewer rows than the step wants gives the step over those that there are.
"""

from __future__ import annotations

import numpy as np

from train.table.transform.windows import RowWindows
from vigil.arrays import Floats

_ROUNDING = 1e-12  # of a mean: what equal values may seem to vary by


def rolling_diff(windows: RowWindows, rows: int) -> Floats:
    """Return the difference to the row so many before, or the earliest that there is."""
    return windows.present - windows.earliest(rows)


def rolling_mean(windows: RowWindows, rows: int) -> Floats:
    """Return the mean of the last `rows`."""
    total = np.zeros_like(windows.present)
    for back in reversed(range(rows)):
        total += windows.before(back)
    return total / windows.count(rows)


def rolling_sd(windows: RowWindows, rows: int) -> Floats:
    """Return the standard deviation of the last `rows`."""
    mean = rolling_mean(windows, rows)
    total = np.zeros_like(mean)
    for back in reversed(range(rows)):
        deviation = windows.before(back) - mean
        total += windows.has(back) * deviation**2
    return np.sqrt(total / windows.count(rows))


def rolling_min(windows: RowWindows, rows: int) -> Floats:
    """Return the least value of the last `rows`."""
    return _extreme(windows, rows, np.minimum)


def rolling_max(windows: RowWindows, rows: int) -> Floats:
    """Return the largest value of the last `rows`."""
    return _extreme(windows, rows, np.maximum)


def _extreme(
    windows: RowWindows,
    rows: int,
    ufunc: np.ufunc,
) -> Floats:
    extreme = windows.present.copy()
    for back in range(1, rows):
        ufunc(
            extreme,
            windows.before(back),
            out=extreme,
            where=windows.has(back),
        )
    return extreme


def rolling_zscore(windows: RowWindows, rows: int) -> Floats:
    """Return how many standard deviations the present row is from the mean of the last `rows`.

    It is 0 where they do not vary by more than rounding does.
    """
    mean = rolling_mean(windows, rows)
    sd = rolling_sd(windows, rows)
    varies = sd > _ROUNDING * np.abs(mean)
    deviation = windows.present - mean
    return np.divide(
        deviation,
        sd,
        out=np.zeros_like(sd),
        where=varies,
    )
