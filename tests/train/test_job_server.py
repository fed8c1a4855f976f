"""Ray's own client of a job server: which one it asks, and what it says of a job that is gone."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import cast

import pytest
from ray.job_submission import JobStatus

from tests.train.job_server import JobServer, job_server
from tests.train.test_submit import SPEC, Remembering, Shelf
from train.registry.versions import Registry
from train.submit import JobLost, Jobs, JobState, train_in_job
from vigil.errors import JobsUnavailable


def jobs_at(url: str) -> Jobs:
    return Jobs(url, poll_interval_s=0.0)


@pytest.fixture
def training() -> Iterator[JobServer]:
    with job_server() as made:
        yield made


@pytest.mark.parametrize(
    "names",
    [("RAY_ADDRESS",), ("RAY_API_SERVER_ADDRESS",), ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS")],
)
@pytest.mark.parametrize("form", ["{}", "serving-head-svc:6379"])
def test_jobs_go_where_they_are_sent_whatever_cluster_the_pod_is_of(
    monkeypatch: pytest.MonkeyPatch, training: JobServer, names: tuple[str, ...], form: str
) -> None:
    with job_server() as serving:
        for name in names:
            monkeypatch.setenv(name, form.format(serving.url))
        jobs = jobs_at(training.url)
        assert jobs.start("retrain-1", SPEC, {"VIGIL_TRAIN_SEED": "3"})
        assert not jobs.start("retrain-1", SPEC, {})
        training.jobs["retrain-1"] = "SUCCEEDED"
        jobs.follow("retrain-1")
        jobs.stop("retrain-1")
        assert serving.asked == []
        assert len(training.submitted) == 1


def test_a_job_gets_the_variables_that_are_told_and_no_other_of_this_process(
    monkeypatch: pytest.MonkeyPatch, training: JobServer
) -> None:
    rights = {
        "AWS_ROLE_ARN": "arn:monitor",
        "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
        "VIGIL_HOME": "/its/own",
    }
    for name, value in rights.items():
        monkeypatch.setenv(name, value)
    jobs_at(training.url).start("retrain-1", SPEC, {"VIGIL_TRAIN_SEED": "3"})
    (asked,) = training.submitted
    assert asked["entrypoint"].startswith("env VIGIL_FOLLOWED=1 VIGIL_TRAIN_SEED=3 nice ")
    assert not asked.get("runtime_env", {}).get("env_vars")
    assert not any(value in json.dumps(asked) for value in rights.values())


@pytest.mark.parametrize(
    ("url", "python"),
    [
        ("http://127.0.0.1:8265", sys.executable),
        ("http://localhost:1", sys.executable),
        ("http://vigil-train-head-svc.ray.svc.cluster.local:8265", "python"),
    ],
)
def test_another_machine_has_its_own_interpreter(url: str, python: str) -> None:
    assert Jobs(url).python == python


def test_a_job_that_is_lost_with_its_head_is_told_and_submitted_once_more(
    training: JobServer,
) -> None:
    listener = Remembering()
    jobs = jobs_at(training.url)
    jobs.start("retrain-1", SPEC, {})
    training.replaced()

    def again(name: str) -> None:
        jobs.start(name, SPEC, {})
        training.jobs[name] = "SUCCEEDED"

    assert jobs.follow("retrain-1", listener=listener, submit_again=again).status == "SUCCEEDED"
    assert len(training.submitted) == 2
    (line,) = listener.messages
    assert "no longer knows the job retrain-1; its head was replaced: it is submitted again" in line


def test_a_job_that_dies_with_its_machine_is_submitted_once_more_under_another_name(
    training: JobServer,
) -> None:
    """Its log lies there: Ray's job server can only say that it has failed."""
    names: list[str] = []
    jobs = jobs_at(training.url)
    jobs.start("retrain-1", SPEC, {})
    training.machine_dies("retrain-1")

    def again(name: str) -> None:
        names.append(name)
        jobs.start(name, SPEC, {})
        training.jobs[name] = "SUCCEEDED"

    assert jobs.follow("retrain-1", timeout_s=60.0, submit_again=again).status == "SUCCEEDED"
    assert names == ["retrain-1.2"]
    with pytest.raises(JobLost, match="retrain-1 has ended with the machine"):
        jobs.follow("retrain-1")


def test_a_job_that_has_done_its_work_may_lose_its_log(training: JobServer) -> None:
    jobs = jobs_at(training.url)
    jobs.start("retrain-1", SPEC, {})
    training.machine_dies("retrain-1", "SUCCEEDED")
    assert jobs.follow("retrain-1", timeout_s=60.0) == JobState(JobStatus.SUCCEEDED, ())


def test_a_job_that_is_lost_twice_is_given_up(training: JobServer) -> None:
    jobs = jobs_at(training.url)

    def again(name: str) -> None:
        jobs.start(name, SPEC, {})
        training.replaced()

    with pytest.raises(JobLost, match="no longer knows the job retrain-1"):
        jobs.follow("retrain-1", timeout_s=60.0, submit_again=again)
    assert len(training.submitted) == 1
    with pytest.raises(JobLost):
        jobs.follow("retrain-1")


def test_a_head_that_is_away_while_it_is_replaced_is_waited_for(training: JobServer) -> None:
    jobs = jobs_at(training.url)
    jobs.start("retrain-1", SPEC, {})
    training.jobs["retrain-1"] = "SUCCEEDED"
    training.away = 3
    assert jobs.follow("retrain-1", timeout_s=60.0).status == "SUCCEEDED"
    training.away = 1000
    with pytest.raises(JobsUnavailable, match="503"):
        jobs.follow("retrain-1")


def test_training_goes_on_after_its_head_was_replaced(training: JobServer) -> None:
    def on_message(message: str) -> None:
        if message.startswith("training as"):
            training.replaced()
        else:
            # The new head's job ends at once: its version is on the shelf.
            training.jobs_end = True

    listener = Remembering(on_message)
    registry = cast(Registry, Shelf())
    result = train_in_job(jobs_at(training.url), SPEC, {}, registry, listener)
    assert result.version.version == "7"
    assert len(training.submitted) == 2
    assert [message for message in listener.messages if "submitted again" in message]
