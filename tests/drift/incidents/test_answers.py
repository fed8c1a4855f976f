"""What people ask and say of incidents, and that all of it outlives the monitor."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from drift.feedback import Label
from drift.incidents.answers import IncidentAnswers
from drift.incidents.errors import NotLeading, UnknownIncident
from drift.incidents.rules import RuleRefused
from drift.incidents.silences import SilenceRefused
from drift.incidents.windows import DriftEpisode
from drift.watch import Watch
from serve.model.report import CapturedRows, ReplicaReport
from tests.drift.incidents.test_desk import AT, Desk, alerting
from train.judged import read_judged
from vigil.arrays import Floats


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def answers(desk: Desk) -> IncidentAnswers:
    return IncidentAnswers(desk, lambda: desk.now)


def open_incident(desk: Desk, answers: IncidentAnswers, at: float = AT) -> str:
    desk.take(alerting(20, at))
    return str(answers.incidents("open", 10, None)["incidents"][0]["id"])


def order(incident: str, verdict: str = "dismissed", **more: Any) -> dict[str, Any]:
    basis = {"incident": incident, "verdict": verdict, "reason": "backup", "by": "ann"}
    return basis | {"rule": None} | more


def test_answers_are_plain_values(desk: Desk, answers: IncidentAnswers) -> None:
    incident = open_incident(desk, answers)
    shown = answers.incident(incident)
    assert json.loads(msgspec.json.encode(shown))["id"] == incident
    points = shown["points"]
    assert len(points["at"]) == len(points["scores"]) == len(points["features"]["cpu"])


def test_pages_follow_each_other(desk: Desk, answers: IncidentAnswers) -> None:
    for number in range(5):
        desk.take(alerting(5, AT + 10_000 * number))
    first = answers.incidents(None, 3, None)
    second = answers.incidents(None, 3, first["next"])
    ids = [each["id"] for page in (first, second) for each in page["incidents"]]
    assert len(set(ids)) == 5
    assert second["next"] is None


def test_the_later_verdict_wins_and_both_are_kept(desk: Desk, answers: IncidentAnswers) -> None:
    incident = open_incident(desk, answers)
    answers.judge_incident(order(incident, "confirmed", by="bob"))
    desk.now += 1
    assert answers.judge_incident(order(incident))["incident"]["verdict"] == "dismissed"
    shown = answers.incident(incident)
    assert [verdict["by"] for verdict in shown["verdicts"]] == ["bob", "ann"]
    assert shown["verdict"] == "dismissed"


def test_a_verdict_of_a_clock_that_was_set_back_does_not_win(
    desk: Desk, answers: IncidentAnswers
) -> None:
    incident = open_incident(desk, answers)
    answers.judge_incident(order(incident, "confirmed"))
    desk.now -= 3600
    judged = answers.judge_incident(order(incident, rule={"features": [], "until": None}))
    assert (judged["incident"]["verdict"], judged["rule"]) == ("confirmed", None)


def test_rules_that_are_made_at_once_are_all_kept(desk: Desk, answers: IncidentAnswers) -> None:
    for number in range(8):
        desk.take(alerting(20, AT + 10_000 * number))
    incidents = [each["id"] for each in answers.incidents(None, 20, None)["incidents"]]

    def dismiss(incident: str) -> None:
        answers.judge_incident(order(incident, rule={"features": [], "until": None}))

    with ThreadPoolExecutor(8) as people:
        list(people.map(dismiss, incidents))
    assert len(answers.dismissal_rules()["rules"]) == 8


def test_a_rule_holds_back_until_it_is_undone(
    desk: Desk, answers: IncidentAnswers, tmp_path: Path
) -> None:
    incident = open_incident(desk, answers)
    rule = answers.judge_incident(order(incident, rule={"features": [], "until": None}))["rule"]
    assert "cpu up" in rule["sentence"]
    later = AT + 100_000
    desk.now = later
    desk.tick(later)
    # Also for the monitor that takes over.
    other = Desk(tmp_path)
    other.now = later
    told = IncidentAnswers(other, lambda: other.now)
    other.take(alerting(20, later))
    (held,) = told.incidents("open", 10, None)["incidents"]
    assert held["held_by"] == rule["id"]
    assert other.board.held == 1
    assert told.remove_rule(rule["id"], "ann")["id"] == rule["id"]
    assert told.dismissal_rules()["rules"] == []
    (released,) = told.incidents("open", 10, None)["incidents"]
    assert released["held_by"] is None


def test_silences_outlive_the_monitor(desk: Desk, answers: IncidentAnswers, tmp_path: Path) -> None:
    silence = answers.add_silence(
        {"since": AT, "until": AT + 3600, "entity": "host-1", "reason": "disk", "by": "ann"}
    )
    other = Desk(tmp_path)
    other.take(alerting(20, AT + 10))
    told = IncidentAnswers(other, lambda: other.now)
    assert told.incidents(None, 10, None)["incidents"] == []
    assert other.silenced(alerting(3, AT + 10)).all()
    assert told.remove_silence(silence["id"])["id"] == silence["id"]
    assert told.silences()["silences"] == []


def test_what_cannot_be_is_said(desk: Desk, answers: IncidentAnswers) -> None:
    with pytest.raises(UnknownIncident, match="no incident 'nope'"):
        answers.judge_incident(order("nope"))
    with pytest.raises(SilenceRefused, match="begin before it ends"):
        answers.add_silence({"since": 2.0, "until": 1.0, "entity": None, "reason": "", "by": ""})
    with pytest.raises(SilenceRefused, match="no silence"):
        answers.remove_silence("s99")
    with pytest.raises(RuleRefused, match="no dismissal rule"):
        answers.remove_rule("r99", "ann")
    incident = open_incident(desk, answers)
    with pytest.raises(RuleRefused, match="no such features"):
        answers.judge_incident(order(incident, rule={"features": ["gpu"], "until": None}))
    assert answers.incident(incident)["verdicts"] == []


def test_who_stands_by_changes_nothing(desk: Desk, answers: IncidentAnswers) -> None:
    incident = open_incident(desk, answers)
    desk.follow_lease(False)
    assert answers.incident(incident)["id"] == incident
    with pytest.raises(NotLeading):
        answers.judge_incident(order(incident))


def test_judged_incidents_are_labels_with_their_rows(desk: Desk, answers: IncidentAnswers) -> None:
    incident = open_incident(desk, answers)
    answers.judge_incident(order(incident))
    answers.judge_incident(order(incident, "confirmed"))
    (judged,) = read_judged(answers.verdicts())
    assert (judged.incident, judged.confirmed, judged.names) == (incident, True, ("cpu", "net"))
    assert judged.rows[0] == (9.0, 9.0)
    assert desk.precision.confirmed == 1
    assert desk.precision.dismissed == 0


def test_a_verdict_on_drift_says_nothing_of_its_rows(desk: Desk, tmp_path: Path) -> None:
    told: list[Label] = []
    answers = IncidentAnswers(desk, lambda: desk.now, label=told.extend)
    desk.begin_episode(DriftEpisode(id="e1", since=AT, severity=3.0, version="1"), AT)
    incident = open_incident(desk, answers)
    answers.judge_incident(order(incident, "confirmed"))
    assert desk.store.evidence(incident) is not None
    assert desk.judged_incidents() == []
    assert told == []
    # The precision of incidents counts it, also for the monitor that takes over.
    assert Desk(tmp_path).precision.confirmed == 1


def test_a_verdict_is_seen_in_the_precision_that_drift_shows(
    watch: Callable[..., Watch], report: Callable[..., ReplicaReport], live: Callable[..., Floats]
) -> None:
    seen = watch()
    scores = np.zeros(20)
    scores[5:9] = 1.0
    requests = [f"r{row}" for row in range(20)]
    rows = CapturedRows("1", live(20, shift=30.0), scores, requests)
    seen.ingest(report(live(0), rows=[rows]), AT)
    answers = IncidentAnswers(seen.desk, lambda: AT, label=seen.label)
    (incident,) = answers.incidents(None, 10, None)["incidents"]
    answers.judge_incident(order(incident["id"]))
    told = seen.status(AT)["feedback"]
    # Rows that came before there were enough of them are not kept.
    assert (incident["rows"], told["champion"]["false_positive"]) == (4, 2)
    assert told["champion"]["precision"]["value"] == 0.0
    assert told["incidents"]["dismissed"] == 1
    assert told["incidents"]["precision"]["value"] == 0.0
