"""Ray's job server as its client sees it over HTTP, without Ray: it takes jobs and runs none."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from tests.answering import answering


class JobServer:
    """`jobs` by name with their status, `submitted` bodies in order, `asked` paths of requests."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.submitted: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.without_machine: set[str] = set()
        self.away = 0  # requests that it does not answer
        self.jobs_end = False  # at once
        self.url = ""

    def replaced(self) -> None:
        """There is a new head: it knows nothing of the jobs of the former one."""
        self.jobs.clear()

    def machine_dies(self, job: str, status: str = "FAILED") -> None:
        """The machine of a job's driver is gone, and its log with it."""
        self.jobs[job] = status
        self.without_machine.add(job)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        self.asked.append(path)
        if self.away:
            self.away -= 1
            return 503, "starting"
        if path == "/api/version":
            return 200, {"version": "4", "ray_version": ray.__version__, "ray_commit": "c"}
        if path == "/api/jobs/" and method == "POST":
            asked = json.loads(body)
            self.submitted.append(asked)
            self.jobs[asked["submission_id"]] = "SUCCEEDED" if self.jobs_end else "RUNNING"
            return 200, {"job_id": asked["submission_id"], "submission_id": asked["submission_id"]}
        if path == "/api/jobs/":
            return 200, [self._about(job) for job in self.jobs]
        job = path.removeprefix("/api/jobs/").split("/")[0]
        if job not in self.jobs:
            return 404, f"Job {job} does not exist"
        if path.endswith("/logs") and job in self.without_machine:
            return 500, "ClientConnectorError: Cannot connect to host"
        told = {"logs": {"logs": ""}, "stop": {"stopped": True}}
        return 200, told.get(path.rpartition("/")[2]) or self._about(job)

    def _about(self, job: str) -> dict[str, Any]:
        status = self.jobs[job]
        return {"type": "SUBMISSION", "submission_id": job, "status": status, "entrypoint": "e"}


@contextmanager
def job_server() -> Iterator[JobServer]:
    """One at a free port of 127.0.0.1."""
    made = JobServer()
    with answering(lambda asked: made.answer(asked.method, asked.path, asked.body)) as made.url:
        yield made
