"""What the monitor has decided and sees, as metrics; and what MLflow says of the versions.

That is how the champion was trained, and how the version that was judged last passed its gate.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from prometheus_client import Gauge

from drift.events import Event, RetrainingEnded, WindowJudged
from drift.governor import Phase
from drift.settings import Mode
from serve.metrics import DriftMetrics
from train.registry.versions import Registry
from vigil.errors import VigilError

log = logging.getLogger("ray.serve")
MAX_FEATURE_SERIES = 50
MAX_CHECKS = 50
MAX_PHASES = 20
MAX_JUDGED = 100  # versions whose gate is known: a champion that comes back was not judged last
PHASE_PREFIX = "seconds_"  # of the metrics of its phases, in train/job.py


@dataclass(frozen=True)
class _Gate:
    """What the gate said: value and limit by check; passed is 1 or 0, or nan if unknown."""

    values: Mapping[str, float] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    passed: float = math.nan

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> _Gate:
        """Raises ValueError, TypeError or LookupError for what is no gate."""
        checks = stored["checks"][:MAX_CHECKS]
        return cls(
            values={str(check["name"]): float(check["value"]) for check in checks},
            limits={str(check["name"]): float(check["limit"]) for check in checks},
            passed=float(bool(stored["passed"])),
        )


class Gauges:
    """Sets `metrics`. `update` belongs under the lock of whoever collects them."""

    def __init__(self, metrics: DriftMetrics) -> None:
        self._metrics = metrics
        self._champion: str | None = None
        self._judged: deque[str] = deque(maxlen=MAX_JUDGED)
        self._training: dict[str, float] = {}
        self._gate = _Gate()

    def count(self, event: Event) -> None:
        """Count windows, episodes and retrainings."""
        metrics = self._metrics
        if isinstance(event, WindowJudged):
            metrics.windows.labels(event.verdict.kind).inc()
            metrics.episodes.inc(event.is_onset)
        elif isinstance(event, RetrainingEnded):
            metrics.retrains.labels(event.outcome).inc()
            metrics.retrain_seconds.inc(event.seconds)

    def update(self, status: Mapping[str, Any]) -> None:
        """Set what follows from a status (Watch.status)."""
        self._set_models(status)
        self._set_replicas(status)
        self._set_shadow(status["shadow"] or {})
        self._set_window(status)
        self._set_governor(status["governor"])
        self._set_training()

    def follow(self, registry: Registry, champion: str) -> None:
        """Learn how this champion was trained and, where that is news, judged.

        With the registry away nothing changes.
        """
        if champion == self._champion:
            return
        try:
            metrics = registry.get(champion).metrics
        except VigilError:
            return
        phases = sorted(name for name in metrics if name.startswith(PHASE_PREFIX))[:MAX_PHASES]
        self._training = {name.removeprefix(PHASE_PREFIX): metrics[name] for name in phases}
        self._champion = champion
        self.judge(registry, champion)

    def judge(self, registry: Registry, version: str) -> None:
        """Learn what the gates said of a version, unless that is known."""
        if version in self._judged:
            return
        try:
            self._gate = _Gate.read(registry.gate(registry.get(version)))
        except (VigilError, ValueError, TypeError, LookupError) as error:
            log.warning("what the gates said of version %s cannot be read: %s", version, error)
            return
        self._judged.append(version)

    def _set_training(self) -> None:
        metrics = self._metrics
        _set(metrics.training_phase, self._training)
        _set(metrics.gate_value, self._gate.values)
        _set(metrics.gate_limit, self._gate.limits)
        metrics.gate_passed.set(self._gate.passed)

    def _set_models(self, status: Mapping[str, Any]) -> None:
        metrics = self._metrics
        version = status["model_version"]
        desired = status["desired_version"]
        metrics.info.clear()
        if version is not None:
            digest = str(status["model_digest"])[:12]
            metrics.info.labels(version, digest).set(1)
        _set(metrics.desired, {desired: 1.0} if desired is not None else {})

    def _set_replicas(self, status: Mapping[str, Any]) -> None:
        metrics = self._metrics
        metrics.replicas.clear()
        for replica in status["replicas"]:
            metrics.replicas.labels(str(replica["version"])).inc()
        metrics.lagging.set(len(status["lagging"]))
        metrics.lag.set(status["disagreement"]["seconds"])
        metrics.disagreement.set(status["disagreement"]["alert"])
        canary = status["canary"]
        metrics.canary_share.set(canary["share"] if canary else 0.0)

    def _set_shadow(self, shadow: Mapping[str, Any]) -> None:
        self._metrics.shadow_ranks.set(_or_nan(shadow.get("kendall_tau")))
        rates = {}
        if shadow:
            rates["champion"] = shadow["champion_alert_rate"]
            rates["challenger"] = shadow["challenger_alert_rate"]
        _set(self._metrics.shadow_alert_rate, rates)

    def _set_window(self, status: Mapping[str, Any]) -> None:
        metrics = self._metrics
        scores = status["scores"]
        metrics.severity.set(status["drift_score"])
        metrics.alert_rate.set(_or_nan(scores["alert_rate"] if scores else None))
        metrics.alert_budget.set(_or_nan(status["alert_budget"]))
        furthest = _furthest(status["features"])
        _set(metrics.statistic, {feature["feature"]: feature["ks"] for feature in furthest})
        _set(metrics.floor, {feature["feature"]: feature["floor"] for feature in furthest})

    def _set_governor(self, governor: Mapping[str, Any]) -> None:
        metrics = self._metrics
        _set(metrics.phase, _one_hot(get_args(Phase), governor["phase"]))
        _set(metrics.mode, _one_hot(get_args(Mode), governor["mode"]))
        metrics.episode_open.set(governor["episode"] is not None)
        metrics.retrains_left.set(governor["retrains_left"])


def _furthest(features: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The features that have strayed furthest, against their floors."""
    by_distance = sorted(features, key=lambda feature: feature["floor"] / max(feature["ks"], 1e-12))
    return by_distance[:MAX_FEATURE_SERIES]


def _one_hot(values: Sequence[str], present: str) -> dict[str, float]:
    return {value: float(value == present) for value in values}


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _set(gauge: Gauge, values: Mapping[str, float]) -> None:
    """Exactly these values of a gauge with one label."""
    gauge.clear()
    for label, value in values.items():
        gauge.labels(label).set(value)
