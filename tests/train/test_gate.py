"""train/gate.py: every check passes and fails on its boundary."""

from __future__ import annotations

import json

import pytest

from train.gate import Verdict, judge
from train.settings import TrainSettings

SETTINGS = TrainSettings(alert_rate=0.01, alert_band=4, min_planted_auroc=0.7, auroc_tolerance=0.25)
GOOD = {"alert_rate": 0.01, "planted_auroc": 0.95, "auroc": 0.9}


def failed(verdict: Verdict) -> list[str]:
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
def test_a_first_model_is_judged_by_its_own_metrics_only(change: dict[str, float], failing: list[str]) -> None:
    verdict = judge(GOOD | change, None, SETTINGS)
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
    verdict = judge(GOOD | change, GOOD | champion, SETTINGS)
    assert failed(verdict) == failing
    assert verdict.passed == (not failing)


@pytest.mark.parametrize("unlabelled", ["challenger", "champion"])
def test_auroc_is_compared_only_where_both_have_it(unlabelled: str) -> None:
    bare = {name: value for name, value in GOOD.items() if name != "auroc"}
    verdict = judge(bare, GOOD, SETTINGS) if unlabelled == "challenger" else judge(GOOD, bare, SETTINGS)
    assert [check.name for check in verdict.checks][2:] == ["planted_auroc_vs_champion", "alert_rate_error"]


def test_the_reason_is_what_decided() -> None:
    refused = judge(GOOD | {"planted_auroc": 0.5}, None, SETTINGS)
    assert refused.reason == "planted_auroc 0.5000 is below 0.7000, the least for any model"
    assert "alert_rate 0.0100 is within 0.0400" in judge(GOOD, None, SETTINGS).reason
    written = json.loads(json.dumps(refused.to_json()))
    assert (written["passed"], written["reason"]) == (False, refused.reason)
    assert written["checks"][1] | {"sentence": ""} == {
        "name": "planted_auroc", "value": 0.5, "limit": 0.7, "passed": False, "sentence": "",
    }  # fmt: skip
