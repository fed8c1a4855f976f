"""Scored rows, incidents and their changes: the messages between the parts of this package."""

from __future__ import annotations

from typing import Literal

import msgspec

from train.model.threshold import alerting
from train.table.numbering import Numbering
from vigil.arrays import Flags, Floats

IncidentState = Literal["open", "closed"]
IncidentKind = Literal["rows", "drift", "data break"]
ChangeKind = Literal["opened", "updated", "closed"]
IncidentVerdict = Literal["confirmed", "dismissed"]
Direction = Literal["up", "down"]


_MAX_ONSET_MS = 10**13 - 1  # in the year 2286


def incident_id(onset: float, number: int) -> str:
    """Return an id that sorts by the onset (ms), and is unique by a counter."""
    return f"{_onset_digits(onset)}-{number:06d}"


def id_after(at: float) -> str:
    """Return what sorts behind the ids of all incidents that were opened with an onset by `at`."""
    return f"{_onset_digits(at)}~"


def _onset_digits(at: float) -> str:
    milliseconds = int(max(0.0, at) * 1000)
    return f"{min(milliseconds, _MAX_ONSET_MS):013d}"


class ScoredRows(msgspec.Struct, frozen=True, kw_only=True):
    """Rows [n, d] that one model version has scored, in the order in which they came.

    threshold: the score over which a row alerts; names: of the d features
    times: Unix seconds [n]: a row's own time where it has one, else its arrival, which stays the
    same when the row is sent again
    entities: [n], None where rows have none; requests: [n], that brought them
    numbering: [n, 2], which row of its request each is; None where each request is there as a whole
    arrived: when the last of them came; of history the latest of its times
    limits: [n], thresholds of their entities, over which they alert instead; None: they have none
    """

    version: str
    threshold: float
    names: tuple[str, ...]
    rows: Floats
    scores: Floats
    times: Floats
    arrived: float
    entities: list[str] | None = None
    requests: list[str] | None = None
    numbering: Numbering | None = None
    limits: Floats | None = None

    @property
    def alerts(self) -> Flags:
        """Which of the rows [n] are over their threshold."""
        return alerting(self.scores, self.threshold, self.limits)

    def threshold_of(self, row: int) -> float:
        """Return the score over which a row alerts."""
        return self.threshold if self.limits is None else float(self.limits[row])


class FeatureDeviation(msgspec.Struct, frozen=True):
    """What a feature was in the worst row of an incident, and what was expected of it.

    expected: the median of the reference, the same for every entity
    """

    feature: str
    observed: float
    expected: float
    direction: Direction

    @property
    def difference(self) -> float:
        """How far the observed value is from the expected one."""
        return abs(self.observed - self.expected)


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that alerted together.

    onset, last_seen, end: Unix seconds, of the first and the last row that alerted
    rows: that alerted; peak_score: the highest of theirs; grade: 0-1, how grave it is
    entities: the first of `entity_count`; features: those that explain the peak, the first most
    model_version: that scored the peak; episode: of drift, or the data break, of which this is a
    part; windows: of a data break, when the latest of them began (Unix seconds)
    held_by: the dismissal rule that keeps it from people; title: one line for people
    """

    id: str
    state: IncidentState
    onset: float
    last_seen: float
    rows: int
    peak_score: float
    grade: float
    model_version: str
    kind: IncidentKind = "rows"
    end: float | None = None
    entities: tuple[str, ...] = ()
    entity_count: int = 0
    features: tuple[FeatureDeviation, ...] = ()
    episode: str | None = None
    verdict: IncidentVerdict | None = None
    held_by: str | None = None
    title: str = ""
    windows: tuple[float, ...] = ()


class EvidenceRow(msgspec.Struct, frozen=True, array_like=True):
    """A row that alerted in an incident, as a gate or a person can score it again.

    values: [d], as `IncidentEvidence.names` has them; place: of the row in its request
    """

    at: float
    score: float
    values: tuple[float, ...]
    entity: str = ""
    request: str = ""
    place: int = 0


class TracePoint(msgspec.Struct, frozen=True, array_like=True):
    """A row of an incident's course.

    values: of the features of the course, None: missing; an early one has fewer
    """

    at: float
    score: float
    values: tuple[float | None, ...] = ()


class IncidentTrace(msgspec.Struct):
    """The course of an incident, rows that do not alert and those before it too.

    names: features that have led it; threshold: of the latest rows
    step_s: how far points are apart, at least; of each step it is the row with the highest score
    """

    names: tuple[str, ...] = ()
    threshold: float | None = None
    step_s: float = 1.0
    points: list[TracePoint] = []


class IncidentEvidence(msgspec.Struct, frozen=True):
    """The worst rows of an incident, and its course."""

    incident: str
    names: tuple[str, ...]
    rows: tuple[EvidenceRow, ...]
    trace: IncidentTrace = msgspec.field(default_factory=IncidentTrace)


class IncidentChange(msgspec.Struct, frozen=True):
    """An incident as it is after it was opened, has become graver, or was closed, at `at`."""

    kind: ChangeKind
    incident: Incident
    at: float
