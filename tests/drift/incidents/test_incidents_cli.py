"""`vigil incidents`, `silence` and `rules` against a service that answers as the real one does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner, Result

from drift.incidents.cli import incidents_command, rules_command, silence_command
from tests.answering import Asked, answering

FEATURE = {"feature": "cpu\x1b[2J", "observed": 9.5, "expected": 1.25, "direction": "up"}
INCIDENT = {
    "id": "0001-1",
    "state": "open",
    "onset": 1_795_946_400.0,
    "rows": 12,
    "peak_score": 0.81,
    "grade": 0.4,
    "entities": ["host-1", "host-2", "host-3"],
    "entity_count": 5,
    "features": [FEATURE],
    "model_version": "3",
    "verdict": None,
    "held_by": None,
}
SILENCE = {"id": "s1", "since": 0.0, "until": 60.0, "entity": None, "reason": "disk", "by": "ann"}
CALENDAR = {"source": "team.ics", "error": "it cannot be read: no such file"}
RULE = {
    "id": "r1",
    "incident": "0001-1",
    "sentence": "cpu up by at most 12 of host-1",
    "until": None,
    "by": "ann",
    "reason": "backup",
}
JUDGED = {"incident": INCIDENT | {"verdict": "dismissed"}, "rule": RULE}
ANSWERS: dict[tuple[str, str], Any] = {
    ("GET", "/incidents?limit=20"): {"incidents": [INCIDENT], "next": "0001-1"},
    ("GET", "/incidents?state=open&limit=3"): {"incidents": [], "next": None},
    ("GET", "/incidents/0001-1"): INCIDENT
    | {"verdicts": [{"at": 0.0, "by": "ann", "verdict": "confirmed", "reason": "seen"}]},
    ("POST", "/incidents/a%2Fb/verdict"): JUDGED,
    ("POST", "/incidents/0001-1/verdict"): JUDGED,
    ("GET", "/silences"): {"silences": [SILENCE], "calendar": CALENDAR},
    ("POST", "/silences/add"): SILENCE,
    ("POST", "/silences/remove"): SILENCE,
    ("GET", "/rules"): {"rules": [RULE]},
    ("POST", "/rules/remove"): RULE,
}


class Stub:
    """The service, and what it was asked."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[Any] = []

    def answer(self, asked: Asked) -> tuple[int, Any]:
        if asked.body:
            self.bodies.append(json.loads(asked.body))
        answer = ANSWERS.get((asked.method, asked.path))
        if answer is None:
            message = f"no {asked.method} {asked.path}"
            return 404, {"error": {"type": "NotFound", "message": message}}
        return 200, answer


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    made = Stub()
    with answering(made.answer) as url:
        made.url = url
        yield made


def run(stub: Stub, command: Any, *args: str) -> Result:
    return CliRunner().invoke(command, [*args], env={"VIGIL_URL": stub.url})


def test_a_page_of_incidents_says_how_to_see_more(stub: Stub) -> None:
    shown = run(stub, incidents_command)
    assert shown.exit_code == 0
    assert "host-1, host-2, host-3 and 2 more" in shown.stdout
    assert "2026-11-29T10:00:00Z" in shown.stdout
    assert "vigil incidents --next 0001-1" in shown.stderr


def test_names_from_outside_do_not_reach_the_terminal(stub: Stub) -> None:
    for args in ((), ("show", "0001-1")):
        assert "\x1b" not in run(stub, incidents_command, *args).stdout


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        (incidents_command, ["--state", "open", "--limit", "3", "--json"], '"incidents": []'),
        (incidents_command, ["show", "0001-1"], "ann: confirmed: seen"),
        (incidents_command, ["confirm", "0001-1"], "0001-1: dismissed"),
        (incidents_command, ["dismiss", "a/b", "--rule"], "rule r1 holds back cpu up"),
        (silence_command, ["list"], "team.ics holds as it was read last"),
        (silence_command, ["add", "--to", "2026-12-01T10:00:00Z"], "s1"),
        (silence_command, ["remove", "s1"], "1970-01-01T00:01:00Z"),
        (rules_command, ["list"], "for good"),
        (rules_command, ["remove", "r1"], "removed r1"),
    ],
)
def test_each_command_shows_what_the_service_answers(
    stub: Stub, command: Any, args: list[str], expected: str
) -> None:
    shown = run(stub, command, *args)
    assert shown.exit_code == 0, shown.output
    assert expected in shown.output


def test_a_rule_has_what_the_options_say(stub: Stub) -> None:
    options = ["--features", "cpu, net", "--every-entity", "--until", "2027-01-01"]
    run(stub, incidents_command, "dismiss", "0001-1", "--rule", *options)
    rule = {"until": "2027-01-01", "features": ["cpu", "net"], "entity": None}
    assert stub.bodies[-1]["rule"] == rule


def test_an_incident_that_is_not_there_is_said(stub: Stub) -> None:
    shown = run(stub, incidents_command, "show", "nope")
    assert shown.exit_code == 1
    assert "no GET /incidents/nope" in shown.stderr


def test_a_time_that_is_none_is_wrong_usage(stub: Stub) -> None:
    shown = run(stub, silence_command, "add", "--to", "tomorrow")
    assert shown.exit_code == 2
    assert "--to 'tomorrow' is no time" in shown.stderr
