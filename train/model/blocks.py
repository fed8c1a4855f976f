"""Contiguous blocks of a time series, compared with all rows outside them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from train.model.distances import (
    autocorrelation_time,
    correlation_shifts,
    ks_distance_to_rest,
    rank_correlation,
)
from vigil.arrays import Flags, Floats

_MAX_BLOCKS = 20
_MIN_COMPARED_BLOCKS = 2
_KOLMOGOROV_MEAN = 0.8687  # of the Kolmogorov distribution: sqrt(pi / 2) * log(2)
_MAX_CORRELATION_ROWS = 5000  # enough for a correlation
_LONG_RUN_SHARE = 3  # a feature that kept one value for a third of a window may for a whole one


@dataclass(frozen=True)
class BlockDistances:
    """Distances of contiguous blocks of a series to all rows outside them.

    ks                [blocks, d]  Kolmogorov-Smirnov distance of each feature
    correlation_shift [blocks, d]  shift of each feature's rank correlations with all others
    has_long_run      [d]          a feature kept one value for a third of a block
    varies            [d]          a feature has more than one value
    expected_ks       [d]          mean KS distance of a block by the stream's autocorrelation
    """

    ks: Floats
    correlation_shift: Floats
    has_long_run: Flags
    varies: Flags
    expected_ks: Floats

    def __len__(self) -> int:
        return len(self.ks)

    @property
    def features(self) -> int:
        return self.ks.shape[1]

    @property
    def varying_features(self) -> int:
        """A feature that never varies tells nothing, and does not make the others tell less."""
        return int(self.varies.sum())

    def without(self, block: int) -> BlockDistances:
        """Return the distances of all other blocks."""
        return replace(
            self,
            ks=rows_without(self.ks, block),
            correlation_shift=rows_without(self.correlation_shift, block),
        )


@dataclass(frozen=True)
class Block:
    """Some rows in sequence, with the rank correlations [d, d] of them and of all others."""

    rows: slice
    correlation: Floats
    rest_correlation: Floats


def cut_blocks(X: Floats, window_rows: int) -> list[Block]:
    """Return contiguous blocks of `X` [n, d] of at most `window_rows`; none of too few rows."""
    rows = _block_rows(len(X), window_rows)
    blocks = _blocks(len(X), rows)
    if len(blocks) < _MIN_COMPARED_BLOCKS:
        return []
    return [_block(X, block) for block in blocks]


def measure_blocks(
    X: Floats,
    window_rows: int,
    blocks: list[Block],
) -> BlockDistances:
    """Compare the blocks of `X` [n, d] with all other rows."""
    rows = _block_rows(len(X), window_rows)
    expected = _expected_ks(X, rows)
    varies = np.ptp(X, axis=0) > 0
    if not blocks:
        return _no_blocks(varies, expected)
    columns = np.sort(X.T, axis=1)
    return BlockDistances(
        ks=np.array([_block_ks(columns, X[block.rows]) for block in blocks]),
        correlation_shift=np.array([_block_shift(block) for block in blocks]),
        has_long_run=_has_long_run(X, rows),
        varies=varies,
        expected_ks=expected,
    )


def _block_rows(n: int, window_rows: int) -> int:
    """Rows of a block of `n` rows.

    A short reference is cut finer: its distances are larger, never smaller.
    """
    return min(window_rows, max(n // 4, 1))


def _blocks(n: int, rows: int) -> list[slice]:
    """Contiguous blocks of so many rows, evenly spaced over `n` rows."""
    count = min(_MAX_BLOCKS, n // rows)
    starts = np.linspace(0, n - rows, count).astype(int)
    return [slice(start, start + rows) for start in starts]


def _no_blocks(varies: Flags, expected_ks: Floats) -> BlockDistances:
    d = len(expected_ks)
    none = np.zeros((0, d))
    return BlockDistances(
        ks=none,
        correlation_shift=none,
        has_long_run=np.zeros(d, bool),
        varies=varies,
        expected_ks=expected_ks,
    )


def _expected_ks(X: Floats, rows: int) -> Floats:
    """Mean KS distance [d] of a block of so many rows to `X` [n, d]."""
    times = np.array([autocorrelation_time(column) for column in X.T])
    return _KOLMOGOROV_MEAN * np.sqrt(times * (1 / rows + 1 / len(X)))


def rows_without(X: Floats, rows: int | slice) -> Floats:
    """Return the rows of `X` [n, d] but these."""
    return np.delete(X, rows, axis=0)


def _block_ks(columns: Floats, block: Floats) -> Floats:
    """KS distances [d] of one block [m, d] to the rows outside it, by the sorted columns of all."""
    of_block = np.sort(block.T, axis=1)
    pairs = zip(columns, of_block, strict=True)
    return np.array([ks_distance_to_rest(whole, part) for whole, part in pairs])


def _block(X: Floats, rows: slice) -> Block:
    step = max(1, len(X) // _MAX_CORRELATION_ROWS)
    thinned = rows_without(X, rows)[::step]
    return Block(rows, rank_correlation(X[rows]), rank_correlation(thinned))


def _block_shift(block: Block) -> Floats:
    """Correlation shifts [d] of one block to the rows outside it."""
    return correlation_shifts(block.rest_correlation, block.correlation)


def _has_long_run(X: Floats, rows: int) -> Flags:
    """Whether each feature kept one value for a third of a block."""
    return np.array([_longest_run(column) * _LONG_RUN_SHARE >= rows for column in X.T])


def _longest_run(column: Floats) -> int:
    """Most rows in sequence that have one value."""
    changes = np.concatenate([[True], np.diff(column) != 0, [True]])
    return int(np.diff(np.flatnonzero(changes)).max())
