"""Verdicts: the later one counts, rules come and go, and a history replays to the same state."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from drift.incidents.deviation import Deviations
from drift.incidents.incident import FeatureDeviation, Incident, IncidentVerdict, ScoredRows
from drift.incidents.rules import MAX_RULES, DismissalRule, RuleRefused
from drift.incidents.tracker import IncidentTracker
from drift.incidents.verdicts import (
    GivenVerdict,
    RuleEntry,
    RuleRequest,
    accept_verdict,
    latest_verdicts,
    rules_of,
    undo_rule,
)
from tests.drift.incidents.scenes import settings
from vigil.arrays import Floats


def incident(number: str = "1", entities: tuple[str, ...] = ("a",)) -> Incident:
    return Incident(
        id=number,
        state="closed",
        onset=0.0,
        last_seen=9.0,
        end=9.0,
        rows=5,
        peak_score=0.9,
        grade=0.8,
        model_version="1",
        entities=entities,
        entity_count=len(entities),
        features=(
            FeatureDeviation("cpu", 90.0, 50.0, "up"),
            FeatureDeviation("disk", 1.0, 5.0, "down"),
        ),
    )


def verdict(
    word: IncidentVerdict,
    at: float,
    *,
    of: str = "1",
    by: str = "ann",
    rule: RuleRequest | None = None,
) -> GivenVerdict:
    return GivenVerdict(incident=of, verdict=word, by=by, at=at, rule=rule)


def rule_of(request: RuleRequest, of: Incident | None = None) -> DismissalRule:
    given = verdict("dismissed", 10, rule=request)
    accepted = accept_verdict(given, of or incident(), [], [])
    assert accepted.entry is not None
    assert accepted.entry.rule is not None
    return accepted.entry.rule


def test_the_later_verdict_counts_and_of_two_at_once_the_last() -> None:
    ann = verdict("confirmed", 10)
    bob = verdict("dismissed", 10, by="bob")
    early = verdict("confirmed", 5, by="eve")
    assert latest_verdicts([ann, bob, early]) == {"1": bob}


def test_a_dismissal_makes_a_rule_of_the_leading_features_and_up_to_a_margin() -> None:
    rule = rule_of(RuleRequest())
    assert (rule.id, rule.entity, rule.by) == ("rule-1", "a", "ann")
    assert [(limit.feature, limit.direction, limit.size) for limit in rule.features] == [
        ("cpu", "up", 60.0),
        ("disk", "down", 6.0),
    ]
    assert rule.sentence == (
        "cpu up by at most 60, disk down by at most 6 of a, as dismissed in incident 1"
    )
    small = rule_of(RuleRequest(features=("disk",), everywhere=True, until=99, margin=1))
    assert (small.entity, small.until, small.features[0].size) == (None, 99, 4.0)


@pytest.mark.parametrize(
    ("request_", "of", "message"),
    [
        (RuleRequest(features=("memory",)), incident(), "no such features"),
        (RuleRequest(until=10), incident(), "ended before it began"),
        (RuleRequest(), incident(entities=("a", "b")), "more than one entity"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(
    request_: RuleRequest, of: Incident, message: str
) -> None:
    with pytest.raises(RuleRefused, match=message):
        rule_of(request_, of)


def test_rules_are_bounded() -> None:
    rules = [
        DismissalRule(id=str(number), incident="x", features=()) for number in range(MAX_RULES)
    ]
    given = verdict("dismissed", 10, rule=RuleRequest())
    with pytest.raises(RuleRefused, match="already"):
        accept_verdict(given, incident(), [], rules)


def test_a_confirmation_undoes_the_rule_of_its_incident() -> None:
    rule = rule_of(RuleRequest())
    accepted = accept_verdict(verdict("confirmed", 20), incident(), [], [rule])
    assert accepted.entry == RuleEntry(id=rule.id, at=20, by="ann")
    # One that was given before the dismissal, and came after it, changes nothing.
    late = verdict("confirmed", 5)
    history = [verdict("dismissed", 10)]
    assert accept_verdict(late, incident(), history, [rule]).entry is None


def test_a_rule_can_be_undone_once() -> None:
    rule = rule_of(RuleRequest())
    made = RuleEntry(id=rule.id, at=10, by="ann", rule=rule)
    undone = undo_rule(rule.id, [rule], by="bob", at=11)
    assert rules_of([made]) == [rule]
    assert rules_of([made, undone]) == []
    with pytest.raises(RuleRefused, match="no dismissal rule"):
        undo_rule(rule.id, [], by="bob", at=12)


words: st.SearchStrategy[IncidentVerdict] = st.sampled_from(["confirmed", "dismissed"])
given_verdicts = st.lists(
    st.builds(
        verdict,
        words,
        st.integers(0, 5).map(float),
        of=st.sampled_from(["1", "2", "3"]),
        by=st.sampled_from(["ann", "bob", "\ud800" * 300]),
        rule=st.sampled_from([None, RuleRequest(), RuleRequest(everywhere=True)]),
    ),
    max_size=20,
)


@hypothesis_settings(max_examples=50, deadline=None)
@given(given_words=given_verdicts)
def test_the_stored_histories_replay_to_the_same_state(given_words: Sequence[GivenVerdict]) -> None:
    history: list[GivenVerdict] = []
    entries: list[RuleEntry] = []
    rules: list[DismissalRule] = []
    for word in given_words:
        own = [former for former in history if former.incident == word.incident]
        accepted = accept_verdict(word, incident(word.incident), own, rules)
        history.append(accepted.given)
        entries += [accepted.entry] if accepted.entry else []
        rules = rules_of(entries)
    stored = msgspec.json.encode((history, entries))
    again, made = msgspec.json.decode(stored, type=tuple[list[GivenVerdict], list[RuleEntry]])
    assert len(again) == len(given_words)
    assert latest_verdicts(again) == latest_verdicts(history)
    assert rules_of(made) == rules
    confirmed = {id for id, word in latest_verdicts(history).items() if word.verdict == "confirmed"}
    assert confirmed.isdisjoint(rule.incident for rule in rules)


# What servers do: each has a nightly job that is no incident, and now and then there is one.

FEATURES = ("cpu", "disk", "network", "errors")
EXPECTED = (50.0, 100.0, 20.0, 1.0)
SERVERS = 25
HOUR_S = 3600.0


class Servers:
    """Incidents an hour apart: nine of ten are a server's nightly job, of a size that varies."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        # The same of each server in every history: which feature its job moves, and how far.
        jobs = np.random.default_rng(0)
        self._job = jobs.integers(0, 3, SERVERS)
        self._size = jobs.uniform(0.5, 1.5, SERVERS)

    def incident(self, number: int) -> tuple[ScoredRows, bool]:
        """Rows of one incident, and whether it is a real one."""
        server = int(self._rng.integers(SERVERS))
        is_real = bool(self._rng.random() < 0.3)
        rows = np.tile(EXPECTED, (6, 1)) * self._rng.normal(1, 0.02, (6, 4))
        if is_real:
            # Either errors, or what the job moves, but much further or to the other side.
            feature, factor = self._real(server)
            rows[:, feature] += factor * EXPECTED[feature]
        else:
            share = self._size[server] * self._rng.uniform(0.8, 1.2)
            rows[:, self._job[server]] += share * EXPECTED[self._job[server]]
        times = number * HOUR_S + np.arange(6.0)
        scores = self._rng.uniform(0.62, 0.8, 6)
        return (
            ScoredRows(
                version="1",
                threshold=0.6,
                names=FEATURES,
                rows=rows,
                scores=scores,
                times=times,
                arrived=float(times[-1]),
                entities=[f"server-{server}"] * 6,
            ),
            is_real,
        )

    def _real(self, server: int) -> tuple[int, float]:
        kinds = [(3, 8.0), (int(self._job[server]), 4.0), (int(self._job[server]), -0.7)]
        return kinds[int(self._rng.integers(3))]


def by_size(rows: Floats) -> list[Deviations]:
    described = []
    for row in rows.tolist():
        deviations = [
            FeatureDeviation(name, value, usual, "up" if value >= usual else "down")
            for name, value, usual in zip(FEATURES, row, EXPECTED, strict=True)
        ]
        deviations.sort(key=lambda deviation: -deviation.difference / deviation.expected)
        described.append(tuple(deviations))
    return described


def announced(
    tracker: IncidentTracker, servers: Servers, count: int
) -> list[tuple[Incident, bool]]:
    """The incidents that people hear of, and whether they are real."""
    heard: list[tuple[Incident, bool]] = []
    for number in range(count):
        rows, is_real = servers.incident(number)
        changes = tracker.observe(rows, by_size)
        heard += [(change.incident, is_real) for change in changes if change.kind == "opened"]
        tracker.tick(math.inf)
    return heard


def test_fifty_dismissals_make_four_of_five_false_incidents_go_and_lose_no_real_one() -> None:
    entries: list[RuleEntry] = []
    dismissed = 0
    for heard, is_real in announced(IncidentTracker(settings()), Servers(seed=1), 400):
        word: IncidentVerdict = "confirmed" if is_real else "dismissed"
        if word == "dismissed" and dismissed == 50:
            continue
        dismissed += word == "dismissed"
        given = verdict(word, 1.0, of=heard.id, rule=None if is_real else RuleRequest())
        accepted = accept_verdict(given, heard, [], rules_of(entries))
        entries += [accepted.entry] if accepted.entry else []
    assert dismissed == 50

    held_back = 1000
    before = announced(IncidentTracker(settings()), Servers(seed=2), held_back)
    taught = IncidentTracker(settings())
    taught.follow_rules(rules_of(entries), now=0)
    after = announced(taught, Servers(seed=2), held_back)

    def count(heard: list[tuple[Incident, bool]], real: bool) -> int:
        return sum(is_real == real for _, is_real in heard)

    assert count(after, real=True) == count(before, real=True) > 200
    assert count(after, real=False) <= 0.2 * count(before, real=False)
