"""What the service answers about incidents, in plain values; the monitor is asked for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from drift.incidents.desk import IncidentDesk, IncidentDetail
from drift.incidents.incident import EvidenceRow, Incident, IncidentChange, IncidentState
from drift.incidents.rules import DismissalRule
from drift.incidents.silences import Silence
from drift.incidents.tracker import IncidentTracker
from drift.incidents.update import StoredRecord
from drift.incidents.verdicts import (
    GivenVerdict,
    RuleEntry,
    RuleRequest,
    accept_verdict,
    rules_of,
    undo_rule,
)


class IncidentAnswers:
    """Asks the desk; every method may wait for a database."""

    def __init__(self, desk: IncidentDesk, clock: Callable[[], float] = time.time) -> None:
        self._desk = desk
        self._clock = clock

    def incidents(
        self,
        state: IncidentState | None,
        limit: int,
        after: str | None,
    ) -> Any:
        """Return a page of incidents, the latest first."""
        page = self._desk.page(state, limit, after)
        listed = [incident_document(incident) for incident in page.incidents]
        return {"incidents": listed, "next": page.next}

    def incident(self, incident_id: str) -> Any:
        """Return one incident, its worst rows, and what people have said of it."""
        detail = self._desk.incident(incident_id)
        verdicts = self._desk.records("verdict", GivenVerdict, incident_id)
        return {
            **incident_document(detail.incident),
            "points": _points(detail),
            "verdicts": [_verdict_document(verdict) for verdict in verdicts],
        }

    def judge_incident(self, order: Mapping[str, Any]) -> Any:
        """Take in a verdict; return the incident with it, and the rule that it has made."""
        given = GivenVerdict(
            incident=order["incident"],
            verdict=order["verdict"],
            by=order["by"],
            at=self._clock(),
            reason=order["reason"],
            rule=_rule_request(order["rule"]),
        )
        rule = self._judge(given)
        incident = self._desk.incident(given.incident).incident
        return {
            "incident": incident_document(incident),
            "rule": None if rule is None else _rule_document(rule),
        }

    def _judge(self, given: GivenVerdict) -> DismissalRule | None:
        """Store the verdict; return the rule that it has made."""
        desk = self._desk
        incident = desk.incident(given.incident).incident
        history = desk.records("verdict", GivenVerdict, given.incident)
        accepted = accept_verdict(given, incident, history, desk.read(_rules_of_tracker))
        entry = accepted.entry
        records = [StoredRecord("verdict", given.incident, accepted.given), *_rule_record(entry)]
        rules = self._rules_with(entry)

        def step(tracker: IncidentTracker) -> Sequence[IncidentChange]:
            tracker.set_verdict(given.incident, given.verdict)
            return tracker.follow_rules(rules, given.at)

        amended = msgspec.structs.replace(incident, verdict=given.verdict)
        desk.change(step, records, amended=[amended])
        return None if entry is None else entry.rule

    def _rules_with(self, entry: RuleEntry | None) -> list[DismissalRule]:
        """The rules as this entry leaves them."""
        entries = self._desk.records("rule", RuleEntry)
        return rules_of(entries if entry is None else [*entries, entry])

    def silences(self) -> Any:
        """Return all silences, and how the calendar of maintenance was read."""
        silences = self._desk.read(_silences_of_tracker)
        return {
            "silences": [_silence_document(silence) for silence in silences],
            "calendar": msgspec.to_builtins(self._desk.calendar.status),
        }

    def add_silence(self, order: Mapping[str, Any]) -> Any:
        """Add a silence."""
        now = self._clock()
        added: list[Silence] = []

        def step(tracker: IncidentTracker) -> Sequence[IncidentChange]:
            added.append(tracker.silences.add(**order, now=now))
            return ()

        self._desk.change(step)
        return _silence_document(added[0])

    def remove_silence(self, silence_id: str) -> Any:
        """Take a silence back."""
        removed: list[Silence] = []

        def step(tracker: IncidentTracker) -> Sequence[IncidentChange]:
            removed.append(tracker.silences.remove(silence_id))
            return ()

        self._desk.change(step)
        return _silence_document(removed[0])

    def dismissal_rules(self) -> Any:
        """Return the dismissal rules, the latest last."""
        rules = self._desk.read(_rules_of_tracker)
        return {"rules": [_rule_document(rule) for rule in rules]}

    def remove_rule(self, rule_id: str, by: str) -> Any:
        """Undo a dismissal rule: what it holds back is announced."""
        now = self._clock()
        rules = {rule.id: rule for rule in self._desk.read(_rules_of_tracker)}
        entry = undo_rule(rule_id, rules.values(), by, now)
        left = self._rules_with(entry)
        self._desk.change(lambda tracker: tracker.follow_rules(left, now), _rule_record(entry))
        return _rule_document(rules[rule_id])


def _rule_record(entry: RuleEntry | None) -> list[StoredRecord]:
    return [] if entry is None else [StoredRecord("rule", entry.id, entry)]


def _rules_of_tracker(tracker: IncidentTracker) -> list[DismissalRule]:
    return tracker.rules.listed()


def _silences_of_tracker(tracker: IncidentTracker) -> list[Silence]:
    return tracker.silences.listed()


def incident_document(incident: Incident) -> dict[str, Any]:
    """Return an incident as the service and messages have it."""
    return msgspec.to_builtins(incident)


def _points(detail: IncidentDetail) -> dict[str, Any]:
    """The worst rows in the order of their times, in columns: scores, and leading features."""
    evidence = detail.evidence
    if evidence is None:
        return {"at": [], "scores": [], "features": {}}
    rows = sorted(evidence.rows, key=_time_of)
    shown = [feature.feature for feature in detail.incident.features]
    columns = {name: place for place, name in enumerate(evidence.names) if name in shown}
    return {
        "at": [row.at for row in rows],
        "scores": [row.score for row in rows],
        "features": {name: [row.values[place] for row in rows] for name, place in columns.items()},
    }


def _time_of(row: EvidenceRow) -> float:
    return row.at


def _verdict_document(verdict: GivenVerdict) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "by": verdict.by,
        "at": verdict.at,
        "reason": verdict.reason,
    }


def _rule_request(order: Mapping[str, Any] | None) -> RuleRequest | None:
    """What a dismissal asks for; `entity` null: for everybody."""
    if order is None:
        return None
    return RuleRequest(
        features=tuple(order["features"]),
        everywhere="entity" in order and order["entity"] is None,
        until=order["until"],
    )


def _silence_document(silence: Silence) -> dict[str, Any]:
    return msgspec.to_builtins(silence)


def _rule_document(rule: DismissalRule) -> dict[str, Any]:
    return {**msgspec.to_builtins(rule), "sentence": rule.sentence}
