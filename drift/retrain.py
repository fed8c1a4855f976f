"""One retraining: submit the train job to Ray, wait, read the gate, promote or keep the champion."""

from __future__ import annotations

import shlex
import sys
import time
from dataclasses import dataclass

from ray.job_submission import JobStatus, JobSubmissionClient

from drift.governor import Outcome
from drift.settings import DriftSettings
from train.home import Home
from train.promotion import promote
from train.registry import Registry

POLL_S = 1.0


@dataclass(frozen=True)
class Retraining:
    """How a retraining ended; `version` is the one it registered, if any."""

    outcome: Outcome
    reason: str
    version: str | None = None


def retrain(episode: str, since: float, cause: str, settings: DriftSettings, registry: Registry) -> Retraining:
    """Run the retraining of `episode` on baseline and captured rows since `since`; blocks until it has ended.

    It is idempotent: job and version are keyed by the episode, so a monitor that restarts joins the job that runs.
    """
    champion = registry.champion()
    if champion is None:
        return Retraining("failed", "there is no champion to improve on")
    home = Home(settings.home)
    info = registry.fetch(champion, home.cache).info
    client = JobSubmissionClient(settings.dashboard_url)
    job = f"retrain-{episode}"
    if all(known.submission_id != job for known in client.list_jobs()):
        arguments = ["train", "--data", str(info["data"]), "--captured", str(home.captured), "--since", repr(since)]
        arguments += ["--trigger", "drift", "--key", episode, "--json"] + (
            ["--label", str(info["label"])] if info["label"] else []
        )
        client.submit_job(entrypoint=shlex.join([sys.executable, "-m", "vigil", *arguments]), submission_id=job)
    status = _wait(client, job, settings.retrain_timeout_s)
    version = registry.of_job(episode)
    if version is None:
        tail = client.get_job_logs(job).strip().splitlines()[-1:] or ["no output"]
        return Retraining("failed", f"the job {job} ended {status} without a version: {tail[0][:300]}")
    gate = registry.gate(version)
    if not gate["passed"]:
        return Retraining("kept", f"version {version.version} failed the gate: {gate['reason']}", version.version)
    promote(registry, version.version, reason=f"drift: {cause}", actor="drift-monitor", gates=gate)
    return Retraining("promoted", f"version {version.version} passed the gate: {gate['reason']}", version.version)


def _wait(client: JobSubmissionClient, job: str, timeout_s: float) -> str:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        status = client.get_job_status(job)
        if status.is_terminal():
            return str(status)
        time.sleep(POLL_S)
    client.stop_job(job)
    return str(JobStatus.STOPPED)
