"""The monitor's status as gauges, and what MLflow knows of the champion's training and of the version judged last."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Mapping
from typing import Any, get_args

from prometheus_client import Gauge

from drift.governor import Phase
from drift.settings import Mode
from serve.metrics import DriftMetrics
from train.registry.versions import Registry
from vigil.errors import VigilError

log = logging.getLogger("ray.serve")
MAX_FEATURE_SERIES, MOST_CHECKS, MOST_PHASES, REMEMBERED = 50, 50, 20, 100
SECONDS = "seconds_"  # how train/job.py calls the metrics of its phases


class Gauges:
    """Sets the gauges of `metrics`. `update` belongs under the lock of whoever collects them."""

    def __init__(self, metrics: DriftMetrics) -> None:
        self._metrics = metrics
        self._champion: str | None = None
        self._judged: deque[str] = deque(
            maxlen=REMEMBERED
        )  # a champion that comes back was not judged last
        self._training: dict[str, float] = {}
        self._gate: dict[str, tuple[float, float]] = {}
        self._passed = math.nan

    def update(self, status: Mapping[str, Any]) -> None:
        """Set what follows from a status (Watch.status)."""
        self._models(status)
        self._window(status)
        self._governor(status["governor"])
        _set(self._metrics.training_phase, self._training)
        _set(self._metrics.gate_value, {check: value for check, (value, _) in self._gate.items()})
        _set(self._metrics.gate_limit, {check: limit for check, (_, limit) in self._gate.items()})
        self._metrics.gate_passed.set(self._passed)

    def follow(self, registry: Registry, champion: str) -> None:
        """Learn how this champion was trained and, where that is news, judged; with the registry away nothing changes."""
        if champion == self._champion:
            return
        try:
            metrics = registry.get(champion).metrics
        except VigilError:
            return
        phases = sorted(name for name in metrics if name.startswith(SECONDS))[:MOST_PHASES]
        self._training = {name.removeprefix(SECONDS): metrics[name] for name in phases}
        self._champion = champion
        self.judge(registry, champion)

    def judge(self, registry: Registry, version: str) -> None:
        """Learn what the gates said of a version, unless they are known."""
        if version in self._judged:
            return
        try:
            gate = registry.gate(registry.get(version))
            checks = {
                str(c["name"]): (float(c["value"]), float(c["limit"]))
                for c in gate["checks"][:MOST_CHECKS]
            }
            passed = float(bool(gate["passed"]))
        except (VigilError, ValueError, TypeError, LookupError) as error:
            log.warning("what the gates said of version %s cannot be read: %s", version, error)
            return
        self._judged.append(version)
        self._gate, self._passed = checks, passed

    def _models(self, status: Mapping[str, Any]) -> None:
        metrics, version, desired = (
            self._metrics,
            status["model_version"],
            status["desired_version"],
        )
        metrics.info.clear()
        if version is not None:
            metrics.info.labels(version, str(status["model_digest"])[:12]).set(1)
        metrics.replicas.clear()
        for replica in status["replicas"]:
            metrics.replicas.labels(str(replica["version"])).inc()
        _set(metrics.desired, {desired: 1.0} if desired is not None else {})
        metrics.lagging.set(len(status["lagging"]))
        metrics.lag.set(status["disagreement"]["seconds"])
        metrics.disagreement.set(status["disagreement"]["alert"])
        metrics.canary_share.set(status["canary"]["share"] if status["canary"] else 0.0)
        shadow = status["shadow"] or {}
        metrics.shadow_ranks.set(_known(shadow.get("kendall_tau")))
        _set(
            metrics.shadow_alert_rate,
            {m: shadow[f"{m}_alert_rate"] for m in ("champion", "challenger") if shadow},
        )

    def _window(self, status: Mapping[str, Any]) -> None:
        metrics, scores = self._metrics, status["scores"]
        metrics.severity.set(status["drift_score"])
        metrics.alert_rate.set(_known(scores["alert_rate"] if scores else None))
        metrics.alert_budget.set(_known(status["alert_budget"]))
        furthest = sorted(status["features"], key=lambda f: f["floor"] / max(f["ks"], 1e-12))[
            :MAX_FEATURE_SERIES
        ]
        _set(metrics.statistic, {f["feature"]: f["ks"] for f in furthest})
        _set(metrics.floor, {f["feature"]: f["floor"] for f in furthest})

    def _governor(self, governor: Mapping[str, Any]) -> None:
        metrics, phase = self._metrics, governor["phase"]
        _set(metrics.phase, {one: float(one == phase) for one in get_args(Phase)})
        _set(metrics.mode, {one: float(one == governor["mode"]) for one in get_args(Mode)})
        metrics.episode_open.set(governor["episode"] is not None)
        metrics.retrains_left.set(governor["retrains_left"])


def _known(value: float | None) -> float:
    return math.nan if value is None else value


def _set(gauge: Gauge, values: Mapping[str, float]) -> None:
    """Exactly these values of a gauge with one label."""
    gauge.clear()
    for label, value in values.items():
        gauge.labels(label).set(value)
