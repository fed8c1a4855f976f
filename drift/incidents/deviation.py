"""How far the features of a row are from what was expected, and whether that is far enough.

What is expected of a feature is the median of the reference: of all rows that the model was
trained on, whatever their entity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from drift.incidents.incident import Direction, FeatureDeviation
from drift.incidents.names import bounded_name
from drift.settings import DriftSettings
from train.model.bundle import ModelBundle
from train.model.reasons import Reason, explain_rows
from vigil.arrays import Floats

MAX_FEATURES = 5
# Rows [m, d] to the deviations of each: those of the features that count most, the first most.
Describe = Callable[[Floats], Sequence[Sequence[FeatureDeviation]]]
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

    def significant(self, deviations: Iterable[FeatureDeviation]) -> tuple[FeatureDeviation, ...]:
        """Return the deviations that are over their limits."""
        return tuple(deviation for deviation in deviations if self._is_significant(deviation))

    def _is_significant(self, deviation: FeatureDeviation) -> bool:
        feature = deviation.feature
        if self._directions.get(feature, deviation.direction) != deviation.direction:
            return False
        difference = abs(deviation.observed - deviation.expected)
        share = self._shares.get(feature, self._share)
        least = max(share * abs(deviation.expected), self._differences.get(feature, 0.0))
        return difference >= least


def direction_of(observed: float, expected: float) -> Direction:
    """Return to which side of the expected value the observed one is."""
    return "up" if observed >= expected else "down"


def describe_by(bundle: ModelBundle, most: int = MAX_FEATURES) -> Describe:
    """Return what describes rows by the reasons of this model, and by its reference."""
    medians = dict(zip(bundle.names, bundle.reference.median.tolist(), strict=True))

    def deviation(reason: Reason) -> FeatureDeviation:
        feature = reason["feature"]
        observed = reason["value"]
        expected = medians[feature]
        name = bounded_name(feature)
        return FeatureDeviation(name, observed, expected, direction_of(observed, expected))

    def describe(rows: Floats) -> list[list[FeatureDeviation]]:
        described: list[list[FeatureDeviation]] = []
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            reasons = explain_rows(bundle, rows[begin : begin + _ROWS_AT_ONCE], most)
            described += [[deviation(reason) for reason in row] for row in reasons]
        return described

    return describe
