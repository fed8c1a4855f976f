"""What becomes of a retrained version that passed its gate: straight, through the shadow, or through a canary."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.job_submission import JobStatus

from drift import retrain
from drift.retrain import Retraining
from drift.rollout import Rollout
from drift.settings import DriftSettings
from serve.metrics import DriftMetrics
from tests.train.registry.test_promotion import Shelf
from train.registry.promotion import completed_moves, promote_version, start_canary, stop_canary
from train.registry.versions import Registry, Version
from train.spec import JobSpec
from train.submit import JobLost, Jobs, JobState
from vigil.errors import JobsUnavailable

GATE = {"passed": True, "reason": "better"}
SHADOW = {
    "errors": 0,
    "rows": 100,
    "champion_alert_rate": 0.01,
    "challenger_alert_rate": 0.02,
    "champion_us_per_row": 10.0,
    "challenger_us_per_row": 12.0,
}


class Shelved(Shelf):
    """With what a retraining asks of the registry besides; `end` says how a canary that is asked about ends."""

    end = ""

    def champion(self) -> Version | None:
        version = self.alias.get("champion")
        return Version(version, "run", "digest", 0.0) if version else None

    def canary(self) -> Any:
        running, self.end, end = self.trial, "", self.end
        if running is not None and end == "stop":
            stop_canary(self, running, reason="too many alerts", actor="guard")
        elif running is not None and end == "promote":
            promote_version(self, running.version, reason="canary passed", actor="guard")
        return self.trial


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelved:
    monkeypatch.setattr(retrain, "_POLL_INTERVAL_S", 0.0)
    made = Shelved()
    promote_version(made, "1", reason="", actor="")
    return made


def roll_out(shelf: Shelved, found: dict[str, Any] | None = None, **settings: Any) -> Retraining:
    chosen = DriftSettings(retrain_timeout_s=0.01, **settings)
    rollout = Rollout(chosen, DriftMetrics())
    rollout.budget = 0.01
    rollout.shadow.found = lambda challenger=None: found  # type: ignore[method-assign]
    return retrain._roll_out(
        Version("2", "run", "digest", 0.0), GATE, "drift: x", chosen, cast(Registry, shelf), rollout
    )


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
    shelf: Shelved, monkeypatch: pytest.MonkeyPatch, end: str, outcome: str, champion: str
) -> None:
    def start(*args: Any, **named: Any) -> None:
        start_canary(*args, **named)
        shelf.end = end

    monkeypatch.setattr(retrain, "start_canary", start)
    found = roll_out(shelf, canary_steps="5:60,25:60")
    assert (found.outcome, shelf.alias["champion"]) == (outcome, champion)
    assert ("too many alerts" if end == "stop" else "canary passed") in found.reason
    again = roll_out(shelf, canary_steps="5:60,25:60")  # a monitor that restarts repeats nothing
    assert (again.outcome, [m.kind for m in completed_moves(shelf)].count("canary")) == (outcome, 1)


def test_a_job_server_that_is_not_ready_is_asked_again_later(
    shelf: Shelved, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NotReady:
        def __init__(self, url: str) -> None: ...

        def list_jobs(self) -> list[Any]:
            return []

        def submit_job(self, **job: str) -> None:
            raise RuntimeError(
                "Request failed with status code 500: No available agent to submit job"
            )

    bundle = SimpleNamespace(info={"data": "table.csv", "label": None})
    monkeypatch.setattr(retrain, "Jobs", partial(Jobs, connect=cast(Any, NotReady)))
    monkeypatch.setattr(shelf, "fetch", lambda version, cache: bundle, raising=False)
    rollout = Rollout(DriftSettings(), DriftMetrics())
    with pytest.raises(JobsUnavailable, match="No available agent"):
        retrain.retrain("1", 0.0, "drift", DriftSettings(), cast(Registry, shelf), rollout)


def test_a_retraining_is_asked_for_what_the_champion_was_made_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    class Known:
        def __init__(self, url: str) -> None: ...

        def start(self, *args: Any) -> None:
            asked.extend(args)

        def follow(self, job: str, timeout_s: float, submit_again: Any) -> JobState:
            return JobState(JobStatus.FAILED, ("starting", "no rows"))

    monkeypatch.setattr(retrain, "Jobs", Known)
    info = {
        "data": "/t.csv",
        "label": "y",
        "columns": {"features": ["a", "b"], "time": "t"},
        "over_time": "diff:1",
        "forest": {"n_estimators": 400, "max_features": 0.5},
    }
    ran = retrain._run(
        "17-volume", 5.0, info, settings=DriftSettings(home=tmp_path), until=math.inf
    )
    assert ran.ended == "ended FAILED without a version: no rows"
    job, spec, environment = asked
    assert job == "retrain-17-volume"
    assert spec == JobSpec(
        data="/t.csv",
        label="y",
        time="t",
        features=("a", "b"),
        over_time="diff:1",
        captured=str(tmp_path / "captured"),
        since=5.0,
        trigger="volume",
        key="17-volume",
    )
    assert environment == {"VIGIL_TRAIN_N_ESTIMATORS": "400", "VIGIL_TRAIN_MAX_FEATURES": "0.5"}


class Lost:
    """A job server whose head is replaced so many times while the job runs."""

    def __init__(self, times: int) -> None:
        self.times, self.started, self.waited = times, 0, list[float]()

    def start(self, *args: Any) -> None:
        self.started += 1

    def follow(self, job: str, timeout_s: float, submit_again: Any) -> JobState:
        self.waited.append(timeout_s)
        for _ in range(min(self.times, 1)):
            submit_again(f"{job}.2")
        if self.times > 1:
            raise JobLost(f"Ray's job server no longer knows the job {job}")
        return JobState(JobStatus.SUCCEEDED, ())


@pytest.mark.parametrize("times", [0, 1, 2])
def test_whoever_reads_of_the_retraining_is_told_that_its_job_was_lost(
    shelf: Shelved, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    server = Lost(times)
    made = Version("2", "run", "digest", 0.0) if times < 2 else None
    monkeypatch.setattr(retrain, "Jobs", lambda url: server)
    bundle = SimpleNamespace(info={"data": "table.csv", "label": None})
    answers = {"fetch": lambda *_: bundle, "of_job": lambda _: made, "gate": lambda _: GATE}
    for name, answer in answers.items():
        monkeypatch.setattr(shelf, name, answer, raising=False)
    settings, until = DriftSettings(retrain_timeout_s=900), time.time() + 60
    rollout = Rollout(settings, DriftMetrics())
    done = retrain.retrain(
        "1", 0.0, "drift", settings, cast(Registry, shelf), rollout=rollout, until=until
    )
    assert done.outcome == ("promoted" if made else "failed")
    assert ("submitted again" in done.reason) == (times == 1)
    assert ("submitted twice, and lost twice" in done.reason) == (times == 2)
    assert server.started == min(times, 1) + 1
    assert all(waited <= 60 for waited in server.waited)  # what is left, not the whole time anew
