"""The rows of a batch that alert, and count: not doubled, silenced or too close to the expected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from drift.incidents.deviation import Describe, DeviationLimits
from drift.incidents.doubles import Doubles
from drift.incidents.incident import EvidenceRow, FeatureDeviation, ScoredRows
from drift.incidents.names import bounded_name
from drift.incidents.rules import Rules
from drift.incidents.silences import Silences

MAX_AHEAD_S = 300.0  # a row that says it is of later is of now: its clock is wrong
_MIN_SCALE = 1e-9


class RowAlert(msgspec.Struct, frozen=True, array_like=True):
    """A row over the threshold of its model.

    at: Unix seconds; excess: 0-1, how far it is over; rule: that holds it back
    """

    entity: str
    at: float
    score: float
    excess: float
    version: str
    features: tuple[FeatureDeviation, ...] = ()
    rule: str | None = None


class PlacedAlert(NamedTuple):
    """An alert that is the `place`-th row of its entity in the batch, from 1 on."""

    alert: RowAlert
    place: int
    evidence: EvidenceRow


class PassedRows(NamedTuple):
    """How many rows of an entity a batch has, and the latest of their times."""

    entity: str
    rows: int
    latest: float


class ScreenedBatch(NamedTuple):
    """Alerts of a batch in its order, rows by entity, and how many rows were suppressed, by why."""

    alerts: list[PlacedAlert]
    passed: list[PassedRows]
    suppressed: dict[str, int]


class Screen:
    """Finds the alerts of a batch; most rows do not alert, and cost next to nothing."""

    def __init__(
        self,
        limits: DeviationLimits,
        silences: Silences,
        rules: Rules,
        doubles: Doubles,
    ) -> None:
        self._limits = limits
        self._silences = silences
        self._rules = rules
        self._doubles = doubles

    def screen(
        self,
        rows: ScoredRows,
        describe: Describe,
    ) -> ScreenedBatch:
        """Return what counts of these rows; the expected values are those of `describe`."""
        doubled = self._doubles.repeated_prefix(rows)
        rows = _sound(_without_first(rows, doubled))
        places = _Places(rows)
        suppressed = {"double": doubled}
        over = np.flatnonzero(rows.scores > rows.threshold)
        kept = self._audible(rows, over, suppressed)
        kept = self._first_seen(rows, kept, suppressed)
        alerts = list(self._described(rows, kept, describe, places))
        suppressed["deviation"] = len(kept) - len(alerts)
        return ScreenedBatch(alerts, places.passed(), suppressed)

    def _audible(
        self,
        rows: ScoredRows,
        over: NDArray[np.int_],
        suppressed: dict[str, int],
    ) -> NDArray[np.int_]:
        """Alerts outside of all silences."""
        entities = None
        if rows.entities is not None:
            entities = [rows.entities[row] for row in over]
        silenced = self._silences.mask(rows.times[over], entities)
        suppressed["silence"] = int(silenced.sum())
        return over[~silenced]

    def _first_seen(
        self,
        rows: ScoredRows,
        over: NDArray[np.int_],
        suppressed: dict[str, int],
    ) -> NDArray[np.int_]:
        doubled = self._doubles.seen_before(rows, over)
        suppressed["double"] += int(doubled.sum())
        return over[~doubled]

    def _described(
        self,
        rows: ScoredRows,
        over: NDArray[np.int_],
        describe: Describe,
        places: _Places,
    ) -> Iterator[PlacedAlert]:
        if not len(over):
            return
        at_places = places.of(over)
        for row, place, features in zip(
            over.tolist(), at_places, describe(rows.rows[over]), strict=True
        ):
            significant = self._limits.significant(features)
            if significant or not features:
                alert = self._alert(rows, row, significant)
                yield PlacedAlert(alert, place, _evidence(rows, row, alert))

    def _alert(
        self,
        rows: ScoredRows,
        row: int,
        features: tuple[FeatureDeviation, ...],
    ) -> RowAlert:
        entity = bounded_name(rows.entities[row]) if rows.entities is not None else ""
        score = float(rows.scores[row])
        at = float(rows.times[row])
        return RowAlert(
            entity=entity,
            at=at,
            score=score,
            excess=_excess(score, rows.threshold),
            version=rows.version,
            features=features,
            rule=self._rules.match(entity, at, features),
        )


class _Places:
    """Where rows stand among those of their entity in the batch."""

    def __init__(self, rows: ScoredRows) -> None:
        self._times = rows.times
        self._names, self._codes = _coded(rows.entities, len(rows.scores))
        self._order = np.argsort(self._codes, kind="stable")
        self._counts = np.bincount(self._codes, minlength=len(self._names))
        self._starts = np.cumsum(self._counts) - self._counts

    def of(self, over: NDArray[np.int_]) -> list[int]:
        """Return the place of each of these rows, from 1 on."""
        ranks = np.empty(len(self._order), dtype=np.int64)
        ranks[self._order] = np.arange(len(self._order))
        return (ranks[over] - self._starts[self._codes[over]] + 1).tolist()

    def passed(self) -> list[PassedRows]:
        if not len(self._order):
            return []
        latest = np.maximum.reduceat(self._times[self._order], self._starts)
        counts = self._counts.tolist()
        return [
            PassedRows(*entity) for entity in zip(self._names, counts, latest.tolist(), strict=True)
        ]


def _coded(entities: Sequence[str] | None, count: int) -> tuple[list[str], NDArray[np.int64]]:
    """The names of the entities, and the number of the one of each row."""
    if entities is None:
        return [""], np.zeros(count, dtype=np.int64)
    numbers: dict[str, int] = {}
    numbered = (numbers.setdefault(entity, len(numbers)) for entity in entities)
    codes = np.fromiter(numbered, np.int64, count)
    return _names(numbers), codes


def _names(entities: Iterable[str]) -> list[str]:
    return [bounded_name(entity) for entity in entities]


def _without_first(rows: ScoredRows, count: int) -> ScoredRows:
    if not count:
        return rows
    return msgspec.structs.replace(
        rows,
        rows=rows.rows[count:],
        scores=rows.scores[count:],
        times=rows.times[count:],
        entities=rows.entities and rows.entities[count:],
        requests=rows.requests and rows.requests[count:],
    )


def _sound(rows: ScoredRows) -> ScoredRows:
    """The rows with times and scores that can be reckoned with."""
    ahead = ~(rows.times <= rows.arrived + MAX_AHEAD_S)  # also where it is no number
    lost = rows.times < 0
    return msgspec.structs.replace(
        rows,
        times=np.where(ahead | lost, rows.arrived, rows.times),
        scores=np.nan_to_num(rows.scores, nan=-1.0),
    )


def _excess(score: float, threshold: float) -> float:
    """How far a score is over the threshold, as a share of what is left up to 1."""
    share = (score - threshold) / max(1 - threshold, _MIN_SCALE)
    return float(min(1.0, max(0.0, share)))


def _evidence(
    rows: ScoredRows,
    row: int,
    alert: RowAlert,
) -> EvidenceRow:
    request = rows.requests[row] if rows.requests is not None else ""
    return EvidenceRow(
        alert.at,
        alert.score,
        tuple(rows.rows[row].tolist()),
        entity=alert.entity,
        request=bounded_name(request),
        place=_place_in_request(rows.requests, row),
    )


def _place_in_request(requests: Sequence[str] | None, row: int) -> int:
    """How many rows of the same request stand before it."""
    if requests is None:
        return 0
    first = row
    while first and requests[first - 1] == requests[row]:
        first -= 1
    return row - first
