"""What the monitor has decided and sees, as metrics; and what MLflow says of the versions.

That is how the champion was trained, and how the version that was judged last passed its gate.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

from prometheus_client import Gauge

from drift.events import Event, RetrainingEnded, WindowJudged
from drift.governor import Phase
from drift.settings import Mode
from serve.metrics import DriftMetrics
from train.registry.versions import Registry
from vigil.errors import VigilError
from vigil.json_types import Fields, Numbers

log = logging.getLogger("ray.serve")
MAX_FEATURE_SERIES = 50
MAX_CHECKS = 50
MAX_PHASES = 20
MAX_JUDGED = 100  # versions whose gate is known: a champion that comes back was not judged last
PHASE_PREFIX = "seconds_"  # of the metrics of its phases, in train/job.py
_Described = Fields  # something as `/drift` or the registry describes it


@dataclass(frozen=True)
class _Gate:
    """What the gate said: value and limit by check; passed is 1 or 0, or nan if unknown."""

    values: Numbers = field(default_factory=dict)
    limits: Numbers = field(default_factory=dict)
    passed: float = math.nan

    @classmethod
    def read(cls, stored: Fields) -> _Gate:
        """Raises ValueError, TypeError or LookupError for what is no gate."""
        checks = stored["checks"][:MAX_CHECKS]
        values = _by_name(checks, "value")
        limits = _by_name(checks, "limit")
        passed = bool(stored["passed"])
        return cls(values, limits, float(passed))


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
        if isinstance(event, WindowJudged):
            self._count_window(event)
        elif isinstance(event, RetrainingEnded):
            self._count_retraining(event)

    def _count_window(self, event: WindowJudged) -> None:
        self._metrics.windows.labels(event.verdict.kind).inc()
        self._metrics.episodes.inc(event.is_onset)

    def _count_retraining(self, event: RetrainingEnded) -> None:
        self._metrics.retrains.labels(event.outcome).inc()
        self._metrics.retrain_seconds.inc(event.seconds)

    def update(self, status: Fields) -> None:
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
        self._training = _phase_seconds(metrics)
        self._champion = champion
        self.judge(registry, champion)

    def judge(self, registry: Registry, version: str) -> None:
        """Learn what the gates said of a version, unless that is known."""
        if version in self._judged:
            return
        try:
            gate = registry.gate(registry.get(version))
            self._gate = _Gate.read(gate)
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

    def _set_models(self, status: Fields) -> None:
        desired = status["desired_version"]
        versions = {} if desired is None else {desired: 1.0}
        _set(self._metrics.desired, versions)
        digest = str(status["model_digest"])
        self._set_info(status["model_version"], digest)

    def _set_info(self, version: str | None, digest: str) -> None:
        info = self._metrics.info
        info.clear()
        if version is not None:
            info.labels(version, digest[:12]).set(1)

    def _set_replicas(self, status: Fields) -> None:
        self._count_replicas(status["replicas"])
        self._set_lag(status)
        canary = status["canary"] or {"share": 0.0}
        self._metrics.canary_share.set(canary["share"])

    def _count_replicas(self, replicas: Sequence[_Described]) -> None:
        by_version = self._metrics.replicas
        by_version.clear()
        for replica in replicas:
            version = str(replica["version"])
            by_version.labels(version).inc()

    def _set_lag(self, status: Fields) -> None:
        metrics = self._metrics
        disagreement = status["disagreement"]
        lagging = len(status["lagging"])
        metrics.lagging.set(lagging)
        metrics.lag.set(disagreement["seconds"])
        metrics.disagreement.set(disagreement["alert"])

    def _set_shadow(self, shadow: Fields) -> None:
        arms = ("champion", "challenger") if shadow else ()
        rates = {arm: shadow[f"{arm}_alert_rate"] for arm in arms}
        agreement = _or_nan(shadow.get("kendall_tau"))
        self._metrics.shadow_ranks.set(agreement)
        _set(self._metrics.shadow_alert_rate, rates)

    def _set_window(self, status: Fields) -> None:
        self._metrics.severity.set(status["drift_score"])
        self._set_alert_rate(status)
        self._set_features(_furthest(status["features"]))

    def _set_alert_rate(self, status: Fields) -> None:
        metrics = self._metrics
        scores = status["scores"] or {}
        rate = _or_nan(scores.get("alert_rate"))
        budget = _or_nan(status["alert_budget"])
        metrics.alert_rate.set(rate)
        metrics.alert_budget.set(budget)

    def _set_features(self, features: Sequence[_Described]) -> None:
        _set(self._metrics.statistic, _by_feature(features, "ks"))
        _set(self._metrics.floor, _by_feature(features, "floor"))

    def _set_governor(self, governor: Fields) -> None:
        metrics = self._metrics
        phases = _one_hot(get_args(Phase), governor["phase"])
        modes = _one_hot(get_args(Mode), governor["mode"])
        _set(metrics.phase, phases)
        _set(metrics.mode, modes)
        metrics.episode_open.set(governor["episode"] is not None)
        metrics.retrains_left.set(governor["retrains_left"])


def _by_name(checks: Sequence[_Described], key: str) -> dict[str, float]:
    return {str(check["name"]): float(check[key]) for check in checks}


def _by_feature(features: Sequence[_Described], key: str) -> dict[str, float]:
    return {feature["feature"]: feature[key] for feature in features}


def _phase_seconds(metrics: Numbers) -> dict[str, float]:
    """Seconds of each phase of a training, by its name."""
    names = sorted(name for name in metrics if name.startswith(PHASE_PREFIX))
    shown = names[:MAX_PHASES]
    return {name.removeprefix(PHASE_PREFIX): metrics[name] for name in shown}


def _furthest(features: Sequence[_Described]) -> list[_Described]:
    """The features that have strayed furthest, against their floors."""
    by_distance = sorted(features, key=_over_floor, reverse=True)
    return by_distance[:MAX_FEATURE_SERIES]


def _over_floor(feature: _Described) -> float:
    return feature["ks"] / feature["floor"]


def _one_hot(values: Sequence[str], present: str) -> dict[str, float]:
    return {value: float(value == present) for value in values}


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _set(gauge: Gauge, values: Numbers) -> None:
    """Exactly these values of a gauge with one label."""
    gauge.clear()
    for label, value in values.items():
        gauge.labels(label).set(value)
