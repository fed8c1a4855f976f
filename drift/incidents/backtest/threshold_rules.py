"""Rules that make the threshold of a model from the scores of rows that it knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from train.model.threshold import Threshold, at_score, to_alert_rate
from train.table.table import Table
from vigil.arrays import Floats

DEFAULT_MARGIN = 0.07
_USUAL_SHARE = 0.95  # of the rows
_HIGHEST = 1.0


class ThresholdRule(Protocol):
    """Makes the threshold of a model."""

    def calibrate(
        self,
        scores: Floats,
        rows: Table,
        times: Floats,
    ) -> Threshold:
        """Return it, given rows that the model knows, and the scores and times [n] of these."""
        ...


@dataclass(frozen=True)
class ScoreMargin:
    """A row alerts from `margin` above the score that 5 % of the known rows exceed.

    A week of rows says little about what comes once a week, but enough about what is usual: the
    margin is for what is rarer than any of them.
    """

    margin: float

    def calibrate(
        self,
        scores: Floats,
        rows: Table,
        times: Floats,
    ) -> Threshold:
        """Return the threshold, given the scores [n] of the known rows."""
        usual = to_alert_rate(scores, 1 - _USUAL_SHARE)
        value = min(usual.value + self.margin, _HIGHEST)
        return at_score(
            scores,
            value,
            "score_margin",
            self.margin,
        )


@dataclass(frozen=True)
class StrictestRule:
    """The highest of the thresholds that `rules` make."""

    rules: tuple[ThresholdRule, ...]

    def calibrate(
        self,
        scores: Floats,
        rows: Table,
        times: Floats,
    ) -> Threshold:
        """Return it, given rows that the model knows, and their scores and times [n]."""
        thresholds = [rule.calibrate(scores, rows, times) for rule in self.rules]
        return max(thresholds, key=_value_of)


def _value_of(threshold: Threshold) -> float:
    return threshold.value
