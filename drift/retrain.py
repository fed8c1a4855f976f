"""One retraining: submit the train job to Ray, wait, read the gate, promote or keep the champion."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from drift.dispatch import dispatch
from drift.governor import Outcome, trigger_of
from drift.rollout import Rollout
from drift.settings import DriftSettings
from train.canary import steps
from train.gate import judge_shadow
from train.home import Home
from train.promotion import history, promote, start_canary
from train.registry import Registry, Version
from train.schema import Columns
from train.spec import JobSpec
from train.submit import Jobs

POLL_S = 1.0


@dataclass(frozen=True)
class Retraining:
    """How a retraining ended; `version` is the one it registered, if any."""

    outcome: Outcome
    reason: str
    version: str | None = None


def retrain(
    episode: str, since: float, cause: str, settings: DriftSettings, registry: Registry, rollout: Rollout,
    allowed: Callable[[], bool] = lambda: True,
) -> Retraining:  # fmt: skip
    """Run the retraining of `episode` on baseline and captured rows since `since`; blocks until it has ended.

    `allowed` is asked before the champion is changed: a person may have switched retraining off meanwhile.

    It is idempotent: job and version are keyed by the episode, so a monitor that restarts joins the job that runs, and one
    that was told JobsUnavailable or RegistryUnavailable may call it again.
    """
    champion = registry.champion()
    if champion is None:
        return Retraining("failed", "there is no champion to improve on")
    info = registry.fetch(champion, Home(settings.home).cache).info
    if settings.backend == "github":
        ended = _dispatch(episode, cause, info, settings, registry)
    else:
        ended = _run(episode, since, info, settings)
    version = registry.of_job(episode)
    if version is None:
        return Retraining("failed", f"the job retrain-{episode} {ended}")
    gate = registry.gate(version)
    if not gate["passed"]:
        return Retraining("kept", f"version {version.version} failed the gate: {gate['reason']}", version.version)
    if not allowed():
        return Retraining("kept", f"version {version.version} passed the gate, but retraining was switched off", version.version)
    return _roll_out(version, gate, f"drift: {cause}", settings, registry, rollout)


def _dispatch(episode: str, cause: str, info: dict[str, Any], settings: DriftSettings, registry: Registry) -> str:
    """Have the workflow train, and wait until it has registered a version; says how it ended.

    Whoever repeats the event repeats no training: the workflow's version is keyed by the episode.
    """
    payload = {"model": settings.model_name, "reason": cause, "episode": episode, "data": str(info["data"])}
    if registry.of_job(episode) is None:
        dispatch(payload, settings)
    deadline = time.monotonic() + settings.retrain_timeout_s
    while registry.of_job(episode) is None and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return f"has registered no version within {settings.retrain_timeout_s:g} s of its dispatch"


def _run(episode: str, since: float, info: dict[str, Any], settings: DriftSettings) -> str:
    """Submit the job unless Ray knows it, and wait for its end; says how it ended, with its last line."""
    told: dict[str, Any] = info.get("columns", {})
    features = tuple(told["features"]) if told.get("features") else None
    columns = Columns(info["label"], told.get("time"), told.get("entity"), features, told.get("schema"))
    captured = str(Home(settings.home).captured)
    spec = JobSpec(
        str(info["data"]), None, captured, since, trigger_of(episode), episode, columns, str(info.get("over_time", ""))
    )
    server, job = Jobs(settings.dashboard_url), f"retrain-{episode}"
    # It may be a search that found them: a retraining begins where the champion stands.
    forest = {f"VIGIL_TRAIN_{name.upper()}": str(value) for name, value in info.get("forest", {}).items()}
    server.start(job, spec, forest)
    status, lines = server.follow(job, settings.retrain_timeout_s)
    return f"ended {status} without a version: {lines[-1][:300] if lines else 'no output'}"


def _roll_out(
    version: Version, gate: dict[str, Any], reason: str, settings: DriftSettings, registry: Registry, rollout: Rollout
) -> Retraining:
    """By shadow and canary where the settings ask for them, then the promotion."""
    number, said = version.version, f"version {version.version} passed the gate: {gate['reason']}"
    if settings.shadow_rows:
        found = _wait_for_shadow(number, settings, rollout)
        verdict = judge_shadow(found, settings.shadow_rows, rollout.budget * settings.canary_alert_band)
        if not verdict.passed:
            return Retraining("kept", f"version {number} failed in the shadow: {verdict.reason}", number)
        gate = {**gate, "shadow": found}
    if not settings.canary_steps:
        promote(registry, number, reason=reason, actor="drift-monitor", gates=gate)
        return Retraining("promoted", said, number)
    if not _tried(registry, number):
        start_canary(registry, number, steps(settings.canary_steps), reason=reason, actor="drift-monitor")
    while registry.canary() is not None:
        time.sleep(POLL_S)
    last = next(move for move in history(registry) if number in (move.to, move.former))
    champion = registry.champion()
    if champion is not None and champion.version == number:
        return Retraining("promoted", f"{said}; {last.reason}", number)
    return Retraining("kept", f"version {number} was a canary, and stopped: {last.reason}", number)


def _tried(registry: Registry, version: str) -> bool:
    """Whether it is, or was, a canary: a monitor that restarts joins what runs, and repeats nothing."""
    return any(move.kind == "canary" and move.to == version for move in history(registry))


def _wait_for_shadow(version: str, settings: DriftSettings, rollout: Rollout) -> dict[str, Any]:
    """The evidence of the shadow, complete or as far as it came in time."""
    deadline = time.monotonic() + settings.retrain_timeout_s
    empty = {"errors": 0, "rows": 0, "champion_alert_rate": 0.0, "challenger_alert_rate": 0.0,
             "champion_us_per_row": 0.0, "challenger_us_per_row": 0.0}  # fmt: skip
    while time.monotonic() < deadline:
        found = rollout.shadow.found(version)
        if found is not None and (found["rows"] >= settings.shadow_rows or found["errors"]):
            return found
        time.sleep(POLL_S)
    return rollout.shadow.found(version) or empty
