"""How far the features of a row are from what was expected, and whether that is far enough.

What is expected of a feature is the median of the reference: of all rows that the model was
trained on, whatever their entity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from drift.incidents.incident import Direction, FeatureDeviation
from drift.incidents.names import bounded_name
from drift.settings import DriftSettings
from train.model.bundle import ModelBundle
from train.model.reasons import Reason, explain_rows
from vigil.arrays import Floats

MAX_FEATURES = 5
# Of one row: those of the features that count most, the first most.
Deviations = tuple[FeatureDeviation, ...]
# Rows [m, d] to the deviations of each.
Describe = Callable[[Floats], Sequence[Deviations]]
_ROWS_AT_ONCE = 4096


class DeviationLimits:
    """The least deviation of each feature, and the direction in which it counts.

    A feature must differ from the expected value by a share of that, and by its absolute limit
    where it has one. The share is OpenSearch's: |observed - expected| / |expected|.
    """

    def __init__(self, settings: DriftSettings) -> None:
        self._share = settings.incident_min_deviation
        self._shares = settings.incident_feature_deviations
        self._differences = settings.incident_absolute_deviations
        self._directions = settings.incident_directions

    def significant(self, deviations: Deviations) -> Deviations:
        """Return the deviations that are over their limits."""
        over = filter(self._is_significant, deviations)
        return tuple(over)

    def _is_significant(self, deviation: FeatureDeviation) -> bool:
        direction = deviation.direction
        counting = self._directions.get(deviation.feature, direction)
        if counting != direction:
            return False
        return deviation.difference >= self._least(deviation)

    def _least(self, deviation: FeatureDeviation) -> float:
        feature = deviation.feature
        share = self._shares.get(feature, self._share)
        relative = share * abs(deviation.expected)
        absolute = self._differences.get(feature, 0.0)
        return max(relative, absolute)


def direction_of(observed: float, expected: float) -> Direction:
    """Return to which side of the expected value the observed one is."""
    return "up" if observed >= expected else "down"


class RowDescriber:
    """Describes rows by the reasons that a model gives, and by its reference."""

    def __init__(self, bundle: ModelBundle, most: int = MAX_FEATURES) -> None:
        medians = bundle.reference.median.tolist()
        self._bundle = bundle
        self._most = most
        self._medians = dict(zip(bundle.names, medians, strict=True))

    def __call__(self, rows: Floats) -> list[Deviations]:
        """Return the deviations of each of the rows [m, d]."""
        described: list[Deviations] = []
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            some = rows[begin : begin + _ROWS_AT_ONCE]
            reasons = explain_rows(self._bundle, some, self._most)
            described += map(self._deviations, reasons)
        return described

    def _deviations(self, reasons: Sequence[Reason]) -> Deviations:
        """Of a value that is missing nothing can be said."""
        finite = (reason for reason in reasons if math.isfinite(reason["value"]))
        return tuple(map(self._deviation, finite))

    def _deviation(self, reason: Reason) -> FeatureDeviation:
        feature = reason["feature"]
        observed = reason["value"]
        expected = self._medians[feature]
        return FeatureDeviation(
            bounded_name(feature),
            observed,
            expected,
            direction_of(observed, expected),
        )
