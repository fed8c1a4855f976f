"""Series as they are published (NAB): read and judged with nothing but their path."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.train.conftest import fit_challenger
from train.challenger import Assessment, judge
from train.progress import JobProgress
from train.settings import TrainSettings
from train.spec import JobSpec
from train.table.training_data import load_training_data
from vigil.errors import DataError

SETTINGS = TrainSettings(n_estimators=50)
# The last fifth of these, which is held out, has windows that are labelled as anomalies.
ENDS_WITH_ANOMALIES = {
    "cpu_utilization_asg_misconfiguration",
    "grok_asg_anomaly",
    "machine_temperature_system_failure",
    "rds_cpu_utilization_cc0c53",
}
CONSTANT = "art_flatline"


class _Gauge:
    def __init__(self, *_: Any, **__: Any) -> None: ...

    def set(self, *_: Any) -> None: ...


@pytest.fixture
def series(real_data: Path) -> list[Path]:
    return sorted((real_data / "nab").glob("*.csv"))


def assess(file: Path) -> Assessment:
    spec = JobSpec(data=str(file))
    data = load_training_data(spec, SETTINGS, JobProgress(gauge=_Gauge))
    challenger, setup = fit_challenger(spec, SETTINGS, data, champion=None)
    return judge(challenger, None, setup)


def test_each_series_is_learnt_and_only_alerts_on_anomalies_fail_the_gate(
    series: list[Path],
) -> None:
    failed = {}
    for file in series:
        if file.stem == CONSTANT:
            continue
        verdict = assess(file).verdict
        failed[file.stem] = {check.name for check in verdict.checks if not check.passed}
    assert {name for name, checks in failed.items() if checks} == ENDS_WITH_ANOMALIES
    assert all("alert_rate" in failed[name] for name in ENDS_WITH_ANOMALIES)


def test_a_constant_series_is_refused_with_what_helps(real_data: Path) -> None:
    with pytest.raises(DataError, match="is constant: there is nothing to learn; give rows"):
        assess(real_data / "nab" / f"{CONSTANT}.csv")
