"""VUS-PR: how well scores rank the rows of labelled anomalies, and those close to them.

Paparrizos et al., "Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series
Anomaly Detection", PVLDB 15(11), 2022. Each width up to a largest one gives anomalies a buffer
whose rows count for less the further off they are; the area under precision and recall is averaged
over the widths. The figures are those of `RangeAUC_volume_opt` in TSB-AD 1.5 and vus 0.0.6, which
cannot be installed here: they need TensorFlow, or torch and an old NumPy. What takes them a loop
over thresholds is one cumulative sum over the rows in the order of their scores.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import argrelextrema

from vigil.arrays import Floats

DEFAULT_WINDOW = 125  # of a series in which nothing repeats
_THRESHOLDS = 250
_LAGS = 400
_LEAST_LAG = 3
_MOST_ROWS = 20_000
_MOST_PERIOD = 300

Labels = NDArray[np.int64]


class Segments(NamedTuple):
    """First and last rows [k] of the labelled anomalies, in their order."""

    first: NDArray[np.intp]
    last: NDArray[np.intp]

    @classmethod
    def of(cls, labels: Labels) -> Segments:
        """Return the runs of ones."""
        steps = np.diff(labels, prepend=0, append=0)
        return cls(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1) - 1)

    def widened(self, rows: int, most: int) -> Segments:
        """Return them with `rows` more on both sides, those that touch joined.

        most: the last row that there is
        """
        first = np.maximum(self.first - rows, 0)
        last = np.minimum(self.last + rows, most)
        apart = last[:-1] < first[1:]
        begins = np.concatenate([[True], apart])
        ends = np.concatenate([apart, [True]])
        return Segments(first[begins], last[ends])


class RankedRows(NamedTuple):
    """Rows in the order of their scores, and the cuts at which a curve is taken.

    order: of the rows [n], the highest first; cuts [k]: scores; above [k]: rows at or above them
    """

    scores: Floats
    order: NDArray[np.intp]
    cuts: Floats
    above: NDArray[np.intp]

    @classmethod
    def of(cls, scores: Floats) -> RankedRows:
        """Return the rows of these scores [n]."""
        order = np.argsort(-scores, kind="stable")
        ranked = scores[order]
        places = np.linspace(0, len(scores) - 1, _THRESHOLDS).astype(np.intp)
        cuts = ranked[places]
        above = np.searchsorted(-ranked, -cuts, side="right")
        return cls(
            scores,
            order,
            cuts,
            above,
        )

    def sum_above(self, weights: Floats) -> Floats:
        """Return the weights [n] of the rows at or above each cut, summed [k]."""
        sums = np.cumsum(weights[self.order])
        return np.concatenate([[0.0], sums])[self.above]

    def share_found(self, segments: Segments) -> Floats:
        """Return the share of the segments with a row at or above each cut [k]."""
        pairs = zip(*segments, strict=True)
        peaks = np.array([self.scores[first : last + 1].max() for first, last in pairs])
        return (peaks[:, None] >= self.cuts).mean(axis=0)


def vus_pr(labels: Labels, scores: Floats, window: int) -> float:
    """Return the volume under precision and recall, over buffers of 0 to `window` rows.

    labels [n]: 1 = anomaly, at least one of them; scores [n]: the higher, the more anomalous
    """
    ranked = RankedRows.of(scores)
    segments = Segments.of(labels)
    areas = [_range_area(labels, ranked, segments, width=width) for width in range(window + 1)]
    return float(np.mean(areas))


def _range_area(
    labels: Labels,
    ranked: RankedRows,
    segments: Segments,
    *,
    width: int,
) -> float:
    """The area under range precision and recall, with a buffer of so many rows."""
    widened = segments.widened(width // 2, len(labels) - 1)
    buffer = _buffer_weights(labels, segments, width)
    near = ranked.sum_above(buffer)
    found = ranked.sum_above(labels.astype(np.float64)) + near
    anomalous = labels.sum() + near / 2
    recall = np.minimum(found / anomalous, 1) * ranked.share_found(widened)
    precision = found / ranked.above
    return float(np.diff(recall, prepend=0.0) @ precision)


def _buffer_weights(
    labels: Labels,
    segments: Segments,
    width: int,
) -> Floats:
    """What rows beside an anomaly count [n]: less, the further off; those in one count nothing."""
    weights = np.zeros(len(labels))
    for away in range(1, width // 2 + 1):
        weight = np.sqrt(1 - away / width)
        for places in (segments.first - away, segments.last + away):
            inside = places[(places >= 0) & (places < len(labels))]
            weights[inside] += weight
    weights[labels == 1] = 0.0
    return np.minimum(weights, 1.0)


def period_of(values: Floats) -> int:
    """Return after how many rows a series [n] repeats itself, as TSB-AD's `find_length_rank` does.

    That is the lag of the highest local maximum of its autocorrelation; DEFAULT_WINDOW where there
    is none, or one too short or long.
    """
    correlation = _autocorrelation(values[:_MOST_ROWS])[_LEAST_LAG:]
    peaks = argrelextrema(correlation, np.greater)[0]
    if not len(peaks):
        return DEFAULT_WINDOW
    highest = int(peaks[np.argmax(correlation[peaks])])
    is_usual = _LEAST_LAG <= highest <= _MOST_PERIOD
    return highest + _LEAST_LAG if is_usual else DEFAULT_WINDOW


def _autocorrelation(values: Floats) -> Floats:
    """At lags 0 to 400; zeros for a constant series."""
    centred = values - values.mean()
    spectrum = np.fft.rfft(centred, 2 * len(centred))
    power = spectrum * np.conj(spectrum)
    products = np.fft.irfft(power)[: _LAGS + 1]
    return products / products[0] if products[0] > 0 else np.zeros_like(products)
