"""What the console shows, as one document of plain values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from drift.comparison import Comparison
from drift.events import Transition
from drift.governor import Governor
from drift.incidents.desk import IncidentBoard
from drift.settings import DriftSettings
from drift.view.live import Live
from drift.view.timeline import TimelineEntry, timeline
from train.registry.moves import Move
from train.registry.versions import Desired, Version
from vigil.json_types import Fields, JsonObject

MAX_FEATURES_SHOWN = 50
_REPLICA = ("replica", "version", "digest", "since", "source", "canary", "refused")
_VERDICT = ("verdict", "severity", "sentence", "features")
_CANARY = ("version", "champion", "share", "started", "stopped", "arms")
_GOVERNOR = (
    "phase",
    "mode",
    "reason",
    "episode",
    "cooldown",
    "until",
    "rows",
    "retrains_left",
)


@dataclass(frozen=True)
class RegistryView:
    """What the registry has said last.

    desired: what replicas should have; versions, ledger: the latest versions and moves
    """

    desired: Desired
    versions: Sequence[Version] = ()
    ledger: Sequence[Move] = ()


@dataclass(frozen=True)
class ConsoleView:
    """What the document is made of; `status` is what `/drift` answers.

    Nothing in the document changes with the clock alone, so that a quiet page is not sent anew.
    """

    status: Fields
    live: Live
    comparison: Comparison | None
    registry: RegistryView
    governor: Governor
    transitions: Iterable[Transition]
    observations: Iterable[TimelineEntry]
    settings: DriftSettings
    incidents: IncidentBoard = field(default_factory=IncidentBoard)

    def document(self, now: float) -> JsonObject:
        """Return the document, to be encoded as JSON."""
        status = self.status
        return {
            "epoch": self.live.epoch,
            "standby": status["standby"],
            "status": console_status(status),
            "sentence": self._verdict.get("sentence", ""),
            **self._live(now),
            **self._window(),
            "rows_seen": status["rows_seen"],
            "governor": self._governor(now),
            "models": self._models(),
            "incidents": self._incidents(),
            "feedback": status["feedback"],
            "timeline": self._timeline(),
        }

    @property
    def _verdict(self) -> Fields:
        """The last verdict, empty before the first."""
        return self.status["verdict"] or {}

    def _live(self, now: float) -> JsonObject:
        traffic = self.live.traffic
        return {
            "traffic": traffic.columns(now),
            "totals": traffic.totals(now),
            "points": self.live.points.columns(),
        }

    def _window(self) -> JsonObject:
        status = self.status
        verdict = self._verdict
        return {
            **self._features(),
            "verdict": _part(verdict, _VERDICT) if verdict else None,
            "verdicts": status["verdicts"],
            "window": {
                "rows": status["rows_in_window"],
                "size": status["window_rows"],
            },
        }

    def _features(self) -> JsonObject:
        features = list(map(_feature, self.status["features"]))
        features.sort(key=lambda feature: -feature["nearness"])
        return {
            "features": features[:MAX_FEATURES_SHOWN],
            "feature_count": len(features) or self._model_features(),
        }

    def _model_features(self) -> int:
        if self.comparison is None:
            return 0
        return len(self.comparison.bundle.names)

    def _governor(self, now: float) -> JsonObject:
        settings = self.settings
        budget = self.governor.budget(now, settings)
        return {
            **_part(self.status["governor"], _GOVERNOR),
            "rows_wanted": settings.retrain_rows,
            "settings_mode": settings.mode,
            "retrains_a_day": settings.max_retrains_per_day,
            "seconds_left": round(budget.seconds_left),
        }

    def _models(self) -> JsonObject:
        status = self.status
        canary = status["canary"]
        return {
            "desired": status["desired_version"],
            **self._versions(),
            "canary": canary and _part(canary, _CANARY),
            "shadow": status["shadow"],
            "threshold": self._threshold(),
            **self._alert_rates(),
            "replicas": _replicas(status),
            "lagging": status["lagging"],
            "convergence": _convergence(status),
        }

    def _versions(self) -> JsonObject:
        registry = self.registry
        champion = self.comparison and self.comparison.champion
        challenger = registry.desired.challenger
        return {
            "champion": champion and _version(champion),
            "challenger": challenger and _version(challenger),
            "versions": list(map(_version, registry.versions)),
        }

    def _incidents(self) -> JsonObject:
        board = self.incidents
        return {
            "open": board.open,
            "held": board.held,
            "listed": list(map(msgspec.to_builtins, board.listed)),
        }

    def _threshold(self) -> JsonObject | None:
        if self.comparison is None:
            return None
        threshold = self.comparison.bundle.threshold
        return {
            "value": threshold.value,
            "policy": threshold.policy,
            "budget": threshold.budget,
        }

    def _alert_rates(self) -> dict[str, float | None]:
        scores = self.status["scores"] or {}
        return {
            "alert_rate": scores.get("alert_rate"),
            "usual_alert_rate": scores.get("usual"),
        }

    def _timeline(self) -> list[TimelineEntry]:
        return timeline(
            self.transitions,
            self.registry.ledger,
            self.observations,
            cause=self.status["cause"],
        )


def console_status(status: Fields) -> str:
    """Return what a person should look at first."""
    if status["model_version"] is None:
        return "no model"
    verdict = status["verdict"] or {"verdict": "none"}
    kind = verdict["verdict"]
    if kind == "data break":
        return "data break"
    phase = status["governor"]["phase"]
    if kind == "population drift" or phase in ("collecting", "retraining"):
        return "drift"
    differs = status["disagreement"]["alert"]
    return "replicas differ" if differs else "ok"


def _part(document: Fields, keys: Iterable[str]) -> JsonObject:
    return {key: document[key] for key in keys}


def _feature(feature: Fields) -> JsonObject:
    ratio = _ratio(feature["ks"], feature["floor"])
    correlation = _ratio(feature["correlation"], feature["correlation_floor"])
    return {
        "feature": feature["feature"],
        "trend": feature["trend"],
        "ks": round(feature["ks"], 4),
        "floor": round(feature["floor"], 4),
        "ratio": round(ratio, 3),
        "correlation": round(correlation, 3),
        "effect": round(feature["wasserstein"], 3),
        "nearness": round(_nearness(ratio, correlation), 3),
    }


def _nearness(ratio: float, correlation: float) -> float:
    """How near a feature comes to drift; a correlation says nothing below its floor."""
    return max(ratio, correlation) if correlation >= 1 else ratio


def _ratio(value: float, floor: float) -> float:
    return value / floor if floor else 0.0


def _replicas(status: Fields) -> list[JsonObject]:
    by_name = sorted(status["replicas"], key=_replica_name)
    return [_part(replica, _REPLICA) for replica in by_name]


def _replica_name(replica: Fields) -> str:
    return str(replica["replica"])


def _version(version: Version) -> JsonObject:
    return {
        "version": version.version,
        "digest": version.digest,
        "created": version.created,
        "trigger": version.tags.get("trigger", ""),
        "verdict": version.tags.get("verdict", ""),
    }


def _convergence(status: Fields) -> str:
    count = len(status["replicas"])
    lagging = status["lagging"]
    desired = status["desired_version"]
    if not count:
        return "no replica has reported lately"
    if desired is None:
        return "there is no champion yet"
    if not lagging:
        return f"{_all_replicas_serve(count)} version {desired}"
    serving = count - len(lagging)
    return f"{serving} of {count} replicas serve version {desired}; {', '.join(lagging)} lag"


def _all_replicas_serve(count: int) -> str:
    return "the one replica serves" if count == 1 else f"all {count} replicas serve"
