"""The rows of a batch that alert, and count: not doubled, silenced or too close to the expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from drift.incidents.batch import (
    entity_of,
    place_in_request,
    request_of,
    with_sound_values,
    without_first,
)
from drift.incidents.deviation import Describe, DeviationLimits, Deviations
from drift.incidents.doubles import Doubles
from drift.incidents.incident import EvidenceRow, ScoredRows
from drift.incidents.places import PassedRows, Places, RowIndices
from drift.incidents.rules import Rules
from drift.incidents.silences import Silences

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
    features: Deviations = ()
    rule: str | None = None


def leading_features(alerts: Iterable[RowAlert]) -> set[str]:
    """Return the first reason of each of the alerts that have one."""
    return {alert.features[0].feature for alert in alerts if alert.features}


class PlacedAlert(NamedTuple):
    """An alert: a row of the batch, and the `place`-th one of its entity in it, from 1 on."""

    alert: RowAlert
    row: int
    place: int


class ScreenedBatch(NamedTuple):
    """Alerts of a batch in its order, rows by entity, and how many rows were suppressed, by why.

    rows: of the batch, without those that came before
    """

    rows: ScoredRows
    alerts: list[PlacedAlert]
    passed: list[PassedRows]
    suppressed: Counter[str]


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

    def screen(self, rows: ScoredRows, describe: Describe) -> ScreenedBatch:
        """Return what counts of these rows; the expected values are those of `describe`."""
        suppressed: Counter[str] = Counter()
        rows = self._without_doubles(rows, suppressed)
        over = self._counting(rows, suppressed)
        places = Places(rows)
        described = self._described(rows, over, describe)
        placed = zip(
            described,
            over.tolist(),
            places.of(over),
            strict=True,
        )
        alerts = [PlacedAlert(alert, row, place) for alert, row, place in placed if alert]
        suppressed["deviation"] += len(over) - len(alerts)
        return ScreenedBatch(
            rows,
            alerts,
            places.passed(),
            suppressed=suppressed,
        )

    def _counting(self, rows: ScoredRows, suppressed: Counter[str]) -> RowIndices:
        """Rows over the threshold that are neither silenced nor doubled."""
        audible = self._audible(rows, np.flatnonzero(rows.alerts), suppressed)
        return self._first_seen(rows, audible, suppressed)

    def _without_doubles(
        self,
        rows: ScoredRows,
        suppressed: Counter[str],
    ) -> ScoredRows:
        doubled = self._doubles.repeated_prefix(rows)
        suppressed["double"] += doubled
        return with_sound_values(without_first(rows, doubled))

    def _audible(
        self,
        rows: ScoredRows,
        over: RowIndices,
        suppressed: Counter[str],
    ) -> RowIndices:
        """Alerts outside of all silences."""
        times = rows.times[over]
        entities = [entity_of(rows, row) for row in over.tolist()]
        silenced = self._silences.mask(times, entities)
        suppressed["silence"] += int(silenced.sum())
        return over[~silenced]

    def _first_seen(
        self,
        rows: ScoredRows,
        over: RowIndices,
        suppressed: Counter[str],
    ) -> RowIndices:
        doubled = self._doubles.seen_before(rows, over)
        suppressed["double"] += int(doubled.sum())
        return over[~doubled]

    def _described(
        self,
        rows: ScoredRows,
        over: RowIndices,
        describe: Describe,
    ) -> Iterator[RowAlert | None]:
        """Each row as an alert, None where all its features are as expected."""
        if not len(over):
            return
        described = describe(rows.rows[over])
        for row, features in zip(over.tolist(), described, strict=True):
            significant = self._limits.significant(features)
            counts = significant or not features
            yield self._alert(rows, row, significant) if counts else None

    def _alert(
        self,
        rows: ScoredRows,
        row: int,
        features: Deviations,
    ) -> RowAlert:
        entity = entity_of(rows, row)
        at = float(rows.times[row])
        score = float(rows.scores[row])
        return RowAlert(
            entity=entity,
            at=at,
            score=score,
            excess=_excess(score, rows.threshold_of(row)),
            version=rows.version,
            features=features,
            rule=self._rules.match(entity, at, features),
        )


def _excess(score: float, threshold: float) -> float:
    """How far a score is over the threshold, as a share of what is left up to 1."""
    scale = max(1 - threshold, _MIN_SCALE)
    share = (score - threshold) / scale
    return min(1.0, share)


def evidence_of(placed: PlacedAlert, rows: ScoredRows) -> EvidenceRow:
    """Return what is kept of an alert of these rows."""
    row = placed.row
    alert = placed.alert
    values = rows.rows[row].tolist()
    return EvidenceRow(
        alert.at,
        alert.score,
        tuple(values),
        entity=alert.entity,
        request=request_of(rows, row),
        place=place_in_request(rows, row),
    )
