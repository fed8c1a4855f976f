"""How a version reaches the replicas: who lags, what the shadow found, whether a canary goes on.

Without Ray; the monitor feeds it reports and carries out what it decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import structs

from drift.guard import CanaryGuard, sum_arms
from drift.settings import DriftSettings
from drift.shadow import ShadowEvidence
from serve.metrics import DriftMetrics
from serve.model.report import ArmCounts, CanaryReport, ReplicaReport, ServedModel
from train.registry.canary import Canary
from train.registry.canary_clock import CanaryClock
from train.registry.promotion import promote_version, stop_canary
from train.registry.versions import Desired, Registry
from vigil.json_types import JsonObject

CanaryAction = Literal["stop", "promote"]
REGISTRY_POLL_INTERVAL_S = 2.0
GUARD_ACTOR = "canary-guard"


class Rollout:
    """Replicas beside what they should have.

    An alert means that one has lagged for more polls than the settings allow.

    budget: the champion's, of alerts; stopped: start of the canary that the guard has stopped
    """

    def __init__(
        self,
        settings: DriftSettings,
        metrics: DriftMetrics,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        """`seconds` never jump: clocks do not say how long a canary runs."""
        self.seconds = seconds
        self._canary_clock = CanaryClock(seconds=seconds)
        self.settings = settings
        self.metrics = metrics
        self.desired = Desired()
        self.budget = 0.0
        self.shadow = ShadowEvidence()
        self.stopped: float | None = None
        self._reason = ""
        # Of the present canary, by replica; a dead one's stays in the sums.
        self._reports: dict[str, CanaryReport] = {}
        self._lagging_since: dict[str, float] = {}  # by `seconds`

    @property
    def canary(self) -> Canary | None:
        return self.desired.canary

    def desired_version(self, followed: str | None) -> str | None:
        """Return the version that replicas should serve.

        That is the one `followed`, while the registry has not been asked.
        """
        champion = self.desired.champion
        return champion.version if champion else followed

    def follow(self, desired: Desired) -> bool:
        """Take in what the registry wants now; return whether that is something else."""
        is_news = desired != self.desired
        if desired.canary != self.canary:
            self._reports = {}
        self._canary_clock.follow(desired.canary)
        self.desired = desired
        return is_news

    def is_behind(self, live: Sequence[ServedModel]) -> bool:
        """Whether one of the living replicas serves another version than the champion."""
        champion = self.desired.champion
        return champion is not None and bool(_lagging(live, champion.version))

    def ingest(self, report: ReplicaReport) -> None:
        """Take in one replica's canary and shadow, and judge the canary."""
        if report.shadow is not None:
            self.shadow.add(report.shadow)
        if report.canary is not None and self._is_judged(report.canary):
            self._reports[report.served.replica] = report.canary
            self._judge(report.canary.budget)

    def _is_judged(self, report: CanaryReport) -> bool:
        """Whether the report is of the present canary, and that one still runs."""
        canary = self.canary
        if canary is None or self._is_stopped(canary):
            return False
        return report.started == canary.started

    def _judge(self, budget: float) -> None:
        champion, canary = self._arms()
        band = self.settings.canary_alert_band
        guard = CanaryGuard(
            champion,
            canary,
            budget=budget,
            band=band,
        )
        reason = guard.reason_to_stop()
        if reason is not None:
            self._stop(reason)

    def _stop(self, reason: str) -> None:
        if self.canary is not None:
            self.stopped = self.canary.started
            self._reason = reason
            self.metrics.canary_stops.inc()

    def _arms(self) -> tuple[ArmCounts, ArmCounts]:
        """Counts of champion and canary over all replicas."""
        reports = list(self._reports.values())  # reports come in from other threads
        champions = [report.champion for report in reports]
        canaries = [report.canary for report in reports]
        return sum_arms(champions), sum_arms(canaries)

    def due(self) -> CanaryAction | None:
        """Return what has to be done about the canary."""
        canary = self.canary
        if canary is None:
            return None
        if self._is_stopped(canary):
            return "stop"
        is_over = canary.over(self._canary_clock.elapsed_s()) and self._has_answered_enough()
        return "promote" if is_over else None

    def _is_stopped(self, canary: Canary) -> bool:
        return self.stopped == canary.started

    def _has_answered_enough(self) -> bool:
        _, canary = self._arms()
        return canary.requests >= self.settings.canary_requests

    def carry_out(self, action: CanaryAction, registry: Registry) -> None:
        """End the canary.

        Raises VigilError when the registry is away or somebody else is promoting.
        """
        canary = self.canary
        if canary is None:
            return
        if action == "stop":
            stop_canary(
                registry,
                canary,
                reason=self._reason,
                actor=GUARD_ACTOR,
            )
        else:
            self._promote(canary, registry)

    def _promote(self, canary: Canary, registry: Registry) -> None:
        reason = f"canary passed: {canary.reason}" if canary.reason else "canary passed"
        # Whoever began the canary of a version that had failed its gate has forced that.
        promote_version(
            registry,
            canary.version,
            reason=reason,
            actor=GUARD_ACTOR,
            gates=self._evidence(canary),
            force=True,
        )

    def _evidence(self, canary: Canary) -> JsonObject:
        """What the ledger keeps of the canary."""
        _, counts = self._arms()
        evidence: JsonObject = {"canary": _counted(counts)}
        shadow = self.shadow.summary(canary.version)
        if shadow:
            evidence["shadow"] = shadow
        return evidence

    def status(
        self,
        live: Sequence[ServedModel],
        followed: str | None = None,
    ) -> JsonObject:
        """Return the part of `/drift` about it."""
        desired = self.desired_version(followed)
        lagging = _lagging(live, desired)
        return {
            "desired_version": desired,
            "lagging": lagging,
            "disagreement": self._disagreement(lagging),
            "canary": self._canary_status(),
            "shadow": self.shadow.summary(),
        }

    def _disagreement(self, lagging: Sequence[str]) -> JsonObject:
        now = self.seconds()
        former = self._lagging_since
        self._lagging_since = {replica: former.get(replica, now) for replica in lagging}
        lag_s = self._longest_lag(now)
        polls = self.settings.disagreement_polls
        is_alert = lag_s > polls * REGISTRY_POLL_INTERVAL_S
        return {"alert": is_alert, "seconds": lag_s, "allowed_polls": polls}

    def _longest_lag(self, now: float) -> float:
        """Seconds for which a replica has lagged."""
        since = min(self._lagging_since.values(), default=now)
        return now - since

    def _canary_status(self) -> JsonObject | None:
        canary = self.canary
        if canary is None:
            return None
        return {
            "version": canary.version,
            "champion": canary.champion,
            "share": canary.share(self._canary_clock.elapsed_s()),
            "started": canary.started,
            "stopped": self._reason if self._is_stopped(canary) else None,
            "arms": self._arms_status(),
        }

    def _arms_status(self) -> JsonObject:
        champion, canary = self._arms()
        return {"champion": structs.asdict(champion), "canary": structs.asdict(canary)}


def _counted(arm: ArmCounts) -> dict[str, int]:
    return {
        "requests": arm.requests,
        "rows": arm.rows,
        "alerts": arm.alerts,
        "errors": arm.errors,
    }


def _lagging(live: Sequence[ServedModel], desired: str | None) -> list[str]:
    """Replicas that serve another version than the desired one."""
    if desired is None:
        return []
    return [served.replica for served in live if served.version != desired]
