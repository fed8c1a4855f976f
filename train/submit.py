"""Training as a Ray job: submit it, follow its progress, wait for its end.

So does `vigil train` where a platform runs, and so does a retraining.
"""

from __future__ import annotations

import json
import math
import shlex
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from ray.dashboard.modules.dashboard_sdk import SubmissionClient
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from train.job_log import FOLLOWED_VARIABLE, NICENESS, ProgressLine, decode_line
from train.progress import Listener, Silent
from train.registry.versions import Registry
from train.spec import JobResult, JobSpec
from vigil import errors
from vigil.deadline import call_with_timeout
from vigil.errors import JobsUnavailable, VigilError

JOB_SERVER_TIMEOUT_S = 120.0  # of a job server that is away when a person trains
_LOG_TIMEOUT_S = 10.0  # of the log of a job that has ended
_DRIVER_CPUS = 0.1  # it waits most of the time
_MAX_LINE = 300  # characters of a line in an error


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


@dataclass(frozen=True)
class JobState:
    """How a job stands or has ended, with the finished lines of its log."""

    status: JobStatus
    log: tuple[str, ...]

    @property
    def last_line(self) -> str:
        """The last line that it wrote, for an error; empty where it wrote nothing."""
        if not self.log:
            return ""
        progress = decode_line(self.log[-1])
        line = progress.message if progress else self.log[-1]
        return line[:_MAX_LINE]


class Jobs:
    """Ray's job server at `url`.

    One that is away, stuck or not ready yet is asked again for `patience_s`; then JobsUnavailable
    is raised. It is asked every `poll_interval_s`, and has `timeout_s` to answer.
    """

    def __init__(
        self,
        url: str,
        patience_s: float = 0.0,
        *,
        poll_interval_s: float = 1.0,
        timeout_s: float = 60.0,
        connect: Callable[[str], JobSubmissionClient] = JobServer,
    ) -> None:
        self._url = url
        self._patience_s = patience_s
        self._poll_interval_s = poll_interval_s
        self._timeout_s = timeout_s
        self._connect = connect
        self._client: JobSubmissionClient | None = None

    @property
    def python(self) -> str:
        """The interpreter of its jobs: this one here, `python` on another machine."""
        is_here = urlsplit(self._url).hostname in ("127.0.0.1", "::1", "localhost")
        return sys.executable if is_here else "python"

    def start(
        self,
        job: str,
        spec: JobSpec,
        environment: Mapping[str, str],
    ) -> bool:
        """Submit the job unless Ray knows it; return whether it was submitted.

        It gets the variables of `environment` and no other of this process.
        """
        variables = [f"{name}={value}" for name, value in environment.items()]
        command = [
            "env",
            f"{FOLLOWED_VARIABLE}=1",
            *variables,
            "nice",
            f"-n{NICENESS}",
            self.python,
            "-m",
            "vigil",
        ]
        entrypoint = shlex.join([*command, *spec.arguments()])
        return self._patiently(lambda: self._submit(job, entrypoint))

    def _submit(
        self,
        job: str,
        entrypoint: str,
    ) -> bool:
        if job in self._statuses():
            return False
        self._request(
            lambda client: client.submit_job(
                entrypoint=entrypoint,
                submission_id=job,
                entrypoint_num_cpus=_DRIVER_CPUS,
            )
        )
        return True

    def free_name(self, job: str) -> str:
        """Return `job` if the name is free or its job runs, else the name with a number.

        Ray takes no name twice.
        """
        statuses = self._patiently(self._statuses)
        name = job
        number = 1
        while name in statuses and statuses[name].is_terminal():
            number += 1
            name = f"{job}.{number}"
        return name

    def follow(
        self,
        job: str,
        timeout_s: float = math.inf,
        *,
        listener: Listener | None = None,
        submit_again: Callable[[str], object] | None = None,
    ) -> JobState:
        """Wait for the end of a job, which is stopped after `timeout_s`; tell its progress.

        A job server that is away meanwhile is waited for: for `patience_s`, or until `timeout_s` is
        over where there is one. A head that is replaced takes its jobs and their list along, a
        machine that dies the job that ran on it: `submit_again` then submits it anew, once, under
        the name that it gets. Raises JobLost when that is no help, and JobsUnavailable.
        """
        deadline = time.monotonic() + timeout_s
        followed = _Followed(job, listener or Silent(), submit_again)
        while time.monotonic() < deadline:
            state = self._look_or_submit_again(followed, deadline)
            if state is not None and state.status.is_terminal():
                return state
            time.sleep(self._poll_interval_s)
        self.stop(followed.job)
        return JobState(JobStatus.STOPPED, self._look(followed.job).log)

    def _look_or_submit_again(
        self,
        followed: _Followed,
        deadline: float,
    ) -> JobState | None:
        """Its state, with its progress told; None where it was lost, and submitted again."""
        try:
            state = self._patiently(partial(self._look, followed.job), deadline)
        except JobLost as error:
            if followed.submit_again is None:
                raise
            followed.listener(f"{error.message}: it is submitted again")
            name = self._patiently(partial(self.free_name, followed.job), deadline)
            self._patiently(partial(followed.submit_again, name), deadline)
            followed.restart(name)
            return None
        followed.tell(state.log)
        return state

    def stop(self, job: str) -> None:
        """End a job."""
        self._patiently(lambda: self._request(lambda client: client.stop_job(job)))

    def _statuses(self) -> dict[str | None, JobStatus]:
        jobs = self._request(lambda client: client.list_jobs())
        return {job.submission_id: job.status for job in jobs}

    def _look(self, job: str) -> JobState:
        """Its present status and finished lines.

        Raises JobLost where neither it nor its machine is there any more.
        """
        try:
            status = self._request(lambda client: client.get_job_status(job))
        except JobsUnavailable as error:
            if job not in self._statuses():
                raise JobLost(
                    f"Ray's job server {self._url} no longer knows the job {job}; "
                    "its head was replaced"
                ) from error
            raise
        log = self._log(job, status)
        if not status.is_terminal():
            log = log[: log.rfind("\n") + 1]
        lines = [line for line in log.split("\n") if line]
        return JobState(status, tuple(lines))

    def _log(
        self,
        job: str,
        status: JobStatus,
    ) -> str:
        """What a job wrote.

        It lies on the machine of its driver: a job that has ended may have lost it.
        """
        patience_s = _LOG_TIMEOUT_S if status.is_terminal() else 0.0
        try:
            return self._patiently(
                lambda: self._request(lambda client: client.get_job_logs(job)),
                time.monotonic() + patience_s,
            )
        except JobsUnavailable as error:
            if status == JobStatus.FAILED:
                raise JobLost(f"the job {job} has ended with the machine that it ran on") from error
            if status.is_terminal():
                return ""
            raise

    def _patiently(
        self,
        call: Callable[[], Any],
        deadline: float = math.inf,
    ) -> Any:
        """What `call` returns, called again while the job server is away, up to `deadline`."""
        if math.isinf(deadline):
            deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return call()
            except JobsUnavailable:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(self._poll_interval_s)

    def _request(self, send: Callable[[Any], Any]) -> Any:
        """What the job server answers; raises JobsUnavailable and NotAdmitted."""
        try:
            if self._client is None:
                self._client = call_with_timeout(self._timeout_s, partial(self._connect, self._url))
            return call_with_timeout(self._timeout_s, partial(send, self._client))
        except TimeoutError as error:  # its agent is stuck, and Ray's client would wait for ever
            raise JobsUnavailable(
                f"Ray's job server {self._url} does not answer within {self._timeout_s:g} s"
            ) from error
        except AuthenticationError as error:
            raise NotAdmitted(
                f"Ray's job server {self._url} takes another token: "
                "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the cluster's"
            ) from error
        except (RuntimeError, OSError) as error:  # which is all that Ray's client says of a failure
            raise JobsUnavailable(
                f"Ray's job server {self._url} cannot do it now: {error}"
            ) from error


@dataclass
class _Followed:
    """A job whose progress is told as its log grows; `submit_again` submits it anew, once."""

    job: str
    listener: Listener
    submit_again: Callable[[str], object] | None
    lines_read: int = 0

    def tell(self, log: tuple[str, ...]) -> None:
        """Tell the progress in the lines that are new."""
        lines = log[self.lines_read :]
        self.lines_read = len(log)
        for line in lines:
            progress = decode_line(line)
            # Other lines are Ray's, a library's, or the answer of the command.
            if progress is not None:
                self._tell(progress)

    def _tell(self, progress: ProgressLine) -> None:
        if progress.share is None:
            self.listener(progress.message)
        else:
            self.listener.part(progress.message, progress.share)

    def restart(self, job: str) -> None:
        """Follow the job that was submitted in its place."""
        self.job = job
        self.submit_again = None
        self.lines_read = 0


def train_in_job(
    server: Jobs,
    spec: JobSpec,
    environment: Mapping[str, str],
    registry: Registry,
    listener: Listener,
) -> JobResult:
    """Train in a job and wait for the version, telling its progress.

    The job is named by the key of `spec`, so that a second call joins the one that runs. Ctrl-C
    stops the job, but not one that was joined. Raises what the job raised.
    """
    key = spec.key or uuid.uuid4().hex
    version = registry.of_job(key)
    if version is not None:
        return JobResult(version, registry.gate(version))
    keyed = spec.model_copy(update={"key": key})
    job = _Submitted(
        server,
        server.free_name(f"train-{key}"),
        keyed,
        environment,
    )
    end = job.wait(listener)
    version = registry.of_job(key)
    if version is None:
        raise _failure(job.name, end)
    return JobResult(version, registry.gate(version))


@dataclass
class _Submitted:
    """A job that this process has submitted, or joined."""

    server: Jobs
    name: str
    spec: JobSpec
    environment: Mapping[str, str]
    is_joined: bool = False

    def wait(self, listener: Listener) -> JobState:
        """Submit it, and wait for its end."""
        self._start(self.name)
        verb = "joining what trains" if self.is_joined else "training"
        listener(f"{verb} as Ray job {self.name}")
        try:
            return self.server.follow(self.name, listener=listener, submit_again=self._start)
        except KeyboardInterrupt:
            if not self.is_joined:
                self.server.stop(self.name)
            raise

    def _start(self, name: str) -> None:
        self.is_joined = not self.server.start(name, self.spec, self.environment)


def _failure(job: str, end: JobState) -> VigilError:
    """The error that the job ended with instead of a version."""
    try:
        return _decode_error(end.log[-1])
    except (ValueError, TypeError, LookupError):
        last_line = end.last_line or "it wrote nothing"
        return VigilError(f"the job {job} ended {end.status} without a version: {last_line}")


def _decode_error(line: str) -> VigilError:
    """The error in the object that a command prints with --json."""
    error = json.loads(line)["error"]
    kind = getattr(errors, error["type"], VigilError)
    return kind(error["message"], field=error.get("field"), row=error.get("row"))
