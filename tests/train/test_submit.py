"""Training as a Ray job, without Ray: names, joining, waiting for a job server, what is told, and what Ctrl-C does."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus

from train import cli, submit
from train.registry.versions import Registry, Version
from train.settings import TrainSettings
from train.spec import JobSpec
from train.submit import Jobs, NotAdmitted
from train.table.schema import Columns
from vigil.errors import BadSettings, DataError, JobsUnavailable, VigilError

DONE, RUNS, FAILED = JobStatus.SUCCEEDED, JobStatus.RUNNING, JobStatus.FAILED
SPEC = JobSpec("t.csv", key="k")


class Server:
    """A job server: `jobs` it knows, what each look at one finds (status, log), and how often it first says that it cannot."""

    def __init__(self, looks: list[tuple[JobStatus, str]], away: int = 0) -> None:
        self.jobs: dict[str, JobStatus] = {}
        self.looks, self.away, self.stopped, self.entrypoints = (
            looks,
            away,
            list[str](),
            list[str](),
        )

    def __call__(self, url: str) -> Server:
        if self.away:
            self.away -= 1
            raise RuntimeError("No available agent to submit job")
        return self

    def list_jobs(self) -> list[Any]:
        return [
            SimpleNamespace(submission_id=job, status=status) for job, status in self.jobs.items()
        ]

    def submit_job(
        self, *, entrypoint: str, submission_id: str, entrypoint_num_cpus: float
    ) -> None:
        assert 0 < entrypoint_num_cpus < 0.5
        self.jobs[submission_id] = RUNS
        self.entrypoints.append(entrypoint)

    def get_job_status(self, job: str) -> JobStatus:
        return self.looks[0][0]

    def get_job_logs(self, job: str) -> str:
        return (self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])[1]

    def stop_job(self, job: str) -> None:
        self.stopped.append(job)


class Shelf:
    """A registry in which the version of a job appears at the `n`th question."""

    def __init__(self, n: int = 2) -> None:
        self.left = n

    def of_job(self, key: str) -> Version | None:
        self.left -= 1
        return Version("7", "run", "digest", 0.0) if self.left <= 0 else None

    def gate(self, version: Version) -> dict[str, Any]:
        return {"passed": True}


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Callable[[Server], Jobs]:
    def made(server: Server) -> Jobs:
        monkeypatch.setattr(submit, "JobServer", server)
        monkeypatch.setattr(submit, "POLL_S", 0.0)
        return Jobs("http://x", patience_s=5.0)

    return made


def train(
    jobs: Jobs, shelf: Shelf, tell: Callable[[str], None] = lambda _: None
) -> submit.JobResult:
    return submit.train_in_job(jobs, SPEC, {"VIGIL_TRAIN_SEED": "3"}, cast(Registry, shelf), tell)


def test_a_job_is_submitted_followed_line_by_line_and_answered_with_its_version(
    serve: Callable[[Server], Jobs],
) -> None:
    server = Server(
        [
            (RUNS, "starting\nhal"),
            (RUNS, "starting\nhalf\n"),
            (DONE, 'starting\nhalf\n{"version": "7"}'),
        ],
        away=2,
    )
    told: list[str] = []
    result = train(serve(server), Shelf(), told.append)
    assert (result.version.version, result.verdict) == ("7", {"passed": True})
    assert told == ["training as Ray job train-k", "starting", "half"]
    words = shlex.split(server.entrypoints[0])
    assert words[:4] == ["env", "VIGIL_TRAIN_SEED=3", "nice", "-n19"]
    assert words[-5:] == ["train", "--data=t.csv", "--trigger=manual", "--key=k", "--json"]


def test_the_arguments_of_a_job_make_the_same_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    columns = Columns("y", "t", "e", ("a", "b"), str(tmp_path / "s.json"))
    spec = JobSpec(
        str(tmp_path / "-x y.csv"), None, str(tmp_path), 12.5, "volume", "k", columns, "diff:1"
    )
    asked: list[JobSpec] = []
    monkeypatch.setattr(
        cli,
        "_train",
        lambda spec, *_: asked.append(spec) or submit.JobResult(Version("1", "r", "d", 0.0), {}),
    )
    monkeypatch.setattr("train.table.dataset.preview", lambda *_: None)
    monkeypatch.setenv("VIGIL_HOME", str(tmp_path))
    CliRunner().invoke(cli.train, spec.absolute().arguments()[1:], catch_exceptions=False)
    (found,) = asked
    assert found.arguments() == spec.arguments()
    assert found.columns == columns


def test_settings_travel_as_far_as_they_were_set(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainSettings(seed=3, alerts_per_day=10, rows_per_day=1e5, tracking_uri="http://m")
    assert len(settings.environment) == 4
    for name, value in settings.environment.items():
        monkeypatch.setenv(name, value)
    assert TrainSettings() == settings


def test_another_cluster_has_its_own_way_to_mlflow_and_this_machine_must_know_one() -> None:
    assert TrainSettings(seed=3, jobs_url="http://x", tracking_uri="http://m").environment == {
        "VIGIL_TRAIN_SEED": "3"
    }
    with pytest.raises(BadSettings, match="VIGIL_TRAIN_JOBS_URL needs VIGIL_TRAIN_TRACKING_URI"):
        TrainSettings(jobs_url="http://x")


def test_a_wrong_token_is_told_at_once(
    serve: Callable[[Server], Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = serve(Server([]))

    def refuse(url: str) -> Server:
        raise AuthenticationError("Forbidden")

    monkeypatch.setattr(submit, "JobServer", refuse)
    with pytest.raises(NotAdmitted, match=r"http://x takes another token: set RAY_AUTH_MODE=token"):
        train(jobs, Shelf())


def test_a_second_call_joins_what_runs_and_one_after_a_failure_takes_another_name(
    serve: Callable[[Server], Jobs],
) -> None:
    server = Server([(DONE, "")])
    server.jobs = {"train-k": RUNS}
    train(serve(server), Shelf())
    assert server.entrypoints == []
    server.jobs = {"train-k": FAILED, "train-k.2": JobStatus.STOPPED}
    train(serve(server), Shelf())
    assert list(server.jobs)[2:] == ["train-k.3"]


def test_what_was_done_before_needs_no_job(serve: Callable[[Server], Jobs]) -> None:
    assert train(serve(Server([], away=10**6)), Shelf(1)).version.version == "7"


def test_what_the_job_raised_is_raised(serve: Callable[[Server], Jobs]) -> None:
    body = json.dumps(DataError("t.csv line 3: no number", field="b", row=3).body())
    with pytest.raises(DataError, match="line 3") as caught:
        train(serve(Server([(FAILED, f"starting\n{body}\n")])), Shelf(9))
    assert (caught.value.field, caught.value.row) == ("b", 3)
    with pytest.raises(VigilError, match="ended FAILED without a version: Killed"):
        train(serve(Server([(FAILED, "Killed")])), Shelf(9))


@pytest.mark.parametrize("joined", [False, True])
def test_ctrl_c_stops_the_job_but_not_one_that_was_joined(
    serve: Callable[[Server], Jobs], joined: bool
) -> None:
    server = Server([(RUNS, "starting\n")])
    server.jobs = {"train-k": RUNS} if joined else {}

    def interrupt(line: str) -> None:
        if line == "starting":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(serve(server), Shelf(9), interrupt)
    assert server.stopped == ([] if joined else ["train-k"])


def test_a_job_server_that_hangs_or_stays_away_is_given_up(
    monkeypatch: pytest.MonkeyPatch, serve: Callable[[Server], Jobs]
) -> None:
    server = Server([], away=10**6)
    serve(server)
    with pytest.raises(JobsUnavailable, match="No available agent"):
        Jobs("http://x").next("job")
    monkeypatch.setattr(submit, "ANSWER_S", 0.05)
    stuck = threading.Event()
    monkeypatch.setattr(server, "list_jobs", lambda: stuck.wait(30))
    server.away = 0
    with pytest.raises(JobsUnavailable, match="does not answer"):
        Jobs("http://x").next("job")
    stuck.set()


def test_a_job_that_takes_too_long_is_stopped(serve: Callable[[Server], Jobs]) -> None:
    server = Server([(RUNS, "")])
    assert serve(server).follow("job", timeout_s=0.0)[0] == JobStatus.STOPPED
    assert server.stopped == ["job"]
