"""Messages of replicas and stream consumers to the drift monitor, and its answer.

During a rolling update an old replica reports to a new monitor, and a new replica to an old one. So
these classes never leave their process: `to_wire` gives builtins with the keys that every release
knows, and NumPy arrays, which Ray moves without a copy. `from_wire` ignores unknown fields and
takes the defaults for missing ones. Both take microseconds, about once a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from serve.exposition import MetricFamilies
from train.model.threshold import alerting
from train.table.numbering import Numbering, number_rows
from vigil.arrays import Array, Flags
from vigil.json_types import Fields, JsonObject, without_none

_Value = TypeVar("_Value")


class ArmCounts(msgspec.Struct, frozen=True):
    """Counts of one model since the canary began.

    latency: requests by the bit length of the microseconds that they took
    """

    requests: int = 0
    errors: int = 0
    rows: int = 0
    alerts: int = 0
    latency: tuple[int, ...] = ()

    def slower_than(self, bucket: int) -> int:
        """Return how many requests are in the buckets above this one."""
        return sum(self.latency[bucket + 1 :])


class CanaryReport(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of both models while a canary runs on one replica.

    started: Unix seconds, identifies the canary; budget: the alert budget of its model
    """

    started: float
    budget: float
    champion: ArmCounts
    canary: ArmCounts


class ShadowReport(msgspec.Struct, frozen=True, kw_only=True):
    """Scores of champion and challenger for the same rows; no arrays when the challenger failed.

    scores, alerts: [2, n], the champion's first; seconds: that each of them took
    errors: rows that the challenger failed on; dropped: rows over the bound of the queue
    """

    champion: str
    challenger: str
    errors: int = 0
    dropped: int = 0
    scores: Array | None = None
    alerts: Array | None = None
    seconds: tuple[float, float] | None = None

    def to_wire(self) -> JsonObject:
        fields = msgspec.structs.asdict(self)
        return without_none(fields)


class RowContext(msgspec.Struct, frozen=True, array_like=True):
    """Entities [n] and times [n] (Unix seconds) of rows, each where the caller gave them."""

    entities: list[str] | None = None
    times: list[float] | None = None

    def part(self, rows: slice) -> RowContext:
        """Return the context of these rows."""
        return RowContext(self.entities and self.entities[rows], self.times and self.times[rows])

    def where(self, rows: Sequence[int]) -> RowContext:
        """Return the context of the rows of these numbers."""
        return RowContext(_chosen(self.entities, rows), _chosen(self.times, rows))


def joined_contexts(contexts: Sequence[RowContext | None]) -> RowContext | None:
    """Return the context of the rows of all, of which each says what the first does."""
    given = [context for context in contexts if context is not None]
    if not given:
        return None
    return RowContext(
        given[0].entities and _chained([context.entities for context in given]),
        given[0].times and _chained([context.times for context in given]),
    )


def _chained(lists: Sequence[list[_Value] | None]) -> list[_Value]:
    return [value for values in lists for value in values or ()]


class CapturedRows(msgspec.Struct, frozen=True, array_like=True):
    """Rows [n, d] that `version` scored, their scores [n] and the requests [n] they came from.

    threshold: the score over which a row alerts; None from an older replica
    numbering [n, 2]: which row of its request each was, of how many; None where all rows of each
    request are there
    captured: when they were first taken for a report (Unix seconds); it stays when they are sent
    again
    warming [n]: which of them lack earlier rows of their entity; None where none does
    raw [n, r]: the rows as they were sent, where a transform made those that were scored of them
    limits [n]: the thresholds of their entities, where they alert by these
    """

    version: str
    rows: Array
    scores: Array
    requests: list[str]
    threshold: float | None = None
    context: RowContext | None = None
    numbering: Array | None = None
    captured: float | None = None
    warming: Array | None = None
    raw: Array | None = None
    limits: Array | None = None

    def alerts(self, threshold: float) -> Flags:
        """Return which of the rows [n] alert; `threshold` is that of the model."""
        return alerting(self.scores, threshold, self.limits)

    def number_rows(self) -> Numbering:
        """Return the numbering, counted off where there is none."""
        if self.numbering is None:
            return number_rows(self.requests)
        return self.numbering

    def where(self, is_kept: Flags) -> CapturedRows:
        """Return the rows for which `is_kept` [n] is true, numbered."""
        kept = np.flatnonzero(is_kept).tolist()
        return msgspec.structs.replace(
            self,
            rows=self.rows[is_kept],
            scores=self.scores[is_kept],
            requests=[self.requests[row] for row in kept],
            context=self.context and self.context.where(kept),
            numbering=self.number_rows()[is_kept],
            warming=None if self.warming is None else self.warming[is_kept],
            raw=None if self.raw is None else self.raw[is_kept],
            limits=None if self.limits is None else self.limits[is_kept],
        )

    def part(self, rows: slice) -> CapturedRows:
        """Return these rows, numbered."""
        return CapturedRows(
            self.version,
            self.rows[rows],
            self.scores[rows],
            requests=self.requests[rows],
            threshold=self.threshold,
            context=self.context and self.context.part(rows),
            numbering=self.number_rows()[rows],
            captured=self.captured,
            warming=None if self.warming is None else self.warming[rows],
            raw=None if self.raw is None else self.raw[rows],
            limits=None if self.limits is None else self.limits[rows],
        )

    def judged(self) -> CapturedRows:
        """Return the rows that are not warming: what is found by the others means nothing."""
        if self.warming is None:
            return self
        return msgspec.structs.replace(self.where(~self.warming.astype(bool)), warming=None)


class ServedModel(msgspec.Struct, frozen=True, kw_only=True):
    """Model that a replica serves, the one that it should serve, and why it does not.

    since: Unix seconds; source: `registry` or `last-known-good`; canary: version that runs as one
    refused: reasons by version
    """

    replica: str
    pid: int | None = None
    version: str | None = None
    digest: str | None = None
    since: float | None = None
    desired: str | None = None
    source: str | None = None
    canary: str | None = None
    refused: dict[str, str] | None = None


class ReplicaReport(msgspec.Struct, frozen=True, kw_only=True):
    """Report of a replica: what it serves, its metrics, and the rows that it has captured.

    counts: its metrics since its start; delivered: those that a monitor took last
    """

    served: ServedModel
    counts: MetricFamilies = msgspec.field(default_factory=list)
    delivered: MetricFamilies = msgspec.field(name="told", default_factory=list)
    rows: list[CapturedRows] = msgspec.field(default_factory=list)
    canary: CanaryReport | None = msgspec.field(name="trial", default=None)
    shadow: ShadowReport | None = None

    def to_wire(self) -> JsonObject:
        return {
            **msgspec.to_builtins(self.served),
            "counts": msgspec.to_builtins(self.counts),
            "told": msgspec.to_builtins(self.delivered),
            "rows": [_batch_to_wire(batch) for batch in self.rows],
            "trial": msgspec.to_builtins(self.canary),
            "shadow": self.shadow.to_wire() if self.shadow else None,
        }

    @classmethod
    def from_wire(cls, wire: Fields) -> ReplicaReport:
        """Return the report; raises msgspec.ValidationError when it is none."""
        return msgspec.convert({**wire, "served": wire}, cls, dec_hook=_as_array)


class ConsumerReport(msgspec.Struct, frozen=True, array_like=True):
    """Metrics of a stream consumer since its start; a monitor took `delivered` last."""

    consumer: str
    counts: MetricFamilies = msgspec.field(default_factory=list)
    delivered: MetricFamilies = msgspec.field(default_factory=list)

    def to_wire(self) -> tuple[str, Any, Any]:
        return (
            self.consumer,
            msgspec.to_builtins(self.counts),
            msgspec.to_builtins(self.delivered),
        )

    @classmethod
    def from_wire(cls, wire: Sequence[Any]) -> ConsumerReport:
        """Return the report; raises msgspec.ValidationError when it is none."""
        return msgspec.convert(wire, cls)


class MonitorAnswer(msgspec.Struct, frozen=True):
    """Answer to a replica's report.

    drift_score: severity of the last window; stopped_canary: the start of the canary that is over
    """

    drift_score: float = 0.0
    stopped_canary: float | None = None

    def to_wire(self) -> dict[str, float | None]:
        return msgspec.to_builtins(self)

    @classmethod
    def from_wire(cls, wire: Fields) -> MonitorAnswer:
        """Return the answer; raises msgspec.ValidationError when it is none."""
        return msgspec.convert(wire, cls)


def _batch_to_wire(batch: CapturedRows) -> tuple[Any, ...]:
    """The tuple that every release knows, and what has come since."""
    basis = (batch.version, batch.rows, batch.scores, batch.requests)
    if batch.threshold is None:
        return basis
    context = msgspec.to_builtins(batch.context)
    return (
        *basis,
        batch.threshold,
        context,
        batch.numbering,
        batch.captured,
        batch.warming,
        batch.raw,
        batch.limits,
    )


def _as_array(kind: type, value: Any) -> Array:
    """Return the value as an array; msgspec knows no arrays."""
    return np.asarray(value)


def _chosen(values: Sequence[_Value] | None, rows: Sequence[int]) -> list[_Value] | None:
    return None if values is None else [values[row] for row in rows]
