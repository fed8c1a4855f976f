"""What the service answers about incidents, in plain values; the monitor is asked for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from drift.feedback import Label
from drift.incidents.annotations import incident_events, select_events
from drift.incidents.calendar import CalendarStatus
from drift.incidents.channels.channel import ChannelContext
from drift.incidents.desk import IncidentDesk
from drift.incidents.incident import (
    Incident,
    IncidentChange,
    IncidentEvidence,
    IncidentState,
    IncidentTrace,
    TracePoint,
)
from drift.incidents.labels import JudgedIncident, judged_rows, row_labels
from drift.incidents.rules import DismissalRule
from drift.incidents.silences import Silence, Silences
from drift.incidents.store import IncidentPage
from drift.incidents.tracker import IncidentTracker
from drift.incidents.update import StoredRecord
from drift.incidents.verdicts import (
    GivenVerdict,
    RuleEntry,
    RuleRequest,
    accept_verdict,
    apply_entry,
    latest_verdicts,
    undo_rule,
)
from vigil.json_types import JsonObject

TakeLabels = Callable[[list[Label]], Any]


class IncidentAnswers:
    """Asks the desk; every method may wait for a database."""

    def __init__(
        self,
        desk: IncidentDesk,
        clock: Callable[[], float] = time.time,
        label: TakeLabels | None = None,
    ) -> None:
        """`label`: is told what a verdict says of rows."""
        self._desk = desk
        self._clock = clock
        self._label = label
        self._judging = threading.Lock()  # of two verdicts at once the second sees the first

    def incidents(
        self,
        state: IncidentState | None,
        limit: int,
        after: str | None,
    ) -> Any:
        """Return a page of incidents, the latest first."""
        return _page_document(self._desk.store.page(state, limit, after))

    def incident(self, incident_id: str) -> Any:
        """Return one incident, its course, and what people have said of it."""
        store = self._desk.store
        incident = store.incident(incident_id)
        verdicts = store.records("verdict", GivenVerdict, incident_id)
        return {
            **incident_document(incident),
            "points": _points(incident, store.evidence(incident_id)),
            "verdicts": [_verdict_document(verdict) for verdict in verdicts],
        }

    def incident_events(
        self,
        since: float,
        until: float,
        tags: Collection[str],
        *,
        console_url: str,
    ) -> Any:
        """Return begins and ends of incidents from `since` to `until` (Unix seconds)."""
        link = ChannelContext(console_url=console_url).link
        incidents = self._desk.store.begun_by(until)
        events = incident_events(incidents, link)
        return msgspec.to_builtins(select_events(events, since, until, tags=tags))

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
        with self._judging:
            rule = self._judge(given)
        incident = self._desk.store.incident(given.incident)
        self._label_rows(incident)
        return {
            "incident": incident_document(incident),
            "rule": None if rule is None else _rule_document(rule),
        }

    def _judge(self, given: GivenVerdict) -> DismissalRule | None:
        """Store the verdict; return the rule that it has made."""
        store = self._desk.store
        incident = store.incident(given.incident)
        history = store.records("verdict", GivenVerdict, given.incident)
        accepted = accept_verdict(given, incident, history, self._desk.read(_rules_of_tracker))
        counts = latest_verdicts([*history, accepted.given])[given.incident].verdict

        def step(tracker: IncidentTracker) -> Sequence[IncidentChange]:
            tracker.set_verdict(given.incident, counts)
            return _follow_entry(tracker, accepted.entry)

        records = [
            StoredRecord("verdict", given.incident, accepted.given),
            *_rule_record(accepted.entry),
        ]
        amended = msgspec.structs.replace(incident, verdict=counts)
        self._desk.change(step, records, amended=[amended])
        return None if accepted.entry is None else accepted.entry.rule

    def _label_rows(self, incident: Incident) -> None:
        """Pass the verdict that counts on to the labels of rows, for precision and recall."""
        evidence = self._desk.store.evidence(incident.id)
        if self._label is None or evidence is None or incident.kind != "rows":
            return
        if incident.verdict is not None:
            self._label(row_labels([JudgedIncident(evidence, incident.verdict)]))

    def verdicts(self) -> Any:
        """Return the incidents of rows that people have judged, with their worst rows."""
        judged = judged_rows(self._desk.judged_incidents())
        return {"incidents": msgspec.to_builtins(judged)}

    def silences(self) -> Any:
        """Return all silences, and how the calendar of maintenance was read."""
        silences = self._desk.read(_silences_of_tracker)
        return _silences_document(silences, self._desk.calendar.status)

    def add_silence(self, order: Mapping[str, Any]) -> Any:
        """Add a silence."""
        now = self._clock()
        return self._edit_silences(lambda silences: silences.add(**order, now=now))

    def remove_silence(self, silence_id: str) -> Any:
        """Take a silence back."""
        return self._edit_silences(lambda silences: silences.remove(silence_id))

    def _edit_silences(self, edit: Callable[[Silences], Silence]) -> Any:
        edited: list[Silence] = []

        def step(tracker: IncidentTracker) -> Sequence[IncidentChange]:
            edited.append(edit(tracker.silences))
            return ()

        self._desk.change(step)
        return _silence_document(edited[0])

    def dismissal_rules(self) -> Any:
        """Return the dismissal rules, the latest last."""
        rules = self._desk.read(_rules_of_tracker)
        return {"rules": [_rule_document(rule) for rule in rules]}

    def remove_rule(self, rule_id: str, by: str) -> Any:
        """Undo a dismissal rule: what it holds back is announced."""
        rules = {rule.id: rule for rule in self._desk.read(_rules_of_tracker)}
        entry = undo_rule(rule_id, rules.values(), by, self._clock())
        self._desk.change(lambda tracker: _follow_entry(tracker, entry), _rule_record(entry))
        return _rule_document(rules[rule_id])


def _follow_entry(tracker: IncidentTracker, entry: RuleEntry | None) -> Sequence[IncidentChange]:
    """Make or undo a rule."""
    if entry is None:
        return ()
    return tracker.follow_rules(apply_entry(tracker.rules.listed(), entry), entry.at)


def _rule_record(entry: RuleEntry | None) -> list[StoredRecord]:
    return [] if entry is None else [StoredRecord("rule", entry.id, entry)]


def _rules_of_tracker(tracker: IncidentTracker) -> list[DismissalRule]:
    return tracker.rules.listed()


def _silences_of_tracker(tracker: IncidentTracker) -> list[Silence]:
    return tracker.silences.listed()


def incident_document(incident: Incident) -> dict[str, Any]:
    """Return an incident as the service and messages have it."""
    return msgspec.to_builtins(incident)


def _points(incident: Incident, evidence: IncidentEvidence | None) -> dict[str, Any]:
    """The course of an incident in the order of its times, in columns."""
    trace = evidence.trace if evidence is not None else IncidentTrace()
    shown = [deviation.feature for deviation in incident.features]
    features = {
        name: [_value_at(point, place) for point in trace.points]
        for place, name in enumerate(trace.names)
        if name in shown
    }
    return {
        "at": [point.at for point in trace.points],
        "scores": [point.score for point in trace.points],
        "threshold": trace.threshold,
        "features": features,
    }


def _value_at(point: TracePoint, place: int) -> float | None:
    """None where the value is missing, or the point is older than the feature's part in it."""
    return point.values[place] if place < len(point.values) else None


def _verdict_document(verdict: GivenVerdict) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "by": verdict.by,
        "at": verdict.at,
        "reason": verdict.reason,
    }


def _silences_document(silences: Iterable[Silence], calendar: CalendarStatus) -> JsonObject:
    return {
        "silences": list(map(_silence_document, silences)),
        "calendar": msgspec.to_builtins(calendar),
    }


def _page_document(page: IncidentPage) -> JsonObject:
    listed = list(map(incident_document, page.incidents))
    return {"incidents": listed, "next": page.next}


def _is_for_everybody(order: Mapping[str, Any]) -> bool:
    return "entity" in order and order["entity"] is None


def _rule_request(order: Mapping[str, Any] | None) -> RuleRequest | None:
    """What a dismissal asks for; `entity` null: for everybody."""
    if order is None:
        return None
    return RuleRequest(
        features=tuple(order["features"]),
        everywhere=_is_for_everybody(order),
        until=order["until"],
    )


def _silence_document(silence: Silence) -> dict[str, Any]:
    return msgspec.to_builtins(silence)


def _rule_document(rule: DismissalRule) -> dict[str, Any]:
    return {**msgspec.to_builtins(rule), "sentence": rule.sentence}
