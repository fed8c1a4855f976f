"""The training of a retraining, elsewhere: a Ray job here, or a workflow of GitHub.

It is keyed by the episode: whoever asks twice trains once.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from drift.dispatch import dispatch
from drift.governor import EpisodeTrigger
from drift.settings import DriftSettings
from train.registry.versions import Registry
from train.spec import JobSpec
from train.submit import JobLost, Jobs, JobState
from vigil.deadline import poll_until
from vigil.home import Home
from vigil.json_types import Fields

log = logging.getLogger("ray.serve")
MAX_ATTEMPTS = 2  # a job that is lost is submitted once more
SUBMITTED_AGAIN = (
    "the training cluster lost the job with the machine that it ran on, or with its head; "
    "it was submitted again"
)


@dataclass(frozen=True)
class Episode:
    """What a retraining is for.

    since: Unix seconds from which on captured rows are trained on; cause: for people
    submitted: so many jobs were submitted for it, also by a former monitor
    """

    id: str
    since: float
    cause: str
    trigger: EpisodeTrigger = "drift"
    submitted: int = 0

    @property
    def job(self) -> str:
        """Name of its first Ray job."""
        return self.job_of(1)

    def job_of(self, attempt: int) -> str:
        """Return the name of the job of an attempt: whoever submits it again joins it."""
        return f"retrain-{self.id}" if attempt == 1 else f"retrain-{self.id}.{attempt}"


@dataclass(frozen=True)
class EndedJob:
    """How a training ended, in words that are used where it has registered no version.

    note: what people must know of it all the same
    """

    ended: str
    note: str = ""


class RayTraining:
    """Trains as a Ray job, which is joined when Ray knows it already.

    A job that is lost with its machine, or with the head of its cluster, is submitted once more,
    however often this is called, and by however many monitors: a head that was replaced knows
    nothing of former jobs, so `note_submitted` is told how many there were. A job gets the
    parameters of the champion and no other variable: rights and paths are those of the cluster
    that it runs on.
    """

    def __init__(
        self,
        settings: DriftSettings,
        episode: Episode,
        connect: Callable[[str], Jobs] = Jobs,
        note_submitted: Callable[[int], object] = lambda attempt: None,
    ) -> None:
        self._settings = settings
        self._episode = episode
        self._jobs = connect(settings.jobs_url)
        self._note_submitted = note_submitted
        self._submitted = episode.submitted

    def run(self, info: Fields, until: float = math.inf) -> EndedJob:
        """Train as the champion of this `info` was trained, until `until` (`time.monotonic`)."""
        submission = _Submission(self._jobs, self._spec(info), forest_environment(info))
        lost = ""
        for attempt in range(max(1, self._submitted), MAX_ATTEMPTS + 1):
            self._submit(submission, attempt)
            try:
                return self._ended(self._follow(attempt, until))
            except JobLost as error:
                lost = error.message
        return EndedJob(f"was submitted twice, and lost twice: {lost}", self._note)

    def _submit(self, submission: _Submission, attempt: int) -> None:
        if attempt <= self._submitted:
            return
        submission.submit(self._episode.job_of(attempt))
        self._submitted = attempt
        self._note_submitted(attempt)
        if self._note:
            log.warning("retraining %s; %s", self._episode.job, self._note)

    @property
    def _note(self) -> str:
        """What people are told of jobs that were lost."""
        return SUBMITTED_AGAIN if self._submitted > 1 else ""

    def _follow(self, attempt: int, until: float) -> JobState:
        timeout_s = _time_left_s(self._settings, until)
        return self._jobs.follow(self._episode.job_of(attempt), timeout_s)

    def _ended(self, state: JobState) -> EndedJob:
        last_line = state.last_line or "no output"
        ended = f"ended {state.status} without a version: {last_line}"
        return EndedJob(f"{ended}; {self._note}" if self._note else ended, self._note)

    def _spec(self, info: Fields) -> JobSpec:
        settings = self._settings
        captured = settings.captured_url or Home(settings.home).captured
        return JobSpec.of_bundle(
            info,
            captured=str(captured),
            since=self._episode.since,
            trigger=self._episode.trigger,
            key=self._episode.id,
        )


@dataclass(frozen=True)
class _Submission:
    """What a job server is given, under one name or another."""

    jobs: Jobs
    spec: JobSpec
    environment: Mapping[str, str]

    def submit(self, name: str) -> None:
        self.jobs.start(name, self.spec, self.environment)


class GithubTraining:
    """Trains as a workflow of GitHub, which registers a version that is keyed by the episode."""

    def __init__(
        self,
        settings: DriftSettings,
        episode: Episode,
        registry: Registry,
        poll_interval_s: float = 1.0,
    ) -> None:
        self._settings = settings
        self._episode = episode
        self._registry = registry
        self._poll_interval_s = poll_interval_s

    def run(self, info: Fields, until: float = math.inf) -> EndedJob:
        """Dispatch the workflow, unless it has ended already, and wait for its version."""
        if not self._is_registered():
            dispatch(self._payload(info), self._settings)
        timeout_s = _time_left_s(self._settings, until)
        poll_until(self._is_registered, timeout_s, self._poll_interval_s)
        return EndedJob(f"has registered no version within {timeout_s:g} s of its dispatch")

    def _is_registered(self) -> bool:
        return self._registry.of_job(self._episode.id) is not None

    def _payload(self, info: Fields) -> dict[str, str]:
        return {
            "model": self._settings.model_name,
            "reason": self._episode.cause,
            "episode": self._episode.id,
            "data": str(info["data"]),
        }


def _time_left_s(settings: DriftSettings, until: float) -> float:
    """What is left of a retraining that is over at `until` (monotonic)."""
    return min(settings.retrain_timeout_s, until - time.monotonic())


def forest_environment(info: Fields) -> dict[str, str]:
    """Return the variables that set the parameters of the champion's forest.

    A search may have found them: a retraining begins where the champion stands.
    """
    forest: Fields = info.get("forest", {})
    return {_variable(name): str(value) for name, value in forest.items()}


def _variable(field: str) -> str:
    return f"VIGIL_TRAIN_{field.upper()}"
