"""From statistics to a verdict on one window, with the evidence. Pure.

A verdict is none, population drift or data break.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from drift.broken_columns import MIN_FACTOR
from drift.statistics import Statistics
from train.model.reference import Reference
from vigil.arrays import Floats

VerdictKind = Literal["none", "population drift", "data break"]
MAX_MISSING = 0.2
MAX_NAMED = 10  # features in a sentence
MAX_QUIET_SEVERITY = 0.99


@dataclass(frozen=True)
class Finding:
    """One feature's evidence: the statistic, its value, and what it was compared with.

    effect: the mean shift of its quantiles in standard deviations
    """

    feature: str
    statistic: str
    value: float
    limit: float
    effect: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What a window is, and why.

    severity: how far it is over what is ordinary, 1 and above is drift; for a data break 1; below 1
    for none
    """

    kind: VerdictKind
    findings: tuple[Finding, ...]
    severity: float
    sentence: str

    @property
    def shown_severity(self) -> float:
        """The severity as `/drift` and the metrics have it."""
        return round(self.severity, 4)

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(finding.feature for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.kind,
            "features": list(self.features),
            "severity": self.shown_severity,
            "sentence": self.sentence,
            "findings": [asdict(finding) for finding in self.findings],
        }


def judge_window(reference: Reference, statistics: Statistics, alpha: float) -> Verdict:
    """Judge one window, at the family-wise significance `alpha`.

    A data break wins over drift: nobody should retrain on a broken sensor.
    """
    broken = tuple(_Breaks(reference, statistics).findings())
    if broken:
        return _data_break(broken)
    ks = _significant(statistics, alpha)
    over = ks >= reference.floors
    nearness = reference.nearness(ks, statistics.correlation_shift)
    if nearness < 1:
        severity = _quiet_severity(reference, statistics, nearness)
        return Verdict("none", (), severity, _quiet_sentence(over))
    findings = (
        *_moved_features(reference, statistics, over),
        *_uncorrelated_features(reference, statistics, over),
    )
    sentence = _drift_sentence(findings, len(ks))
    return Verdict("population drift", findings, nearness, sentence)


def _significant(statistics: Statistics, alpha: float) -> Floats:
    """The distances [d] that are no chance (Bonferroni), else 0: few rows stray far by chance."""
    is_significant = statistics.p * len(statistics.p) < alpha
    return np.where(is_significant, statistics.ks, 0.0)


def _data_break(broken: tuple[Finding, ...]) -> Verdict:
    named = ", ".join(f"{found.feature} ({found.statistic})" for found in broken[:MAX_NAMED])
    sentence = f"the data are broken in {named}: check the source, nothing is retrained"
    return Verdict("data break", broken, 1.0, sentence)


def _quiet_severity(reference: Reference, statistics: Statistics, nearness: float) -> float:
    furthest = float((statistics.ks / reference.single_feature_floors).max())
    return min(max(nearness, furthest), MAX_QUIET_SEVERITY)


def _quiet_sentence(over: NDArray[np.bool_]) -> str:
    sentence = "the window is like the reference"
    if not over.any():
        return sentence
    return f"{sentence}; {int(over.sum())} features over their floor are ordinary here"


def _drift_sentence(findings: Sequence[Finding], features: int) -> str:
    names = list(dict.fromkeys(finding.feature for finding in findings))
    named = ", ".join(names[:MAX_NAMED])
    is_moved = findings[0].statistic == "ks"
    what = "have drifted" if is_moved else "move otherwise together"
    return f"{len(names)} of {features} features {what}: {named}"


def _moved_features(
    reference: Reference, statistics: Statistics, over: NDArray[np.bool_]
) -> Iterator[Finding]:
    """The features over their floors, the furthest first."""
    for j in np.argsort(-statistics.ks / reference.floors):
        if over[j]:
            yield Finding(
                feature=reference.names[j],
                statistic="ks",
                value=float(statistics.ks[j]),
                limit=float(reference.floors[j]),
                effect=float(statistics.wasserstein[j]),
            )


def _uncorrelated_features(
    reference: Reference, statistics: Statistics, over: NDArray[np.bool_]
) -> Iterator[Finding]:
    """The other features that have left their correlations, the furthest first.

    One by itself is none: there is no correlation of one.
    """
    shift = statistics.correlation_shift / reference.correlation_floors
    if (shift >= 1).sum() <= 1:
        return
    for j in np.argsort(-shift):
        if shift[j] >= 1 and not over[j]:
            yield Finding(
                feature=reference.names[j],
                statistic="correlation",
                value=float(statistics.correlation_shift[j]),
                limit=float(reference.correlation_floors[j]),
            )


@dataclass(frozen=True)
class _Breaks:
    """The broken columns of a window."""

    reference: Reference
    statistics: Statistics

    def findings(self) -> Iterator[Finding]:
        for j in range(len(self.reference.names)):
            finding = self._lost(j) or self._altered(j)
            if finding is not None:
                yield finding

    def _lost(self, j: int) -> Finding | None:
        """The column has no values, or one alone."""
        name = self.reference.names[j]
        missing = float(self.statistics.missing[j])
        if missing > MAX_MISSING:
            return Finding(name, "missing", missing, MAX_MISSING)
        if self.statistics.stuck[j]:
            return Finding(name, "stuck", 1.0, 0.0)
        return None

    def _altered(self, j: int) -> Finding | None:
        """The column has another unit, place or sign."""
        statistics = self.statistics
        if statistics.unit[j] != 1 and self._are_few(statistics.unit != 1):
            return self._finding(j, "unit", float(statistics.unit[j]), MIN_FACTOR)
        ks = float(statistics.ks[j])
        limit = float(self.reference.single_feature_floors[j])
        if statistics.swapped[j] >= 0:
            return self._finding(j, "swapped", ks, limit)
        if statistics.flipped[j] and self._are_few(statistics.flipped):
            return self._finding(j, "sign", ks, limit)
        return None

    def _are_few(self, columns: NDArray[np.bool_]) -> bool:
        """Whether a fault explains so many: a world that changed, changes many features at once."""
        return int(columns.sum()) <= max(1, len(self.reference.names) // 10)

    def _finding(self, j: int, statistic: str, value: float, limit: float) -> Finding:
        effect = float(self.statistics.wasserstein[j])
        return Finding(self.reference.names[j], statistic, value, limit=limit, effect=effect)
