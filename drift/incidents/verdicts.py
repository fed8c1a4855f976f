"""What people say of incidents. Pure: the same history gives the same verdicts and the same rules.

A verdict is given of one incident by one person. All are kept, and the later one wins. A dismissal
may make a rule; a confirmation undoes that of its incident. Rules have a history of their own, so
that they outlive incidents that are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from drift.incidents.incident import Incident, IncidentVerdict
from drift.incidents.names import bounded_name
from drift.incidents.rules import (
    MAX_RULES,
    SIZE_MARGIN,
    DismissalRule,
    RuleRefused,
    rule_features,
)

MAX_VERDICT_REASON = 500


class RuleRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The rule that a dismissal asks for.

    features: none: the leading ones of the incident; everywhere: for all entities
    until: Unix seconds, None: for good; margin: times the deviation of the incident
    """

    features: tuple[str, ...] = ()
    everywhere: bool = False
    until: float | None = None
    margin: float = SIZE_MARGIN


class GivenVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """A person's word on an incident, at `at` (Unix seconds)."""

    incident: str
    verdict: IncidentVerdict
    by: str
    at: float
    reason: str = ""
    rule: RuleRequest | None = None


class RuleEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A rule was made, or undone where `rule` is None."""

    id: str
    at: float
    by: str
    rule: DismissalRule | None = None


class AcceptedVerdict(NamedTuple):
    """What is to be stored of a verdict: itself, and what it does to the rule of its incident."""

    given: GivenVerdict
    entry: RuleEntry | None


def latest_verdicts(history: Iterable[GivenVerdict]) -> dict[str, GivenVerdict]:
    """Return the verdict that counts of each incident: the later one, of two at once the last."""
    latest: dict[str, GivenVerdict] = {}
    for given in history:
        former = latest.get(given.incident)
        if former is None or former.at <= given.at:
            latest[given.incident] = given
    return latest


def rules_of(entries: Iterable[RuleEntry]) -> list[DismissalRule]:
    """Return the rules that a history of rules leaves, the latest last."""
    rules: list[DismissalRule] = []
    for entry in entries:
        rules = apply_entry(rules, entry)
    return rules


def apply_entry(rules: Iterable[DismissalRule], entry: RuleEntry) -> list[DismissalRule]:
    """Return the rules as an entry leaves them, the one that it makes last."""
    others = [rule for rule in rules if rule.id != entry.id]
    return others if entry.rule is None else [*others, entry.rule]


def accept_verdict(
    given: GivenVerdict,
    incident: Incident,
    history: Sequence[GivenVerdict],
    rules: Sequence[DismissalRule],
) -> AcceptedVerdict:
    """Return what a verdict on this incident leaves in the histories.

    history: of this incident, so far; rules: all. Raises RuleRefused.
    """
    bounded = msgspec.structs.replace(
        given,
        by=bounded_name(given.by),
        reason=given.reason[:MAX_VERDICT_REASON],
    )
    latest = latest_verdicts([*history, bounded])
    if latest[bounded.incident] is not bounded:
        return AcceptedVerdict(bounded, None)
    entry = _entry(bounded, incident, rules)
    return AcceptedVerdict(bounded, entry)


def undo_rule(
    rule_id: str,
    rules: Iterable[DismissalRule],
    by: str,
    at: float,
) -> RuleEntry:
    """Return the entry that undoes a rule. Raises RuleRefused when there is none."""
    if rule_id not in _by_id(rules):
        raise RuleRefused(f"there is no dismissal rule {bounded_name(rule_id)!r}")
    return RuleEntry(
        id=rule_id,
        at=at,
        by=bounded_name(by),
    )


def _by_id(rules: Iterable[DismissalRule]) -> Mapping[str, DismissalRule]:
    return {rule.id: rule for rule in rules}


def _entry(
    given: GivenVerdict,
    incident: Incident,
    rules: Sequence[DismissalRule],
) -> RuleEntry | None:
    rule_id = f"rule-{incident.id}"
    is_there = rule_id in _by_id(rules)
    if given.verdict == "confirmed" and is_there:
        return RuleEntry(
            id=rule_id,
            at=given.at,
            by=given.by,
        )
    if given.verdict == "confirmed" or given.rule is None:
        return None
    if len(rules) >= MAX_RULES and not is_there:
        raise RuleRefused(f"there are {MAX_RULES} dismissal rules already; undo some")
    rule = _rule(rule_id, given, incident, given.rule)
    return RuleEntry(
        id=rule_id,
        at=given.at,
        by=given.by,
        rule=rule,
    )


def _rule(
    rule_id: str,
    given: GivenVerdict,
    incident: Incident,
    request: RuleRequest,
) -> DismissalRule:
    if request.until is not None and request.until <= given.at:
        raise RuleRefused("the rule would have ended before it began", field="until")
    return DismissalRule(
        id=rule_id,
        incident=incident.id,
        features=rule_features(incident, request.features, request.margin),
        entity=_entity(incident, request),
        until=request.until,
        by=given.by,
        reason=given.reason,
    )


def _entity(incident: Incident, request: RuleRequest) -> str | None:
    """Whose rows the rule is for, None for everybody's."""
    if request.everywhere:
        return None
    if incident.kind != "rows" or incident.entity_count > 1:
        raise RuleRefused(
            "the incident is of more than one entity: a rule must be for all of them (everywhere)"
        )
    return incident.entities[0] if incident.entities else ""
