"""What an entity carries from row to row: level and spread of a baseline, a decaying mean.

One kernel walks rows that follow each other and the present rows of many entities, so both get the
same bits. Its state is an array [entities, width], which it changes.
"""

from __future__ import annotations

import numpy as np
from numba import njit  # type: ignore[import-untyped]
from numpy.typing import NDArray

from vigil.arrays import Floats

Entities = NDArray[np.int64]  # [n]: the row of the state that a row belongs to
WARMING_ROWS = 32  # of an entity, before its baseline says much
_LEVEL_ROWS = 8  # first rows, that only the level is learnt from
_CLIP = 3.0  # spreads from the level; what lies further counts as so far, once there is a spread
_NORMAL = 1.2545  # sd of a normal value, over the mean of its magnitude clipped at three


@njit(cache=True, nogil=True)
def walk_baseline(  # pragma: no cover
    X: Floats,
    entities: Entities,
    state: Floats,
    memory: float,
    floor: Floats,
    level: Floats,
    spread: Floats,
) -> None:
    """Write level and spread [n, d] of each row's entity before the row; then learn from the row.

    state [m, 1 + 2d]: rows seen, level and spread of m entities. The level is a mean and the spread
    a mean magnitude, both of clipped deviations (Huber's psi): an outlier moves them by no more
    than the clip. The k-th row weighs 2 / (k + 1) at first, so that the start is soon forgotten
    (polynomial-decay averaging, Shamir and Zhang, 2013), and 1 / memory at least. floor [d]: no
    spread is below it.
    """
    d = X.shape[1]
    for i in range(X.shape[0]):
        own = state[entities[i]]
        levels = own[1 : 1 + d]
        spreads = own[1 + d :]
        level[i] = levels
        spread[i] = np.maximum(spreads, floor)
        _learn(X[i], own[0], levels, spreads, spread[i], memory)
        own[0] += 1.0


@njit(cache=True, nogil=True)
def _learn(  # pragma: no cover
    row: Floats,
    seen: float,
    levels: Floats,
    spreads: Floats,
    widths: Floats,
    memory: float,
) -> None:
    """Move `levels` and `spreads` [d] by a row; `widths` are the spreads that count."""
    level_step = _weight(seen, memory)
    if seen < _LEVEL_ROWS:
        levels += level_step * (row - levels)
        return
    spread_step = _weight(seen - _LEVEL_ROWS, memory)
    for j in range(row.shape[0]):
        limit = _CLIP * widths[j]
        off = min(max(row[j] - levels[j], -limit), limit)
        levels[j] += level_step * off
        spreads[j] += spread_step * (_NORMAL * abs(off) - spreads[j])


@njit(cache=True, nogil=True)
def _weight(seen: float, memory: float) -> float:  # pragma: no cover
    """What a row weighs after so many."""
    return max(2.0 / (seen + 2.0), 1.0 / memory)


@njit(cache=True, nogil=True)
def walk_ewm(  # pragma: no cover
    X: Floats,
    entities: Entities,
    state: Floats,
    rows: float,
    mean: Floats,
) -> None:
    """Write the exponentially weighted mean [n, d] of each entity's rows up to each row.

    state [m, 1 + d]: sums of the weights and of the weighted values of m entities. It is the mean
    of pandas' `ewm(span=rows)`: a row weighs 1 - 2 / (rows + 1) of the one after it.
    """
    keep = 1.0 - 2.0 / (rows + 1.0)
    d = X.shape[1]
    for i in range(X.shape[0]):
        own = state[entities[i]]
        own[0] = keep * own[0] + 1.0
        for j in range(d):
            own[1 + j] = keep * own[1 + j] + X[i, j]
            mean[i, j] = own[1 + j] / own[0]


@njit(cache=True, nogil=True)
def project(  # pragma: no cover
    X: Floats,
    weights: Floats,
    out: Floats,
) -> None:
    """Add `X` [n, d] times `weights` [d, k] to `out` [n, k].

    Sums run feature by feature: a matrix product gives other bits for other numbers of rows.
    """
    for i in range(X.shape[0]):
        for j in range(X.shape[1]):
            for k in range(weights.shape[1]):
                out[i, k] += X[i, j] * weights[j, k]
