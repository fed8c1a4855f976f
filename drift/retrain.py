"""One retraining: submit the train job to Ray, wait, read the gate, promote or keep the champion."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from drift.dispatch import dispatch
from drift.governor import Outcome, trigger_of
from drift.rollout import Rollout
from drift.settings import DriftSettings
from train.model.gate import judge_shadow
from train.registry.canary import parse_canary_steps
from train.registry.promotion import completed_moves, promote_version, start_canary
from train.registry.versions import Registry, Version
from train.spec import JobSpec
from train.submit import JobLost, Jobs
from vigil.home import Home

log = logging.getLogger("ray.serve")
_POLL_INTERVAL_S = 1.0
LOST = "; the training cluster lost the job with the machine that it ran on, or with its head; it was submitted again"


@dataclass(frozen=True)
class Retraining:
    """How a retraining ended; `version` is the one it registered, if any."""

    outcome: Outcome
    reason: str
    version: str | None = None


def retrain(
    episode: str,
    since: float,
    cause: str,
    settings: DriftSettings,
    registry: Registry,
    rollout: Rollout,
    allowed: Callable[[], bool] = lambda: True,
    until: float = math.inf,
) -> Retraining:
    """Run the retraining of `episode` on baseline and captured rows since `since`; blocks until it has ended.

    `allowed` is asked before the champion is changed: a person may have switched retraining off meanwhile. `until` is when its
    time is over (Unix seconds), however often it is called.

    It is idempotent: job and version are keyed by the episode, so a monitor that restarts joins the job that runs, and one
    that was told JobsUnavailable or RegistryUnavailable may call it again.
    """
    champion = registry.champion()
    if champion is None:
        return Retraining("failed", "there is no champion to improve on")
    info = registry.fetch(champion, Home(settings.home).cache).info
    if settings.backend == "github":
        job = _Job(_dispatch(episode, cause, info, settings, registry))
    else:
        job = _run(episode, since, info, settings=settings, until=until)
    version = registry.of_job(episode)
    if version is None:
        return Retraining("failed", f"the job retrain-{episode} {job.ended}")
    gate = registry.gate(version)
    if not gate["passed"]:
        reason = f"version {version.version} failed the gate: {gate['reason']}"
        result = Retraining("kept", reason, version.version)
    elif not allowed():
        reason = f"version {version.version} passed the gate, but retraining was switched off"
        result = Retraining("kept", reason, version.version)
    else:
        result = _roll_out(version, gate, f"drift: {cause}", settings, registry, rollout)
    return replace(result, reason=result.reason + job.note)


def _dispatch(
    episode: str, cause: str, info: dict[str, Any], settings: DriftSettings, registry: Registry
) -> str:
    """Have the workflow train, and wait until it has registered a version; says how it ended.

    Whoever repeats the event repeats no training: the workflow's version is keyed by the episode.
    """
    payload = {
        "model": settings.model_name,
        "reason": cause,
        "episode": episode,
        "data": str(info["data"]),
    }
    if registry.of_job(episode) is None:
        dispatch(payload, settings)
    deadline = time.monotonic() + settings.retrain_timeout_s
    while registry.of_job(episode) is None and time.monotonic() < deadline:
        time.sleep(_POLL_INTERVAL_S)
    return f"has registered no version within {settings.retrain_timeout_s:g} s of its dispatch"


@dataclass(frozen=True)
class _Job:
    """How a job ended where it registered no version, and what else there is to tell of it."""

    ended: str
    note: str = ""


def _run(
    episode: str, since: float, info: dict[str, Any], *, settings: DriftSettings, until: float
) -> _Job:
    """Submit the job unless Ray knows it, and wait for its end.

    One that is lost with its machine, or with the head of its cluster, is submitted once more. It gets the champion's
    parameters and no other variable: rights and paths are those of the cluster that it runs on.
    """
    spec = JobSpec.of_bundle(
        info,
        captured=settings.captured_url or str(Home(settings.home).captured),
        since=since,
        trigger=trigger_of(episode),
        key=episode,
    )
    server, job = Jobs(settings.jobs_url), f"retrain-{episode}"
    # It may be a search that found them: a retraining begins where the champion stands.
    forest = {
        f"VIGIL_TRAIN_{name.upper()}": str(value) for name, value in info.get("forest", {}).items()
    }
    server.start(job, spec, forest)
    left_s = min(settings.retrain_timeout_s, until - time.time())
    note = ""

    def again(name: str) -> None:
        nonlocal note
        server.start(name, spec, forest)
        note = LOST
        log.warning("retraining %s%s", job, note)

    try:
        state = server.follow(job, left_s, submit_again=again)
    except JobLost as error:
        return _Job(f"was submitted twice, and lost twice: {error.message}", note)
    last_line = state.last_line or "no output"
    return _Job(f"ended {state.status} without a version: {last_line}{note}", note)


def _roll_out(
    version: Version,
    gate: dict[str, Any],
    reason: str,
    settings: DriftSettings,
    registry: Registry,
    rollout: Rollout,
) -> Retraining:
    """By shadow and canary where the settings ask for them, then the promotion."""
    number, said = version.version, f"version {version.version} passed the gate: {gate['reason']}"
    if settings.shadow_rows:
        found = _wait_for_shadow(number, settings, rollout)
        verdict = judge_shadow(
            found, settings.shadow_rows, rollout.budget * settings.canary_alert_band
        )
        if not verdict.passed:
            return Retraining(
                "kept", f"version {number} failed in the shadow: {verdict.reason}", number
            )
        gate = {**gate, "shadow": found}
    if not settings.canary_steps:
        promote_version(registry, number, reason=reason, actor="drift-monitor", gates=gate)
        return Retraining("promoted", said, number)
    if not _tried(registry, number):
        start_canary(
            registry,
            number,
            parse_canary_steps(settings.canary_steps),
            reason=reason,
            actor="drift-monitor",
        )
    while registry.canary() is not None:
        time.sleep(_POLL_INTERVAL_S)
    last = next(move for move in completed_moves(registry) if number in (move.to, move.former))
    champion = registry.champion()
    if champion is not None and champion.version == number:
        return Retraining("promoted", f"{said}; {last.reason}", number)
    return Retraining("kept", f"version {number} was a canary, and stopped: {last.reason}", number)


def _tried(registry: Registry, version: str) -> bool:
    """Whether it is, or was, a canary: a monitor that restarts joins what runs, and repeats nothing."""
    return any(move.kind == "canary" and move.to == version for move in completed_moves(registry))


def _wait_for_shadow(version: str, settings: DriftSettings, rollout: Rollout) -> dict[str, Any]:
    """The evidence of the shadow, complete or as far as it came in time."""
    deadline = time.monotonic() + settings.retrain_timeout_s
    empty = {
        "errors": 0,
        "rows": 0,
        "champion_alert_rate": 0.0,
        "challenger_alert_rate": 0.0,
        "champion_us_per_row": 0.0,
        "challenger_us_per_row": 0.0,
    }
    while time.monotonic() < deadline:
        found = rollout.shadow.found(version)
        if found is not None and (found["rows"] >= settings.shadow_rows or found["errors"]):
            return found
        time.sleep(_POLL_INTERVAL_S)
    return rollout.shadow.found(version) or empty
