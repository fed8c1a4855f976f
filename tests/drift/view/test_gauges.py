"""What the monitor tells Prometheus: gauges from its status.

From MLflow come gauges of what gates and training were like.
"""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest

from drift.release import Retraining
from drift.view.gauges import MAX_FEATURE_SERIES, Gauges
from serve.metrics import DriftMetrics
from serve.model.canary import Arm
from serve.model.report import CanaryReport, ShadowReport
from tests.drift.test_watch import NOW, WINDOW, Make, drifted, samples
from tests.serve.linted import lint
from train.registry.canary import Canary
from train.registry.versions import Desired, Registry, Version
from vigil.errors import RegistryUnavailable


class Shelf:
    """What MLflow would say of versions."""

    def __init__(self) -> None:
        self.away = False
        self.gates: dict[str, Any] = {}

    def get(self, version: str) -> Version:
        if self.away:
            raise RegistryUnavailable("away")
        return Version(
            version, "run", "digest", 0.0, metrics={"seconds_fit": float(version), "auroc": 0.9}
        )

    def gate(self, version: Version) -> Any:
        return self.gates[version.version]


@pytest.fixture
def shelf() -> Shelf:
    made = Shelf()
    for version, passed in (("1", True), ("2", False)):
        check = {
            "name": "alert_rate",
            "value": 0.01 * int(version),
            "limit": 0.04,
            "passed": passed,
            "sentence": "",
        }
        made.gates[version] = {"passed": passed, "reason": "", "checks": [check]}
    return made


def test_before_the_first_window_there_is_no_rate_to_raise_an_alarm_by(watch: Make) -> None:
    found = samples(watch())
    assert all(
        math.isnan(found[name,])
        for name in ("vigil_alert_rate", "vigil_gate_passed", "vigil_shadow_rank_correlation")
    )
    assert found["vigil_alert_budget",] == 0.01
    assert found["vigil_model_info", "digest-1", "1"] == 1
    assert [
        found["vigil_governor_phase", phase]
        for phase in ("watching", "collecting", "retraining", "cooling")
    ] == [1, 0, 0, 0]
    assert [found["vigil_governor_mode", mode] for mode in ("observe", "suggest", "auto")] == [
        0,
        0,
        1,
    ]


def test_an_episode_from_its_first_window_to_the_cost_of_its_retraining(
    watch: Make, report: Make, live: Make
) -> None:
    seen = watch(max_retrains_per_day=3)
    drifted(seen, report, live)
    found = samples(seen)
    assert (found["vigil_drift_episodes_total",], found["vigil_drift_episode_open",]) == (1, 1)
    assert found["vigil_governor_phase", "retraining"] == 1
    assert found["vigil_governor_retrains_left",] == 2
    assert found["vigil_drift_statistic", "a"] > found["vigil_drift_floor", "a"] > 0
    assert 0 <= found["vigil_alert_rate",] <= 1
    seen.finish(Retraining("kept", "no better", "2"), NOW + 62)
    found = samples(seen, NOW + 62)
    assert (found["vigil_drift_episode_open",], found["vigil_retrain_seconds_total",]) == (0, 60)
    assert found["vigil_retrains_total", "kept"] == 1


def test_replicas_canary_and_shadow(watch: Make, report: Make, live: Make, version: Make) -> None:
    clock = [0.0]
    seen = watch(seconds=lambda: clock[0])
    seen.rollout.follow(Desired(version("1"), canary=Canary("2", "1", NOW, ((0.1, 60.0),))))
    running = CanaryReport(started=NOW, budget=0.01, champion=Arm().counts(), canary=Arm().counts())
    shadow = ShadowReport(
        champion="1",
        challenger="2",
        scores=np.array([[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]),
        alerts=np.array([[False, False, True], [True, True, True]]),
        seconds=(1.0, 1.0),
    )
    seen.ingest(report(live(0), canary=running, shadow=shadow), NOW)
    seen.ingest(report(live(0), version="0", replica="old"), NOW)
    samples(seen, NOW)
    clock[0] = 4.0
    found = samples(seen, NOW + 4)
    assert (found["vigil_canary_share",], found["vigil_shadow_rank_correlation",]) == (0.1, 1.0)
    assert [found["vigil_shadow_alert_rate", model] for model in ("champion", "challenger")] == [
        pytest.approx(1 / 3),
        1,
    ]
    assert (found["vigil_model_lagging_replicas",], found["vigil_model_lag_seconds",]) == (1, 4)
    assert (
        found["vigil_model_replicas", "0"],
        found["vigil_model_desired", "1"],
        found["vigil_model_disagreement",],
    ) == (
        1,
        1,
        0,
    )
    clock[0] = 7.0
    assert samples(seen, NOW)["vigil_model_lag_seconds",] == 0  # nobody has reported: nobody lags


def test_gates_are_of_the_version_judged_last_and_training_of_the_champion(
    shelf: Shelf, watch: Make
) -> None:
    seen, registry = watch(), cast(Registry, shelf)
    shelf.away = True
    seen.display.gauges.follow(registry, "1")
    assert math.isnan(samples(seen)["vigil_gate_passed",])
    shelf.away = False
    for _ in range(2):
        seen.display.gauges.follow(registry, "1")
        found = samples(seen)
        assert (found["vigil_gate_passed",], found["vigil_gate_value", "alert_rate"]) == (1, 0.01)
        assert (
            found["vigil_gate_limit", "alert_rate"],
            found["vigil_training_phase_seconds", "fit"],
        ) == (0.04, 1)
    seen.display.gauges.judge(registry, "2")
    seen.display.gauges.follow(registry, "1")
    found = samples(seen)
    assert (found["vigil_gate_passed",], found["vigil_training_phase_seconds", "fit"]) == (0, 1)


@pytest.mark.parametrize(
    "gate",
    [{}, {"passed": True, "checks": [{"name": "x"}]}, {"passed": 1, "checks": [1]}, None, []],
)
def test_a_gate_that_cannot_be_read_is_not_told(shelf: Shelf, watch: Make, gate: Any) -> None:
    seen, shelf.gates["1"] = watch(), gate
    seen.display.gauges.follow(cast(Registry, shelf), "1")
    assert math.isnan(samples(seen)["vigil_gate_passed",])


def test_of_many_features_the_furthest_are_told(watch: Make) -> None:
    metrics = DriftMetrics()
    features = [
        {"feature": f"f{i}", "ks": i / 1000, "floor": 0.1} for i in range(MAX_FEATURE_SERIES + 10)
    ]
    Gauges(metrics).update(watch().status(NOW) | {"features": features})
    told = {
        s.labels["feature"]
        for m in metrics.registry.collect()
        if m.name == "vigil_drift_statistic"
        for s in m.samples
    }
    assert told == {f"f{i}" for i in range(10, MAX_FEATURE_SERIES + 10)}


def test_the_whole_exposition_passes_the_linter(watch: Make, report: Make, live: Make) -> None:
    seen = watch()
    seen.ingest(report(live(WINDOW)), NOW)
    assert lint(seen.display.exposition(NOW)) == ""
