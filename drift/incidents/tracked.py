"""An incident while rows may still change it, and what people see of it."""

from __future__ import annotations

import math
from collections.abc import Collection

import msgspec

from drift.incidents.alerts import RowAlert, leading_features
from drift.incidents.incident import (
    EvidenceRow,
    FeatureDeviation,
    Incident,
    IncidentEvidence,
    IncidentKind,
    IncidentTrace,
    IncidentVerdict,
)

MAX_ENTITIES = 20  # that an incident names
MAX_EVIDENCE = 5


class TrackedIncident(msgspec.Struct, kw_only=True):
    """An incident while rows may still change it.

    version, moved: of an incident of windows, the champion and the features
    trace: the course of scores
    broken: of a data break, the names of its features; windows: when the latest of them began
    arrived: when its last alert came; quiet_s: after how long without one it is over
    joined_at: onset of the entity that joined last; watermark: latest time of its entities' rows
    announced_grade: that people were told; None: they were told nothing
    """

    id: str
    kind: IncidentKind
    onset: float
    last_seen: float
    arrived: float
    quiet_s: float
    joined_at: float
    watermark: float
    peak: RowAlert | None = None
    rows: int = 0
    grade: float = 0.0
    entities: list[str] = msgspec.field(default_factory=list)
    entity_count: int = 0
    names: tuple[str, ...] = ()
    evidence: list[EvidenceRow] = msgspec.field(default_factory=list)
    trace: IncidentTrace = msgspec.field(default_factory=IncidentTrace)
    announced_grade: float | None = None
    held_by: str | None = None
    episode: str | None = None
    verdict: IncidentVerdict | None = None
    end: float | None = None
    title: str = ""
    version: str = ""
    moved: tuple[FeatureDeviation, ...] = ()
    broken: tuple[str, ...] = ()
    windows: tuple[float, ...] = ()

    @property
    def is_announced(self) -> bool:
        return self.announced_grade is not None

    @property
    def is_visible(self) -> bool:
        """Whether people may see it: it was announced, or a rule holds it back."""
        return self.is_announced or self.held_by is not None

    @property
    def quiet_from(self) -> float:
        """When it is over, if nothing alerts any more."""
        return self.last_seen + self.quiet_s

    def add(
        self,
        alert: RowAlert,
        arrived: float,
    ) -> None:
        """Count a row."""
        self.rows += 1
        self.onset = min(self.onset, alert.at)
        self.last_seen = max(self.last_seen, alert.at)
        self.arrived = max(self.arrived, arrived)
        self.watermark = max(self.watermark, alert.at)
        if self.end is not None:
            self.end = self.last_seen
        if self.peak is None or alert.score > self.peak.score:
            self.peak = alert
        self.grade = max(self.grade, grade_of(alert.excess))

    def join(
        self,
        entity: str,
        onset: float,
        quiet_s: float,
    ) -> None:
        """Add an entity whose alerts began at `onset`."""
        self.joined_at = max(self.joined_at, onset)
        self.quiet_s = max(self.quiet_s, quiet_s)
        if not entity:
            return
        self.entity_count += 1
        if len(self.entities) < MAX_ENTITIES:
            self.entities.append(entity)

    def end_at(self, at: float) -> None:
        """End with the last row that alerted; what windows have opened ends when it is over."""
        self.end = self.last_seen
        if self.kind != "rows":
            self.end = max(self.last_seen, at)

    def wants(self, score: float) -> bool:
        """Whether a row of this score is among the worst; of a closed incident they are stored."""
        return self.end is None and (
            len(self.evidence) < MAX_EVIDENCE or score > self._least_evidence.score
        )

    @property
    def _least_evidence(self) -> EvidenceRow:
        return min(self.evidence, key=_score_of_evidence)

    def keep(self, evidence: EvidenceRow, names: tuple[str, ...]) -> None:
        """Keep a row; one that is missing a value cannot be scored again."""
        if not all(map(math.isfinite, evidence.values)):
            return
        if names != self.names:
            self.names = names
            self.evidence = []
        if len(self.evidence) == MAX_EVIDENCE:
            self.evidence.remove(self._least_evidence)
        self.evidence.append(evidence)

    def explains(self, leading: Collection[str]) -> bool:
        """Whether alerts with these leading features are a part of what windows have opened.

        A broken feature explains what it leads; drift explains all.
        """
        if self.kind == "data break":
            return self._are_broken(leading)
        return self.kind == "drift"

    def _are_broken(self, features: Collection[str]) -> bool:
        return bool(features) and set(features) <= set(self.broken)

    def sees(self, alert: RowAlert) -> bool:
        """Whether a row of an entity that is a part of it is one, too."""
        return self.kind != "data break" or self.explains(leading_features([alert]))

    def is_too_old(self, at: float) -> bool:
        """Whether a row of this time was long before it."""
        return at < self.onset - self.quiet_s

    def is_over_at(self, at: float) -> bool:
        """Whether nothing has alerted for so long that it is over at `at`."""
        return self.kind == "rows" and at > self.quiet_from

    def is_near(self, onset: float, at: float) -> bool:
        """Whether alerts from `onset` to `at` began together with those of its latest entity."""
        return abs(onset - self.joined_at) <= self.quiet_s and not self.is_over_at(at)

    def is_forgotten_at(self, now: float) -> bool:
        """Whether no alert has come for so long."""
        return self.kind == "rows" and now > self.forgotten_from

    @property
    def forgotten_from(self) -> float:
        """When it is over by the clock, if no alert comes any more."""
        return self.arrived + self.quiet_s

    def snapshot(self) -> Incident:
        """Return what people see of it."""
        peak = self.peak
        return Incident(
            id=self.id,
            state="open" if self.end is None else "closed",
            kind=self.kind,
            onset=self.onset,
            last_seen=self.last_seen,
            end=self.end,
            rows=self.rows,
            peak_score=peak.score if peak else 0.0,
            grade=round(self.grade, 4),
            entities=tuple(self.entities),
            entity_count=self.entity_count,
            features=self.moved or self._peak_features,
            model_version=self.version or (peak.version if peak else ""),
            episode=self.episode,
            verdict=self.verdict,
            held_by=self.held_by,
            title=self.title or self._title(),
            windows=self.windows,
        )

    @property
    def _peak_features(self) -> tuple[FeatureDeviation, ...]:
        return self.peak.features if self.peak else ()

    @property
    def leading(self) -> set[str]:
        """The first reason of its peak."""
        return leading_features([self.peak]) if self.peak else set()

    @property
    def leading_names(self) -> tuple[str, ...]:
        """The features that explain its peak, the first most."""
        return tuple(deviation.feature for deviation in self._peak_features)

    def _title(self) -> str:
        features = self._peak_features
        what = f"{features[0].feature} {features[0].direction}" if features else "rows alert"
        if not self.entities:
            return what
        others = self.entity_count - 1
        and_more = f" and {others} more" if others else ""
        return f"{what} on {self.entities[0]}{and_more}"

    def evidence_rows(self) -> IncidentEvidence:
        return IncidentEvidence(
            self.id,
            self.names,
            tuple(self.evidence),
            self.trace,
        )

    def forget_rows(self) -> None:
        """Drop what is stored elsewhere by now."""
        self.evidence = []
        self.trace = IncidentTrace()


def _score_of_evidence(evidence: EvidenceRow) -> float:
    return evidence.score


def grade_of(excess: float) -> float:
    """Return the grade, 0-1: the square root of how far the score is over the threshold.

    excess: (score - threshold) / (1 - threshold), as a forest's scores are at most 1. They seldom
    come far over the threshold; the root spreads them.
    """
    return excess**0.5
