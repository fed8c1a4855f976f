"""train/model/gate.py: every check passes and fails on its boundary."""

from __future__ import annotations

import json

import pytest

from train.model.gate import GateVerdict, judge_challenger
from train.settings import TrainSettings

SETTINGS = TrainSettings(alert_rate=0.01, alert_band=4, min_planted_auroc=0.7, auroc_tolerance=0.25)
GOOD = {"alert_rate": 0.01, "planted_auroc": 0.95, "auroc": 0.9}


def failed(verdict: GateVerdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        ({"alert_rate": 0.04}, []),
        ({"alert_rate": 0.0401}, ["alert_rate"]),
        ({"alert_rate": 0.0}, []),
        ({"alert_rate": float("nan")}, ["alert_rate"]),
        ({"planted_auroc": 0.7}, []),
        ({"planted_auroc": 0.6999}, ["planted_auroc"]),
        ({"planted_auroc": float("nan")}, ["planted_auroc"]),
        ({"auroc": 0.0}, []),
    ],
)
def test_a_first_model_is_judged_by_its_own_metrics_only(
    change: dict[str, float], failing: list[str]
) -> None:
    verdict = judge_challenger(GOOD | change, None, SETTINGS)
    assert [check.name for check in verdict.checks] == ["alert_rate", "planted_auroc"]
    assert failed(verdict) == failing
    assert verdict.passed == (not failing)


@pytest.mark.parametrize(
    ("change", "champion", "failing"),
    [
        ({}, {}, []),
        ({"planted_auroc": 0.75}, {"planted_auroc": 1.0}, []),
        ({"planted_auroc": 0.7499}, {"planted_auroc": 1.0}, ["planted_auroc_vs_champion"]),
        ({"auroc": 0.5}, {"auroc": 0.75}, []),
        ({"auroc": 0.4999}, {"auroc": 0.75}, ["auroc_vs_champion"]),
        ({"alert_rate": 0.0}, {}, []),
        ({"alert_rate": 0.02}, {}, []),
        ({"alert_rate": 0.0201}, {}, ["alert_rate_error"]),
        ({"alert_rate": 0.03}, {"alert_rate": 0.03}, []),
        ({"alert_rate": 0.0301}, {"alert_rate": 0.03}, ["alert_rate_error"]),
        ({"alert_rate": 0.0301}, {"alert_rate": 0.5}, []),
        ({"alert_rate": 0.05}, {"alert_rate": 0.5}, ["alert_rate"]),
    ],
)
def test_a_challenger_is_also_judged_against_the_champion(
    change: dict[str, float], champion: dict[str, float], failing: list[str]
) -> None:
    verdict = judge_challenger(GOOD | change, GOOD | champion, SETTINGS)
    assert failed(verdict) == failing
    assert verdict.passed == (not failing)


@pytest.mark.parametrize("unlabelled", ["challenger", "champion"])
def test_auroc_is_compared_only_where_both_have_it(unlabelled: str) -> None:
    bare = {name: value for name, value in GOOD.items() if name != "auroc"}
    verdict = (
        judge_challenger(bare, GOOD, SETTINGS)
        if unlabelled == "challenger"
        else judge_challenger(GOOD, bare, SETTINGS)
    )
    assert [check.name for check in verdict.checks][2:] == [
        "planted_auroc_vs_champion",
        "alert_rate_error",
    ]


def test_the_reason_is_what_decided() -> None:
    refused = judge_challenger(GOOD | {"planted_auroc": 0.5}, None, SETTINGS)
    assert refused.reason == "planted_auroc 0.5000 is below 0.7000, the least for any model"
    assert "alert_rate 0.0100 is within 0.0400" in judge_challenger(GOOD, None, SETTINGS).reason
    written = json.loads(json.dumps(refused.to_json()))
    assert (written["passed"], written["reason"]) == (False, refused.reason)
    assert written["checks"][1] | {"sentence": ""} == {
        "name": "planted_auroc",
        "value": 0.5,
        "limit": 0.7,
        "passed": False,
        "sentence": "",
    }


@pytest.mark.parametrize(
    ("name", "good", "bad", "always"),
    [
        ("calibration_error", 0.005, 0.0051, True),
        ("bundle_mb", 64.0, 64.1, True),
        ("row_us", 5000.0, 5001.0, True),
        ("seed_agreement", 0.5, 0.49, True),
        ("rank_agreement", 0.3, 0.29, False),
        ("golden_recall", 0.5, 0.49, False),
        ("golden_alerts", 0.25, 0.26, False),
        ("features_lost", 0.1, 0.11, False),
        ("scale_change", 10.0, 10.1, False),
    ],
)
def test_each_gate_decides_on_its_boundary_and_after_drift_only_if_it_still_should(
    name: str, good: float, bad: float, always: bool
) -> None:
    assert failed(judge_challenger(GOOD | {name: good}, GOOD, SETTINGS)) == []
    assert failed(judge_challenger(GOOD | {name: bad}, GOOD, SETTINGS)) == [name]
    assert failed(judge_challenger(GOOD | {name: bad}, GOOD, SETTINGS, drifted=True)) == (
        [name] if always else []
    )
    assert failed(judge_challenger(GOOD | {name: float("nan")}, GOOD, SETTINGS)) == [name]


def test_the_verdict_is_read_in_one_screen() -> None:
    lines = judge_challenger(GOOD | {"row_us": 9000.0}, GOOD, SETTINGS).text().splitlines()
    assert lines[0] == "gate failed"
    assert len(lines) < 24
    assert [line for line in lines if line.startswith("FAIL")] == [
        next(line for line in lines if "row_us" in line)
    ]
