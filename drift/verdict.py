"""From statistics to a verdict on one window, with the evidence. Pure.

A verdict is none, population drift or data break.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from drift.broken_columns import MIN_FACTOR
from drift.statistics import Statistics
from train.model.reference import Reference
from vigil.arrays import Flags, Floats
from vigil.json_types import JsonObject

VerdictKind = Literal["none", "population drift", "data break"]
MAX_MISSING = 0.2
MAX_NAMED = 10  # features in a sentence
MAX_QUIET_SEVERITY = 0.99
# A shift of the quantiles by fewer standard deviations is of no practical size, unless half of the
# values have moved: rare large values may make the standard deviation.
MIN_EFFECT = 0.1
LARGE_DISTANCE = 0.5


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

    @property
    def named(self) -> str:
        return f"{self.feature} ({self.statistic})"


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
        return _names(self.findings)

    def to_json(self) -> JsonObject:
        return {
            "verdict": self.kind,
            "features": list(self.features),
            "severity": self.shown_severity,
            "sentence": self.sentence,
            "findings": [asdict(finding) for finding in self.findings],
        }


@dataclass(frozen=True)
class _Evidence:
    """What a window shows against the reference.

    ks: distances [d] that are no chance, else 0; over: features [d] over their floors
    """

    reference: Reference
    statistics: Statistics
    ks: Floats
    over: Flags

    @classmethod
    def of(
        cls,
        reference: Reference,
        statistics: Statistics,
        alpha: float,
    ) -> _Evidence:
        ks = _significant(reference, statistics, alpha)
        return cls(reference, statistics, ks, ks >= reference.floors)

    @property
    def nearness(self) -> float:
        return self.reference.nearness(self.ks, self.statistics.correlation_shift)

    @property
    def quiet_severity(self) -> float:
        """The severity of a window without drift."""
        ks_ratio = self.statistics.ks / self.reference.single_feature_floors
        severity = max(self.nearness, float(ks_ratio.max()))
        return min(severity, MAX_QUIET_SEVERITY)

    @property
    def quiet_sentence(self) -> str:
        sentence = "the window is like the reference"
        count = int(self.over.sum())
        if not count:
            return sentence
        return f"{sentence}; {count} features over their floor are ordinary here"

    def findings(self) -> tuple[Finding, ...]:
        """The features over their floors, then those that have left their correlations."""
        moved = map(self._moved, self._moved_features())
        uncorrelated = map(self._uncorrelated, self._uncorrelated_features())
        return (*moved, *uncorrelated)

    def _moved_features(self) -> list[int]:
        """The furthest first."""
        order = np.argsort(-self.statistics.ks / self.reference.floors)
        return [int(j) for j in order if self.over[j]]

    def _moved(self, j: int) -> Finding:
        return Finding(
            feature=self.reference.names[j],
            statistic="ks",
            value=float(self.statistics.ks[j]),
            limit=float(self.reference.floors[j]),
            effect=float(self.statistics.wasserstein[j]),
        )

    def _uncorrelated_features(self) -> list[int]:
        """Those that are not over their floors, the furthest first.

        One by itself is none: there is no correlation of one.
        """
        floors = self.reference.correlation_floors
        shift = self.statistics.correlation_shift / floors
        if (shift >= 1).sum() <= 1:
            return []
        is_shown = (shift >= 1) & ~self.over
        return [int(j) for j in np.argsort(-shift) if is_shown[j]]

    def _uncorrelated(self, j: int) -> Finding:
        return Finding(
            feature=self.reference.names[j],
            statistic="correlation",
            value=float(self.statistics.correlation_shift[j]),
            limit=float(self.reference.correlation_floors[j]),
        )


def judge_window(
    reference: Reference,
    statistics: Statistics,
    alpha: float,
    *,
    of_words: Flags | None = None,
    by_hour: tuple[Reference, Statistics] | None = None,
) -> Verdict:
    """Judge one window, at the family-wise significance `alpha`.

    A data break wins over drift: nobody should retrain on a broken sensor. of_words: features [d]
    that are made of words: they have no unit, sign or place that could be wrong. by_hour: reference
    and statistics by the hours of the window: drift is judged by these, where they are known.
    """
    broken = tuple(_Breaks(reference, statistics, of_words).findings())
    if broken:
        return _data_break(broken)
    evidence = _Evidence.of(*(by_hour or (reference, statistics)), alpha)
    nearness = evidence.nearness
    if nearness < 1:
        return Verdict("none", (), evidence.quiet_severity, evidence.quiet_sentence)
    findings = evidence.findings()
    sentence = _drift_sentence(findings, len(reference.names))
    return Verdict("population drift", findings, nearness, sentence)


def _significant(
    reference: Reference,
    statistics: Statistics,
    alpha: float,
) -> Floats:
    """The distances [d] that are no chance (Bonferroni), else 0: few rows stray far by chance.

    A feature that never varies is no test: it makes the others no less significant.
    """
    is_test = reference.varies | (statistics.ks > 0)
    is_significant = statistics.p * is_test.sum() < alpha
    ks = np.where(is_significant & _is_large(statistics), statistics.ks, 0.0)
    ordinary = np.minimum(ks, MAX_QUIET_SEVERITY)
    return np.where(_is_ordinary(reference, statistics), ordinary, ks)


def _is_large(statistics: Statistics) -> Flags:
    """Shifts [d] of practical size."""
    has_effect = statistics.wasserstein >= MIN_EFFECT
    have_moved = statistics.ks >= LARGE_DISTANCE
    return has_effect | have_moved


def _is_ordinary(reference: Reference, statistics: Statistics) -> Flags:
    """Features [d] that share no value with some block of the reference, and went no further.

    For those any distance is ordinary, unless the values are further away than all of it is wide.
    """
    is_restless = reference.floors >= 1
    is_near = statistics.wasserstein <= reference.width
    return is_restless & is_near


def _data_break(broken: tuple[Finding, ...]) -> Verdict:
    named = ", ".join(finding.named for finding in broken[:MAX_NAMED])
    sentence = f"the data are broken in {named}: check the source, nothing is retrained"
    return Verdict("data break", broken, 1.0, sentence)


def _drift_sentence(findings: Sequence[Finding], features: int) -> str:
    names = _names(findings)
    named = ", ".join(names[:MAX_NAMED])
    is_moved = findings[0].statistic == "ks"
    what = "have drifted" if is_moved else "move otherwise together"
    return f"{len(names)} of {features} features {what}: {named}"


def _names(findings: Iterable[Finding]) -> tuple[str, ...]:
    """The features, each once."""
    return tuple(dict.fromkeys(finding.feature for finding in findings))


@dataclass(frozen=True)
class _Breaks:
    """The broken columns of a window."""

    reference: Reference
    statistics: Statistics
    of_words: Flags | None = None

    def findings(self) -> Iterator[Finding]:
        for j in range(len(self.reference.names)):
            finding = None if self._is_of_words(j) else self._broken(j)
            if finding is not None:
                yield finding

    def _is_of_words(self, j: int) -> bool:
        return self.of_words is not None and bool(self.of_words[j])

    def _broken(self, j: int) -> Finding | None:
        """The column has no values or one alone, or another unit, place or sign."""
        return (
            self._lost(j)
            or self._stuck(j)
            or self._scaled(j)
            or self._swapped(j)
            or self._flipped(j)
        )

    def _lost(self, j: int) -> Finding | None:
        missing = float(self.statistics.missing[j])
        if missing <= MAX_MISSING:
            return None
        return Finding(self.reference.names[j], "missing", missing, MAX_MISSING)

    def _stuck(self, j: int) -> Finding | None:
        if not self.statistics.stuck[j]:
            return None
        return Finding(self.reference.names[j], "stuck", 1.0, 0.0)

    def _scaled(self, j: int) -> Finding | None:
        unit = self.statistics.unit
        if unit[j] == 1 or not self._are_few(unit != 1):
            return None
        return self._altered(j, "unit", float(unit[j]), MIN_FACTOR)

    def _swapped(self, j: int) -> Finding | None:
        if self.statistics.swapped[j] < 0:
            return None
        return self._apart(j, "swapped")

    def _flipped(self, j: int) -> Finding | None:
        flipped = self.statistics.flipped
        if not flipped[j] or not self._are_few(flipped):
            return None
        return self._apart(j, "sign")

    def _are_few(self, columns: Flags) -> bool:
        """Whether a fault explains so many: a world that changed, changes many features at once."""
        return int(columns.sum()) <= max(1, int(self.reference.varies.sum()) // 10)

    def _apart(self, j: int, statistic: str) -> Finding:
        ks = float(self.statistics.ks[j])
        limit = float(self.reference.single_feature_floors[j])
        return self._altered(j, statistic, ks, limit)

    def _altered(
        self,
        j: int,
        statistic: str,
        value: float,
        limit: float,
    ) -> Finding:
        effect = float(self.statistics.wasserstein[j])
        name = self.reference.names[j]
        return Finding(
            name,
            statistic,
            value,
            limit=limit,
            effect=effect,
        )
