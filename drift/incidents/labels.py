"""Verdicts on incidents as labels: of rows, for the precision of alerts, and for the next gate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from drift.feedback import Label
from drift.incidents.incident import IncidentEvidence, IncidentVerdict
from train.judged import JudgedRows
from train.model.bundle import ModelBundle
from train.model.gate import CONFIRMED_ALERTS, DISMISSED_ALERTS, GateVerdict, judge_answers
from vigil.arrays import Floats
from vigil.json_types import JsonObject
from vigil.statistics import share_interval


class JudgedIncident(NamedTuple):
    """The worst rows of an incident, and the verdict that counts."""

    evidence: IncidentEvidence
    verdict: IncidentVerdict


class AnsweredIncidents(NamedTuple):
    """Rows [m, d] of each incident that was confirmed, and of each that was dismissed.

    A challenger should alert on some row of the former, and on no row of the latter.
    """

    confirmed: list[Floats]
    dismissed: list[Floats]


class IncidentPrecision(NamedTuple):
    """How many incidents were confirmed and dismissed, and Wilson's 95 % interval of the share."""

    confirmed: int
    dismissed: int
    value: float | None
    low: float
    high: float

    def status(self) -> JsonObject:
        """Return what `/drift` shows."""
        return {
            "confirmed": self.confirmed,
            "dismissed": self.dismissed,
            "precision": self._interval(),
        }

    def _interval(self) -> JsonObject | None:
        if self.value is None:
            return None
        return {"value": self.value, "low": self.low, "high": self.high}


NOTHING_JUDGED = IncidentPrecision(
    0,
    0,
    None,
    0.0,
    1.0,
)


def incident_precision(verdicts: Iterable[IncidentVerdict]) -> IncidentPrecision:
    """Return the share of answered incidents that were confirmed; None of none."""
    answers = list(verdicts)
    confirmed = answers.count("confirmed")
    dismissed = answers.count("dismissed")
    answered = confirmed + dismissed
    bounds = share_interval(confirmed, answered)
    value = confirmed / answered if answered else None
    return IncidentPrecision(
        confirmed,
        dismissed,
        value,
        bounds.low,
        bounds.high,
    )


def row_labels(judged: Iterable[JudgedIncident]) -> list[Label]:
    """Return labels of the worst rows of each incident, where it is known who asked for them.

    A long incident counts no more than a short one.
    """
    return [label for incident in judged for label in _labels_of(incident)]


def _labels_of(judged: JudgedIncident) -> Iterator[Label]:
    is_anomaly = judged.verdict == "confirmed"
    for row in judged.evidence.rows:
        if row.request:
            yield Label(row.request, is_anomaly, row.place)


def judged_rows(judged: Iterable[JudgedIncident]) -> list[JudgedRows]:
    """Return what a recalibration learns of each incident that has rows."""
    return [
        JudgedRows(
            incident=evidence.incident,
            confirmed=verdict == "confirmed",
            names=evidence.names,
            rows=tuple(row.values for row in evidence.rows),
        )
        for evidence, verdict in judged
        if evidence.rows
    ]


def answered_incidents(
    judged: Iterable[JudgedIncident],
    names: tuple[str, ...],
) -> AnsweredIncidents:
    """Return the rows of incidents of a model with these features, in their order."""
    answered = AnsweredIncidents([], [])
    for incident in judged:
        rows = _rows_of(incident.evidence, names)
        if rows is None:
            continue
        if incident.verdict == "confirmed":
            answered.confirmed.append(rows)
        else:
            answered.dismissed.append(rows)
    return answered


def _rows_of(evidence: IncidentEvidence, names: tuple[str, ...]) -> Floats | None:
    """The worst rows with the features in this order; None where it has others."""
    if not evidence.rows or set(evidence.names) != set(names):
        return None
    order = [evidence.names.index(name) for name in names]
    values = [row.values for row in evidence.rows]
    return np.array(values, dtype=np.float64)[:, order]


def judge_by_answers(
    challenger: ModelBundle,
    champion: ModelBundle,
    judged: Iterable[JudgedIncident],
) -> GateVerdict | None:
    """Judge a challenger by what people have said of the champion's incidents.

    It may not lose what was confirmed, nor bring back what was dismissed; None without answers.
    """
    incidents = list(judged)
    before = _shares_that_alert(champion, incidents)
    after = _shares_that_alert(challenger, incidents)
    if not before or before.keys() != after.keys():
        return None
    return judge_answers(after, before)


def _shares_that_alert(
    bundle: ModelBundle,
    judged: Iterable[JudgedIncident],
) -> dict[str, float]:
    """The share of the incidents of each verdict on which a model still alerts."""
    answered = answered_incidents(judged, bundle.names)
    by_metric = {
        CONFIRMED_ALERTS: answered.confirmed,
        DISMISSED_ALERTS: answered.dismissed,
    }
    return {
        metric: _share_that_alerts(bundle, incidents)
        for metric, incidents in by_metric.items()
        if incidents
    }


def _share_that_alerts(bundle: ModelBundle, incidents: list[Floats]) -> float:
    alerts = [_alerts(bundle, rows) for rows in incidents]
    return sum(alerts) / len(alerts)


def _alerts(bundle: ModelBundle, rows: Floats) -> bool:
    """Whether a model alerts on any of these rows."""
    highest = bundle.forest.score(rows).max()
    return bool(highest > bundle.threshold.value)
