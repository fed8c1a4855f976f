"""Training as a Ray job: submit it, follow what it says, wait for its end. So does `vigil train` where a platform runs, and so
does a retraining.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ray.dashboard.modules.dashboard_sdk import SubmissionClient
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from train.registry.versions import Registry
from train.spec import JobResult, JobSpec
from vigil import errors
from vigil.deadline import call_with_timeout
from vigil.errors import JobsUnavailable, VigilError

POLL_S, ANSWER_S, READY_S = 1.0, 60.0, 120.0
LOG_S = 10.0  # in which the log of a job that has ended is asked for again
DRIVER_CPUS = 0.1  # it waits most of the time
NICENESS = 19  # what trains beside replicas takes the cores that they leave: theirs is 15, and that of jobs 0 if nothing is said


class NotAdmitted(VigilError):
    """Ray's job server asks for another token."""

    status = 401


class JobLost(VigilError):
    """The job server no longer knows a job that it has taken: its head was replaced."""

    status = 503


class JobServer(JobSubmissionClient):
    """Ray's client of the job server at `url`, whatever the environment says.

    Ray's own prefers RAY_API_SERVER_ADDRESS, then RAY_ADDRESS, to the address that it is given, and
    KubeRay sets RAY_ADDRESS in every pod: it would talk to the cluster that it is in. Both are read
    in its constructor alone. To take them out of the environment for that long would take them
    from other threads as well.
    """

    def __init__(self, url: str) -> None:
        SubmissionClient.__init__(self, url)
        self._check_connection_and_version(min_version="2.2")


class Jobs:
    """Ray's job server at `url`. One that is away, stuck or not ready yet is asked again for `patience_s`; then JobsUnavailable
    is raised."""

    def __init__(self, url: str, patience_s: float = 0.0) -> None:
        self._url, self._patience_s = url, patience_s
        self._client: JobServer | None = None

    @property
    def python(self) -> str:
        """The interpreter of its jobs: this one on this machine, else what another machine calls so."""
        here = urlsplit(self._url).hostname in ("127.0.0.1", "::1", "localhost")
        return sys.executable if here else "python"

    def start(self, job: str, spec: JobSpec, environment: Mapping[str, str]) -> bool:
        """Submit the job unless Ray knows it; whether it was submitted.

        It gets the variables of `environment` and no other of this process.
        """
        settings = [f"{name}={value}" for name, value in environment.items()]
        command = ["env", *settings, "nice", f"-n{NICENESS}", self.python, "-m", "vigil"]
        entrypoint = shlex.join([*command, *spec.arguments()])
        return self._patiently(lambda: self._start(job, entrypoint))

    def _start(self, job: str, command: str) -> bool:
        if job in self._known():
            return False
        self._ask(
            "submit_job", entrypoint=command, submission_id=job, entrypoint_num_cpus=DRIVER_CPUS
        )
        return True

    def next(self, job: str) -> str:
        """The name `job` if it is free or its job runs, else one with a number: Ray takes no name twice."""
        known, number, name = self._patiently(self._known), 1, job
        while name in known and known[name].is_terminal():
            number += 1
            name = f"{job}.{number}"
        return name

    def follow(
        self,
        job: str,
        timeout_s: float = math.inf,
        tell: Callable[[str], None] = lambda _: None,
        again: Callable[[str], object] | None = None,
    ) -> tuple[JobStatus, list[str]]:
        """Wait for the end of a job, which is stopped after `timeout_s`; how it ended, and all lines that it wrote.

        A job server that is away meanwhile is waited for: for `patience_s`, or until `timeout_s` is
        over where there is one. A head that is replaced takes its jobs and their list along, a machine
        that dies the job that ran on it: `again` then submits it anew, once, under the name that it
        is told. Raises JobLost when that is no help, and JobsUnavailable.
        """
        told, until = 0, time.monotonic() + timeout_s
        while time.monotonic() < until:
            try:
                status, lines = self._patiently(partial(self._look, job), until)
            except JobLost as error:
                if again is None:
                    raise
                tell(f"{error.message}: it is submitted again")
                job = self._patiently(partial(self._again, again, job), until)
                again, told = None, 0
                continue
            for line in lines[told:]:
                if not line.startswith(
                    ("{", "Running entrypoint")
                ):  # its answer is for whoever asked
                    tell(line)
            told = len(lines)
            if status.is_terminal():
                return status, lines
            time.sleep(POLL_S)
        self.stop(job)
        return JobStatus.STOPPED, self._look(job)[1]

    def stop(self, job: str) -> None:
        """End a job."""
        self._patiently(lambda: self._ask("stop_job", job))

    def _known(self) -> dict[str | None, JobStatus]:
        return {job.submission_id: job.status for job in self._ask("list_jobs")}

    def _again(self, submit: Callable[[str], object], job: str) -> str:
        name = self.next(job)
        submit(name)
        return name

    def _look(self, job: str) -> tuple[JobStatus, list[str]]:
        """Status and finished lines; raises JobLost where neither it nor its machine is there any more."""
        try:
            status = self._ask("get_job_status", job)
        except JobsUnavailable as error:
            if job not in self._known():
                raise JobLost(
                    f"Ray's job server {self._url} no longer knows the job {job}; its head was replaced"
                ) from error
            raise
        log = self._log(job, status)
        return status, (log if status.is_terminal() else log[: log.rfind("\n") + 1]).splitlines()

    def _log(self, job: str, status: JobStatus) -> str:
        """What a job wrote. It lies on the machine of its driver: one that has ended may have lost it."""
        ended = status.is_terminal()
        try:
            return self._patiently(
                partial(self._ask, "get_job_logs", job), time.monotonic() + LOG_S * ended
            )
        except JobsUnavailable as error:
            if status == JobStatus.FAILED:
                raise JobLost(f"the job {job} has ended with the machine that it ran on") from error
            if ended:
                return ""
            raise

    def _patiently(self, call: Callable[[], Any], until: float = math.inf) -> Any:
        """What `call` answers, asked again while the job server is away, up to `until` (monotonic)."""
        deadline = time.monotonic() + self._patience_s if math.isinf(until) else until
        while True:
            try:
                return call()
            except JobsUnavailable:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(POLL_S)

    def _ask(self, what: str, *args: Any, **named: Any) -> Any:
        try:
            self._client = self._client or call_with_timeout(
                ANSWER_S, partial(JobServer, self._url)
            )
            return call_with_timeout(ANSWER_S, partial(getattr(self._client, what), *args, **named))
        except TimeoutError as error:  # its agent is stuck, and Ray's client would wait for ever
            raise JobsUnavailable(
                f"Ray's job server {self._url} does not answer within {ANSWER_S:g} s"
            ) from error
        except AuthenticationError as error:
            raise NotAdmitted(
                f"Ray's job server {self._url} takes another token: set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's"
            ) from error
        except (RuntimeError, OSError) as error:  # which is all that Ray's client says of a failure
            raise JobsUnavailable(
                f"Ray's job server {self._url} cannot do it now: {error}"
            ) from error


def train_in_job(
    server: Jobs,
    spec: JobSpec,
    environment: Mapping[str, str],
    registry: Registry,
    tell: Callable[[str], None],
) -> JobResult:
    """Train in a job and wait for the version; `tell` gets what the job says, line by line.

    The job is named by the key of `spec`, so that a second call joins the one that runs. Ctrl-C stops the job, but not one that
    was joined. Raises what the job raised.
    """
    key = spec.key or uuid.uuid4().hex
    if (done := registry.of_job(key)) is not None:
        return JobResult(done, registry.gate(done))
    job, keyed = server.next(f"train-{key}"), replace(spec, key=key)
    mine = server.start(job, keyed, environment)
    tell(f"{'training' if mine else 'joining what trains'} as Ray job {job}")

    def again(name: str) -> None:
        nonlocal mine
        mine = server.start(name, keyed, environment)

    try:
        status, lines = server.follow(job, tell=tell, again=again)
    except KeyboardInterrupt:
        if mine:
            server.stop(job)
        raise
    version = registry.of_job(key)
    if version is None:
        raise _failure(job, status, lines)
    return JobResult(version, registry.gate(version))


def _failure(job: str, status: JobStatus, lines: list[str]) -> VigilError:
    """What the job said before it ended without a version."""
    last = lines[-1] if lines else "it wrote nothing"
    try:
        told = json.loads(last)["error"]
        return getattr(errors, told["type"], VigilError)(
            told["message"], field=told.get("field"), row=told.get("row")
        )
    except (ValueError, TypeError, LookupError):
        return VigilError(f"the job {job} ended {status} without a version: {last[:300]}")
