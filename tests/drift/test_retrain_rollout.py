"""What becomes of a retrained version that passed its gate: straight, by shadow, or by canary."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.job_submission import JobStatus

from drift.incidents.incident import EvidenceRow, IncidentEvidence
from drift.incidents.labels import JudgedIncident
from drift.release import Release, Retraining
from drift.retrain import Retrainer
from drift.rollout import Rollout
from drift.settings import DriftSettings
from drift.training_job import Episode, RayTraining
from serve.metrics import DriftMetrics
from tests.train.registry.test_promotion import Shelf
from train.model.bundle import ModelBundle
from train.registry.canary import Canary
from train.registry.moves import completed_moves
from train.registry.promotion import promote_version, stop_canary
from train.registry.versions import Registry, Version
from train.spec import JobSpec
from train.submit import JobLost, Jobs, JobState
from vigil.errors import JobsUnavailable

GATE = {"passed": True, "reason": "better"}
EPISODE = Episode("1", 0.0, "drift")
SHADOW = {
    "errors": 0,
    "rows": 100,
    "champion_alert_rate": 0.01,
    "challenger_alert_rate": 0.02,
    "champion_us_per_row": 10.0,
    "challenger_us_per_row": 12.0,
}


class Shelved(Shelf):
    """With what a retraining asks of the registry besides; `end` says how its canary ends."""

    end = ""
    registered: Version | None = None

    def champion(self) -> Version | None:
        version = self.alias.get("champion")
        return Version(version, "run", "digest", 0.0) if version else None

    def fetch(self, version: Version, cache: Path) -> Any:
        return SimpleNamespace(info={"data": "table.csv", "label": None})

    def of_job(self, job: str) -> Version | None:
        return self.registered

    def gate(self, version: Version) -> dict[str, Any]:
        return GATE

    def canary(self) -> Canary | None:
        running = self.trial
        if running is None or self.holder is not None or not self.is_started(running):
            return running
        if self.end == "stop":
            stop_canary(self, running, reason="too many alerts", actor="guard")
        elif self.end == "promote":
            promote_version(self, running.version, reason="canary passed", actor="guard")
        return self.trial

    def is_started(self, running: Canary) -> bool:
        moves = completed_moves(self)
        return any(move.kind == "canary" and move.to == running.version for move in moves)


@pytest.fixture
def shelf() -> Shelved:
    made = Shelved()
    promote_version(made, "1", reason="", actor="")
    return made


def roll_out(shelf: Shelved, found: dict[str, Any] | None = None, **settings: Any) -> Retraining:
    chosen = DriftSettings(retrain_timeout_s=0.01, **settings)
    rollout = Rollout(chosen, DriftMetrics())
    rollout.budget = 0.01
    rollout.shadow.summary = lambda challenger=None: found  # type: ignore[method-assign]
    release = Release(chosen, cast(Registry, shelf), rollout, poll_interval_s=0.0)
    return release.run("2", GATE, "drift: x")


def retrainer(shelf: Shelved, connect: Callable[[str], Any] = Jobs, **settings: Any) -> Retrainer:
    chosen = DriftSettings(**settings)
    rollout = Rollout(chosen, DriftMetrics())
    return Retrainer(chosen, cast(Registry, shelf), rollout, connect=connect)


def test_by_default_the_gate_alone_decides(shelf: Shelved) -> None:
    assert roll_out(shelf).outcome == "promoted"
    assert (shelf.alias["champion"], completed_moves(shelf)[0].gates) == ("2", GATE)


def test_the_shadows_evidence_is_part_of_the_gate(shelf: Shelved) -> None:
    assert roll_out(shelf, SHADOW, shadow_rows=100).outcome == "promoted"
    assert completed_moves(shelf)[0].gates["shadow"] == SHADOW


@pytest.mark.parametrize("found", [None, SHADOW | {"rows": 99}, SHADOW | {"errors": 1}])
def test_a_challenger_that_fails_in_the_shadow_is_kept_back(
    shelf: Shelved, found: dict[str, Any] | None
) -> None:
    kept = roll_out(shelf, found, shadow_rows=100)
    assert (kept.outcome, shelf.alias["champion"]) == ("kept", "1")
    assert "shadow" in kept.reason


@pytest.mark.parametrize(
    ("end", "outcome", "champion"), [("promote", "promoted", "2"), ("stop", "kept", "1")]
)
def test_a_canary_decides_where_the_settings_ask_for_one(
    shelf: Shelved, end: str, outcome: str, champion: str
) -> None:
    shelf.end = end
    ended = roll_out(shelf, canary_steps="5:60,25:60")
    assert (ended.outcome, shelf.alias["champion"]) == (outcome, champion)
    assert ("too many alerts" if end == "stop" else "canary passed") in ended.reason
    again = roll_out(shelf, canary_steps="5:60,25:60")  # a monitor that restarts repeats nothing
    assert (again.outcome, [m.kind for m in completed_moves(shelf)].count("canary")) == (outcome, 1)


def test_the_reason_is_the_summary_and_the_sentences_that_decided() -> None:
    ended = Retraining.decided(
        "kept", "version 2 failed the gate", ["a is over", "b is under"], "2"
    )
    assert ended.reason == "version 2 failed the gate: a is over; b is under"
    noted = ended.with_note("it was submitted again")
    assert noted.reason == f"{ended.reason}; it was submitted again"
    assert noted.detail == ("a is over", "b is under", "it was submitted again")
    assert ended.with_note("") is ended


def test_a_job_server_that_is_not_ready_is_asked_again_later(shelf: Shelved) -> None:
    def refuse(*job: Any) -> bool:
        raise JobsUnavailable("No available agent to submit job")

    with pytest.raises(JobsUnavailable, match="No available agent"):
        retrainer(shelf, lambda _: SimpleNamespace(start=refuse)).run(EPISODE)


class Remembering:
    """A job server that remembers what it was asked for, and whose jobs fail."""

    def __init__(self, url: str) -> None:
        self.started: list[Any] = []

    def start(self, *job: Any) -> bool:
        self.started.append(job)
        return True

    def follow(self, job: str, timeout_s: float) -> JobState:
        return JobState(JobStatus.FAILED, ("starting", "no rows"))


def test_a_retraining_is_asked_for_what_the_champion_was_made_of(tmp_path: Path) -> None:
    server = Remembering("")
    info = {
        "data": "/t.csv",
        "label": "y",
        "columns": {"features": ["a", "b"], "time": "t"},
        "over_time": "diff:1",
        "forest": {"n_estimators": 400, "max_features": 0.5},
    }
    episode = Episode("17-volume", 5.0, "volume", trigger="volume")
    training = RayTraining(DriftSettings(home=tmp_path), episode, lambda _: cast(Jobs, server))
    assert training.run(info).ended == "ended FAILED without a version: no rows"
    ((job, spec, environment),) = server.started
    assert job == "retrain-17-volume"
    assert spec == JobSpec(
        data="/t.csv",
        captured=str(tmp_path / "captured"),
        since=5.0,
        trigger="volume",
        key="17-volume",
        label="y",
        time="t",
        features=("a", "b"),
        over_time="diff:1",
    )
    assert environment == {"VIGIL_TRAIN_N_ESTIMATORS": "400", "VIGIL_TRAIN_MAX_FEATURES": "0.5"}


class Lost:
    """A job server whose head is replaced so many times while the job runs."""

    def __init__(self, times: int) -> None:
        self.times, self.started, self.waited = times, 0, list[float]()

    def start(self, *args: Any) -> None:
        self.started += 1

    def follow(self, job: str, timeout_s: float) -> JobState:
        self.waited.append(timeout_s)
        if len(self.waited) <= self.times:
            raise JobLost(f"Ray's job server no longer knows the job {job}")
        return JobState(JobStatus.SUCCEEDED, ())


@pytest.mark.parametrize("times", [0, 1, 2])
def test_whoever_reads_of_the_retraining_is_told_that_its_job_was_lost(
    shelf: Shelved, times: int
) -> None:
    server = Lost(times)
    shelf.registered = Version("2", "run", "digest", 0.0) if times < 2 else None
    retraining = retrainer(shelf, lambda _: server, retrain_timeout_s=900)
    ended = retraining.run(EPISODE, until=time.monotonic() + 60)
    assert ended.outcome == ("promoted" if shelf.registered else "failed")
    assert ("submitted again" in ended.reason) == (times == 1)
    assert ("submitted twice, and lost twice" in ended.reason) == (times == 2)
    assert server.started == min(times, 1) + 1
    assert all(waited <= 60 for waited in server.waited)  # what is left, not the whole time anew


@pytest.mark.parametrize(("value", "outcome"), [(0.0, "promoted"), (1.0, "kept")])
def test_a_version_that_loses_a_confirmed_incident_is_kept(
    shelf: Shelved, bundle: ModelBundle, value: float, outcome: str
) -> None:
    challenger = replace(bundle, threshold=replace(bundle.threshold, value=value))
    champion = replace(bundle, info={"data": "table.csv"})
    bundles = {"1": champion, "2": challenger}
    shelf.fetch = lambda version, cache: bundles[version.version]  # type: ignore[method-assign]
    shelf.registered = Version("2", "run", "digest", 0.0)
    row = EvidenceRow(0.0, 0.9, (25.0, 25.0, 25.0, -5.0, -5.0, -5.0))
    judged = JudgedIncident(IncidentEvidence("1", bundle.names, (row,)), "confirmed")
    settings = DriftSettings()
    ended = Retrainer(
        settings,
        cast(Registry, shelf),
        Rollout(settings, DriftMetrics()),
        connect=lambda _: cast(Jobs, Lost(0)),
        answered=lambda: [judged],
    ).run(EPISODE)
    assert ended.outcome == outcome
    if outcome == "kept":
        assert ended.summary == "version 2 contradicts verdicts on incidents"
        assert "confirmed_alerts 0.0000 is below 1.0000" in ended.reason
