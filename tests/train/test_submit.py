"""Training as a Ray job, without Ray: names, joining, waiting, progress, and Ctrl-C."""

from __future__ import annotations

import json
import shlex
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus

from train.job_log import ProgressLine
from train.progress import Listener, Silent
from train.registry.versions import Registry, Version
from train.settings import TrainSettings
from train.spec import JobResult, JobSpec
from train.submit import Jobs, NotAdmitted, train_in_job
from vigil.errors import BadSettings, DataError, JobsUnavailable, VigilError

DONE, RUNS, FAILED = JobStatus.SUCCEEDED, JobStatus.RUNNING, JobStatus.FAILED
SPEC = JobSpec(data="t.csv", key="k")


class Server:
    """A job server: `jobs` it knows, what each look at one finds (status, log), and how often it
    first says that it cannot."""

    def __init__(self, looks: list[tuple[JobStatus, str]], away: int = 0) -> None:
        self.jobs: dict[str, JobStatus] = {}
        self.looks = looks
        self.away = away
        self.stopped: list[str] = []
        self.entrypoints: list[str] = []

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


class Remembering(Silent):
    """A listener that keeps what it gets; `on_message` may do more with a message."""

    def __init__(self, on_message: Callable[[str], None] = lambda _: None) -> None:
        self.messages: list[str] = []
        self.parts: list[tuple[str, float]] = []
        self._on_message = on_message

    def __call__(self, message: str) -> None:
        self.messages.append(message)
        self._on_message(message)

    def part(self, message: str, share: float) -> None:
        self.parts.append((message, share))


def jobs_of(server: Any, timeout_s: float = 60.0, patience_s: float = 5.0) -> Jobs:
    return Jobs(
        "http://x",
        patience_s,
        poll_interval_s=0.0,
        timeout_s=timeout_s,
        connect=cast(Any, server),
    )


def train(jobs: Jobs, shelf: Shelf, listener: Listener | None = None) -> JobResult:
    environment = {"VIGIL_TRAIN_SEED": "3"}
    registry = cast(Registry, shelf)
    return train_in_job(jobs, SPEC, environment, registry, listener or Silent())


def log(*lines: str) -> str:
    return "".join(f"{line}\n" for line in lines)


STARTING = ProgressLine("starting").encode()
HALF = ProgressLine("half of the trees", 0.5).encode()


def test_a_job_is_submitted_followed_line_by_line_and_answered_with_its_version() -> None:
    server = Server(
        [
            (RUNS, STARTING + "\n" + HALF[:9]),
            (RUNS, log(STARTING, HALF)),
            (DONE, log(STARTING, HALF, "a library warns", '{"version": "7"}')),
        ],
        away=2,
    )
    listener = Remembering()
    result = train(jobs_of(server), Shelf(), listener)
    assert (result.version.version, result.verdict) == ("7", {"passed": True})
    assert listener.messages == ["training as Ray job train-k", "starting"]
    assert listener.parts == [("half of the trees", 0.5)]
    words = shlex.split(server.entrypoints[0])
    assert words[:5] == ["env", "VIGIL_FOLLOWED=1", "VIGIL_TRAIN_SEED=3", "nice", "-n19"]
    assert words[-5:] == ["train", "--data=t.csv", "--trigger=manual", "--key=k", "--json"]


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


def test_a_wrong_token_is_told_at_once() -> None:
    def refuse(url: str) -> Server:
        raise AuthenticationError("Forbidden")

    with pytest.raises(NotAdmitted, match=r"http://x takes another token: set RAY_AUTH_MODE=token"):
        train(jobs_of(refuse), Shelf())


def test_a_second_call_joins_what_runs_and_one_after_a_failure_takes_another_name() -> None:
    server = Server([(DONE, "")])
    server.jobs = {"train-k": RUNS}
    train(jobs_of(server), Shelf())
    assert server.entrypoints == []
    server.jobs = {"train-k": FAILED, "train-k.2": JobStatus.STOPPED}
    train(jobs_of(server), Shelf())
    assert list(server.jobs)[2:] == ["train-k.3"]


def test_what_was_done_before_needs_no_job() -> None:
    assert train(jobs_of(Server([], away=10**6)), Shelf(1)).version.version == "7"


def test_what_the_job_raised_is_raised() -> None:
    body = json.dumps(DataError("t.csv line 3: no number", field="b", row=3).body())
    with pytest.raises(DataError, match="line 3") as caught:
        train(jobs_of(Server([(FAILED, log(STARTING, body))])), Shelf(9))
    assert (caught.value.field, caught.value.row) == ("b", 3)


@pytest.mark.parametrize(
    ("written", "last_line"),
    [("Killed", "Killed"), (log(STARTING), "starting"), ("", "it wrote nothing")],
)
def test_a_job_that_ends_without_a_version_is_told_with_its_last_line(
    written: str, last_line: str
) -> None:
    with pytest.raises(VigilError, match=f"ended FAILED without a version: {last_line}"):
        train(jobs_of(Server([(FAILED, written)])), Shelf(9))


@pytest.mark.parametrize("joined", [False, True])
def test_ctrl_c_stops_the_job_but_not_one_that_was_joined(joined: bool) -> None:
    server = Server([(RUNS, log(STARTING))])
    server.jobs = {"train-k": RUNS} if joined else {}

    def interrupt(message: str) -> None:
        if message == "starting":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(jobs_of(server), Shelf(9), Remembering(interrupt))
    assert server.stopped == ([] if joined else ["train-k"])


def test_a_job_server_that_stays_away_is_given_up() -> None:
    with pytest.raises(JobsUnavailable, match="No available agent"):
        jobs_of(Server([], away=10**6), patience_s=0.01).free_name("job")


def test_a_job_server_that_hangs_is_given_up() -> None:
    stuck = threading.Event()

    class Stuck(Server):
        def list_jobs(self) -> list[Any]:
            stuck.wait(30)
            return []

    with pytest.raises(JobsUnavailable, match="does not answer"):
        jobs_of(Stuck([]), timeout_s=0.05, patience_s=0.0).free_name("job")
    stuck.set()


def test_a_job_that_takes_too_long_is_stopped() -> None:
    server = Server([(RUNS, "")])
    assert jobs_of(server).follow("job", timeout_s=0.0).status == JobStatus.STOPPED
    assert server.stopped == ["job"]
