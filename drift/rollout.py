"""How a version reaches the replicas: who lags, what the shadow found, and whether a canary goes on.

Without Ray and without a clock of its own; the monitor feeds it reports and carries out what it decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drift.guard import ArmTotals, reason_to_stop
from drift.settings import DriftSettings
from drift.shadow import ShadowEvidence
from serve.metrics import DriftMetrics
from train.registry.canary import Canary
from train.registry.promotion import promote_version, stop_canary
from train.registry.versions import Desired, Registry

REGISTRY_POLL_INTERVAL_S = 2.0
ACTOR = "canary-guard"


class Rollout:
    """Replicas beside what they should have. An alert means that one has lagged for more polls than allowed."""

    def __init__(self, settings: DriftSettings, metrics: DriftMetrics) -> None:
        self.settings = settings
        self._metrics = metrics
        self.desired = Desired()
        self.budget = 0.0  # of alerts, the champion's
        self.shadow = ShadowEvidence()
        self.stopped: float | None = None  # the canary that the guard has stopped, by its start
        self._reason = ""
        self._trials: dict[
            str, Mapping[str, Any]
        ] = {}  # of the present canary, by replica; a dead one's stays in the sums
        self._lags: dict[str, float] = {}  # since when a replica lags

    @property
    def canary(self) -> Canary | None:
        return self.desired.canary

    def follow(self, desired: Desired) -> None:
        """What the registry says now."""
        if desired.canary != self.canary:
            self._trials = {}
        self.desired = desired

    def ingest(self, report: Mapping[str, Any]) -> None:
        """Take in one replica's trial and shadow, and judge the canary."""
        if report.get("shadow"):
            self.shadow.add(report["shadow"])
        trial, canary = report.get("trial"), self.canary
        if (
            trial is None
            or canary is None
            or trial["started"] != canary.started
            or self.stopped == canary.started
        ):
            return
        self._trials[str(report["replica"])] = trial
        reason = reason_to_stop(
            *self._arms, float(trial["budget"]), self.settings.canary_alert_band
        )
        if reason is not None:
            self.stopped, self._reason = canary.started, reason
            self._metrics.canary_stops.inc()

    @property
    def _arms(self) -> tuple[ArmTotals, ArmTotals]:
        trials = list(self._trials.values())  # reports come in from other threads
        champion, canary = (
            ArmTotals.total(trial[arm] for trial in trials) for arm in ("champion", "canary")
        )
        return champion, canary

    def due(self, now: float) -> str | None:
        """What has to be done about the canary: "stop", "promote" or nothing."""
        canary = self.canary
        if canary is None:
            return None
        if self.stopped == canary.started:
            return "stop"
        return (
            "promote"
            if canary.over(now) and self._arms[1].requests >= self.settings.canary_requests
            else None
        )

    def carry_out(self, what: str, registry: Registry) -> None:
        """Move the registry as was decided; raises VigilError when it is away or somebody else is promoting."""
        canary = self.canary
        if canary is None:
            return
        if what == "stop":
            stop_canary(registry, canary, reason=self._reason, actor=ACTOR)
        else:
            _, tried = self._arms
            gates = {
                "canary": {
                    "requests": tried.requests,
                    "rows": tried.rows,
                    "alerts": tried.alerts,
                    "errors": tried.errors,
                }
            }
            gates |= {"shadow": found} if (found := self.shadow.found(canary.version)) else {}
            reason = f"canary passed: {canary.reason}" if canary.reason else "canary passed"
            # Whoever began the canary of a version that had failed its gate has forced that.
            promote_version(
                registry, canary.version, reason=reason, actor=ACTOR, gates=gates, force=True
            )

    def status(
        self, live: Sequence[Mapping[str, Any]], now: float, followed: str | None = None
    ) -> dict[str, Any]:
        """The part of `/drift` about it. `followed` is desired while the registry has not been asked."""
        desired = self.desired.champion.version if self.desired.champion else followed
        lagging = [
            str(r["replica"]) for r in live if desired is not None and r["version"] != desired
        ]
        self._lags = {replica: self._lags.get(replica, now) for replica in lagging}
        lag = max((now - since for since in self._lags.values()), default=0.0)
        alert = lag > self.settings.disagreement_polls * REGISTRY_POLL_INTERVAL_S
        return {
            "desired_version": desired,
            "lagging": lagging,
            "disagreement": {
                "alert": alert,
                "seconds": lag,
                "allowed_polls": self.settings.disagreement_polls,
            },
            "canary": self._canary(now),
            "shadow": self.shadow.found(),
        }

    def _canary(self, now: float) -> dict[str, Any] | None:
        canary = self.canary
        if canary is None:
            return None
        champion, tried = self._arms
        return {
            "version": canary.version,
            "champion": canary.champion,
            "share": canary.share(now),
            "started": canary.started,
            "stopped": self._reason if self.stopped == canary.started else None,
            "arms": {"champion": vars(champion), "canary": vars(tried)},
        }
