"""The step `top`: what stands out most among many features, whichever of them it is.

A tree cuts one column at a time. Of a hundred columns it seldom cuts the one that is odd, and the
columns that are as ever hide it. The largest deviations of a row are few columns, and the odd one
is always in them.
"""

from __future__ import annotations

import numpy as np

from vigil.arrays import Floats

_LEAST_SPREAD = 1e-9  # below it a column is constant
_CONSTANT_SPREAD = 1e-3


def fit_spreads(X: Floats) -> dict[str, Floats]:
    """Return `centre` and `spread` [k] of the columns of `X` [n, k]: their mean and deviation.

    Not the median: a deviation that outliers widen tells the largest of them apart.
    """
    deviation = X.std(axis=0)
    spread = np.where(deviation > _LEAST_SPREAD, deviation, _CONSTANT_SPREAD)
    return {"centre": X.mean(axis=0), "spread": spread}


def largest_deviations(
    X: Floats,
    centre: Floats,
    spread: Floats,
    most: int,
) -> Floats:
    """Return the `most` largest magnitudes of each row of `X` [n, d], in spreads."""
    deviations = np.abs((X - centre) / spread)
    ascending = np.sort(deviations, axis=1)
    return np.ascontiguousarray(ascending[:, ::-1][:, :most])
