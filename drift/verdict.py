"""From statistics to a verdict on one window: none, population drift or data break, with the evidence. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from drift.statistics import Statistics
from train.reference import Reference

Kind = Literal["none", "population drift", "data break"]
MAX_MISSING = 0.2
UNIT_FACTOR = 5.0
UNIT_KS = 0.9
SHOWN = 10


@dataclass(frozen=True)
class Finding:
    """One feature's evidence: the statistic, its value, and what it was compared with."""

    feature: str
    statistic: str
    value: float
    limit: float


@dataclass(frozen=True)
class Verdict:
    """severity: for drift the largest KS distance over its floor; for a data break 1; at most 0.99 for none."""

    kind: Kind
    findings: tuple[Finding, ...]
    severity: float
    sentence: str

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(finding.feature for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        return {
            "verdict": self.kind, "features": list(self.features), "severity": round(self.severity, 4),
            "sentence": self.sentence, "findings": [asdict(finding) for finding in self.findings],
        }  # fmt: skip


def judge(reference: Reference, found: Statistics, alpha: float) -> Verdict:
    """Judge one window. A data break wins over drift: nobody should retrain on a broken sensor."""
    broken = _breaks(reference, found)
    if broken:
        told = ", ".join(f"{f.feature} ({f.statistic})" for f in broken[:SHOWN])
        return Verdict("data break", broken, 1.0, f"the data are broken in {told}: check the source, nothing is retrained")
    over = (found.ks >= reference.floors) & (found.p * len(found.p) < alpha)
    ratio = float((found.ks / reference.floors).max())
    if over.sum() <= reference.allowed:
        some = f"; {int(over.sum())} features over their floor are ordinary here" if over.any() else ""
        return Verdict("none", (), min(ratio, 0.99), f"the window is like the reference{some}")
    order = [j for j in np.argsort(-found.ks / reference.floors) if over[j]]
    findings = tuple(Finding(reference.names[j], "ks", float(found.ks[j]), float(reference.floors[j])) for j in order)
    told = ", ".join(f.feature for f in findings[:SHOWN])
    return Verdict("population drift", findings, ratio, f"{len(findings)} of {len(found.ks)} features have drifted: {told}")


def _breaks(reference: Reference, found: Statistics) -> tuple[Finding, ...]:
    findings = []
    unit = np.maximum(found.unit, 1 / found.unit)
    changed = (unit >= UNIT_FACTOR) & (found.ks >= UNIT_KS)
    for j, name in enumerate(reference.names):
        if found.missing[j] > MAX_MISSING:
            findings.append(Finding(name, "missing", float(found.missing[j]), MAX_MISSING))
        elif found.stuck[j]:
            findings.append(Finding(name, "stuck", 1.0, 0.0))
        elif changed[j] and changed.sum() <= max(1, len(unit) // 10):  # a world that grew changes many features at once
            findings.append(Finding(name, "unit", float(found.unit[j]), UNIT_FACTOR))
    return tuple(findings)
