"""From statistics to a verdict on one window: none, population drift or data break, with the evidence. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from drift.statistics import MIN_FACTOR, Statistics
from train.model.reference import Reference

VerdictKind = Literal["none", "population drift", "data break"]
MAX_MISSING = 0.2
SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """One feature's evidence: the statistic, its value, what it was compared with, and the size of the effect (the mean
    shift of its quantiles in standard deviations)."""

    feature: str
    statistic: str
    value: float
    limit: float
    effect: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """severity: how far the window is over what is ordinary, 1 and above is drift; for a data break 1; below 1 for none."""

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


def judge_window(reference: Reference, found: Statistics, alpha: float) -> Verdict:
    """Judge one window. A data break wins over drift: nobody should retrain on a broken sensor."""
    broken = _breaks(reference, found)
    if broken:
        told = ", ".join(f"{f.feature} ({f.statistic})" for f in broken[:SHOWN])
        return Verdict(
            "data break",
            broken,
            1.0,
            f"the data are broken in {told}: check the source, nothing is retrained",
        )
    sure = found.p * len(found.p) < alpha
    ks = np.where(sure, found.ks, 0.0)  # few rows stray far by chance
    over = ks >= reference.floors
    near = reference.nearness(ks, found.correlation_shift)
    if near < 1:
        ratio = max(near, min(float((found.ks / reference.single_feature_floors).max()), 0.99))
        some = (
            f"; {int(over.sum())} features over their floor are ordinary here" if over.any() else ""
        )
        return Verdict("none", (), min(ratio, 0.99), f"the window is like the reference{some}")
    findings = _drifted(reference, found, over)
    named = tuple(dict.fromkeys(f.feature for f in findings))
    told = ", ".join(named[:SHOWN])
    if findings[0].statistic == "correlation":
        return Verdict(
            "population drift",
            findings,
            near,
            f"{len(named)} of {len(ks)} features move otherwise together: {told}",
        )
    return Verdict(
        "population drift",
        findings,
        near,
        f"{len(named)} of {len(ks)} features have drifted: {told}",
    )


def _drifted(
    reference: Reference, found: Statistics, over: np.ndarray[Any, Any]
) -> tuple[Finding, ...]:
    """The features over their floors, the furthest first; then those that left the others."""
    order = [int(j) for j in np.argsort(-found.ks / reference.floors) if over[j]]
    findings = [
        Finding(
            reference.names[j],
            "ks",
            float(found.ks[j]),
            float(reference.floors[j]),
            float(found.wasserstein[j]),
        )
        for j in order
    ]
    moved = found.correlation_shift / reference.correlation_floors
    findings += [
        Finding(
            reference.names[j],
            "correlation",
            float(found.correlation_shift[j]),
            float(reference.correlation_floors[j]),
        )
        for j in np.argsort(-moved)
        if moved[j] >= 1 and (moved >= 1).sum() > 1 and not over[j]
    ]
    return tuple(findings)


def _breaks(reference: Reference, found: Statistics) -> tuple[Finding, ...]:
    findings, few = (
        [],
        max(1, len(reference.names) // 10),
    )  # a world that changed, changes many features at once
    changed, flipped = found.unit != 1, found.flipped
    for j, name in enumerate(reference.names):
        effect = float(found.wasserstein[j])
        if found.missing[j] > MAX_MISSING:
            findings.append(Finding(name, "missing", float(found.missing[j]), MAX_MISSING))
        elif found.stuck[j]:
            findings.append(Finding(name, "stuck", 1.0, 0.0))
        elif changed[j] and changed.sum() <= few:
            findings.append(Finding(name, "unit", float(found.unit[j]), MIN_FACTOR, effect))
        elif found.swapped[j] >= 0:
            findings.append(
                Finding(
                    name,
                    "swapped",
                    float(found.ks[j]),
                    float(reference.single_feature_floors[j]),
                    effect,
                )
            )
        elif flipped[j] and flipped.sum() <= few:
            findings.append(
                Finding(
                    name,
                    "sign",
                    float(found.ks[j]),
                    float(reference.single_feature_floors[j]),
                    effect,
                )
            )
    return tuple(findings)
