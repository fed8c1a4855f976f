"""A retraining whose jobs are lost is submitted twice at most, whichever monitor is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from drift.settings import DriftSettings
from drift.training_job import SUBMITTED_AGAIN, EndedJob, Episode, RayTraining
from tests.train.job_server import JobServer, job_server
from train.submit import Jobs

FIRST, SECOND = "retrain-17", "retrain-17.2"


class Died(BaseException):
    """The monitor is gone."""


class Monitors:
    """Monitors, one after the other, and what they remember."""

    def __init__(self, server: JobServer, home: Path) -> None:
        self.server = server
        self.submitted = 0
        self._settings = DriftSettings(home=home, jobs_url=server.url)

    def run(self, *, dies: str = "") -> EndedJob:
        """Ask one, which dies "before" or "after" it has noted its first submission, or never."""

        def note(attempt: int) -> None:
            if dies == "before":
                raise Died
            self.submitted = attempt
            if dies == "after":
                raise Died

        episode = Episode("17", 0.0, "drift", submitted=self.submitted)
        training = RayTraining(self._settings, episode, _jobs, note_submitted=note)
        return training.run({"data": "table.csv"})

    def dies(self, when: str) -> None:
        with pytest.raises(Died):
            self.run(dies=when)

    @property
    def jobs(self) -> list[str]:
        return [job["submission_id"] for job in self.server.submitted]


def _jobs(url: str) -> Jobs:
    return Jobs(url, poll_interval_s=0.0)


@pytest.fixture
def monitors(tmp_path: Path) -> Iterator[Monitors]:
    with job_server() as server:
        yield Monitors(server, tmp_path)


@pytest.mark.parametrize("loss", ["head", "machine"])
def test_a_monitor_that_restarts_after_a_loss_submits_the_second_job(
    monitors: Monitors, loss: str
) -> None:
    monitors.dies("after")
    _lose(monitors.server, FIRST, loss)
    monitors.server.jobs_end = True
    ended = monitors.run()
    assert monitors.jobs == [FIRST, SECOND]
    assert (monitors.submitted, ended.note) == (2, SUBMITTED_AGAIN)
    assert ended.ended.startswith("ended SUCCEEDED")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("loss", ["head", "machine"])
def test_a_monitor_that_restarts_after_the_second_submission_finds_it(
    monitors: Monitors, loss: str, when: str
) -> None:
    monitors.dies("after")
    _lose(monitors.server, FIRST, loss)
    monitors.dies(when)
    monitors.server.jobs[SECOND] = "FAILED"
    for _ in range(2):
        assert monitors.run().ended.startswith("ended FAILED")
    assert monitors.jobs == [FIRST, SECOND]


@pytest.mark.parametrize("first", ["head", "machine"])
@pytest.mark.parametrize("second", ["head", "machine"])
def test_there_is_no_third_job(monitors: Monitors, first: str, second: str) -> None:
    monitors.dies("after")
    _lose(monitors.server, FIRST, first)
    monitors.dies("after")
    _lose(monitors.server, SECOND, second)
    for _ in range(2):
        assert monitors.run().ended.startswith("was submitted twice, and lost twice")
    assert monitors.jobs == [FIRST, SECOND]


def test_a_monitor_that_forgot_joins_the_job_that_runs(monitors: Monitors) -> None:
    monitors.dies("before")
    monitors.server.jobs[FIRST] = "SUCCEEDED"
    assert monitors.run().note == ""
    assert monitors.jobs == [FIRST]


def _lose(server: JobServer, job: str, loss: str) -> None:
    if loss == "head":
        server.replaced()
    else:
        server.machine_dies(job)
