"""What the console shows, as one document of plain values. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from drift.comparison import Comparison
from drift.governor import Governor, seconds_left
from drift.settings import DriftSettings
from drift.view.live import Live
from drift.view.timeline import timeline
from train.registry.promotion import Move
from train.registry.versions import Desired, Version

MAX_FEATURES_SHOWN = 50
REPLICA = ("replica", "version", "digest", "since", "source", "canary", "refused")


@dataclass(frozen=True)
class RegistryView:
    """What the registry has told last: what rows are compared with, what replicas should have, the latest versions and moves."""

    comparison: Comparison | None
    desired: Desired
    versions: Sequence[Version] = ()
    ledger: Sequence[Move] = ()


def console_document(
    status: Mapping[str, Any],
    live: Live,
    known: RegistryView,
    governor: Governor,
    settings: DriftSettings,
    now: float,
) -> dict[str, Any]:
    """`status` is what `/drift` answers. Nothing in it changes with the clock alone, so that a quiet page is not sent anew."""
    features = status["features"]
    drifting = sorted((_feature(feature) for feature in features), key=lambda f: -f["nearness"])
    return {
        "epoch": live.epoch,
        "standby": status["standby"],
        "status": _state(status),
        "sentence": status["verdict"]["sentence"] if status["verdict"] else "",
        "traffic": live.traffic.columns(now),
        "totals": live.traffic.totals(now),
        "points": live.points.columns(),
        "features": drifting[:MAX_FEATURES_SHOWN],
        "feature_count": len(features)
        or (len(known.comparison.bundle.names) if known.comparison else 0),
        "verdict": status["verdict"]
        and {
            key: status["verdict"][key] for key in ("verdict", "severity", "sentence", "features")
        },
        "verdicts": status["verdicts"],
        "window": {"rows": status["rows_in_window"], "size": status["window_rows"]},
        "rows_seen": status["rows_seen"],
        "governor": _governor(status["governor"], governor, settings, now),
        "models": _models(status, known),
        "feedback": status["feedback"],
        "timeline": timeline(status["timeline"], known.ledger, live.told.events, status["cause"]),
    }


def _state(status: Mapping[str, Any]) -> str:
    """At a glance: what a person should look at first."""
    if status["model_version"] is None:
        return "no model"
    verdict = status["verdict"]["verdict"] if status["verdict"] else "none"
    if verdict == "data break":
        return "data break"
    if verdict == "population drift" or status["governor"]["phase"] in ("collecting", "retraining"):
        return "drift"
    return "replicas differ" if status["disagreement"]["alert"] else "ok"


def _feature(feature: Mapping[str, Any]) -> dict[str, Any]:
    shift = (
        feature["correlation"] / feature["correlation_floor"]
        if feature["correlation_floor"]
        else 0.0
    )
    ratio = feature["ks"] / feature["floor"] if feature["floor"] else 0.0
    return {
        "feature": feature["feature"],
        "trend": feature["trend"],
        "ks": round(feature["ks"], 4),
        "floor": round(feature["floor"], 4),
        "ratio": round(ratio, 3),
        "correlation": round(shift, 3),
        "effect": round(feature["wasserstein"], 3),
        "nearness": round(max(ratio, shift if shift >= 1 else 0.0), 3),
    }


def _governor(
    shown: Mapping[str, Any], state: Governor, settings: DriftSettings, now: float
) -> dict[str, Any]:
    return {
        **{
            key: shown[key]
            for key in (
                "phase",
                "mode",
                "reason",
                "episode",
                "cooldown",
                "until",
                "rows",
                "retrains_left",
            )
        },
        "rows_wanted": settings.retrain_rows,
        "settings_mode": settings.mode,
        "retrains_a_day": settings.max_retrains_per_day,
        "seconds_left": round(seconds_left(state, now, settings)),
    }


def _models(status: Mapping[str, Any], known: RegistryView) -> dict[str, Any]:
    comparison, challenger, canary, scores = (
        known.comparison,
        known.desired.challenger,
        status["canary"],
        status["scores"],
    )
    threshold = comparison and comparison.bundle.threshold
    replicas = [{key: replica.get(key) for key in REPLICA} for replica in status["replicas"]]
    return {
        "desired": status["desired_version"],
        "champion": comparison and _version(comparison.champion),
        "challenger": challenger and _version(challenger),
        "versions": [_version(version) for version in known.versions],
        "canary": canary
        and {
            key: canary[key]
            for key in ("version", "champion", "share", "started", "stopped", "arms")
        },
        "shadow": status["shadow"],
        "threshold": threshold
        and {"value": threshold.value, "policy": threshold.policy, "budget": threshold.budget},
        "alert_rate": scores["alert_rate"] if scores else None,
        "usual_alert_rate": scores["usual"] if scores else None,
        "replicas": sorted(replicas, key=lambda r: str(r["replica"])),
        "lagging": status["lagging"],
        "convergence": _convergence(status),
    }


def _version(version: Version) -> dict[str, Any]:
    tags = {key: version.tags.get(key, "") for key in ("trigger", "verdict")}
    return {
        "version": version.version,
        "digest": version.digest,
        "created": version.created,
        **tags,
    }


def _convergence(status: Mapping[str, Any]) -> str:
    replicas, lagging, desired = status["replicas"], status["lagging"], status["desired_version"]
    if not replicas:
        return "no replica has reported lately"
    if desired is None:
        return "there is no champion yet"
    if not lagging:
        who = (
            "the one replica serves"
            if len(replicas) == 1
            else f"all {len(replicas)} replicas serve"
        )
        return f"{who} version {desired}"
    return f"{len(replicas) - len(lagging)} of {len(replicas)} replicas serve version {desired}; {', '.join(lagging)} lag"
