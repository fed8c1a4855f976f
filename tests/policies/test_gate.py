"""A report that has judged nothing, or not everything, is no pass; it names each file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.policies.manifest_folders import POD, report


def test_an_empty_folder_is_no_pass(tmp_path: Path) -> None:
    result = report(tmp_path, "--env", "prod")
    assert result.exit_code == 2
    assert "nothing was judged: there is no file that holds an object" in result.stderr


def test_a_state_without_resources_is_no_pass(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    file.write_text(json.dumps({"deployment": {"resources": []}}))
    result = report(file)
    assert result.exit_code == 2
    assert "nothing was judged" in result.stderr


def test_rules_that_are_all_disabled_are_no_pass(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"all": "disabled"}))
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(POD))
    result = report(file, "--config", str(config))
    assert result.exit_code == 2
    assert "no rule that is enabled applies to what was read (1)" in result.stderr


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"rds-not-public": "mandatry"}, "'mandatry' is no level"),
        ({"rds-not-public": {"enforcementLevel": 5}}, "5 is no level"),
        ({"rds-not-public": 5}, "5 is no level"),
        ({"rds-not-public": {"leest": 1}}, "rds-not-public has no parameter leest"),
        ([], "is an object of rules and levels"),
    ],
)
def test_a_configuration_that_would_let_everything_pass_is_refused(
    tmp_path: Path, config: Any, reason: str
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(config))
    result = report(tmp_path, "--config", str(file))
    assert result.exit_code == 2
    assert reason in result.stderr


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "holds no JSON object"),
        ("5", "holds no JSON object"),
        ('{"deployment": 5}', "neither deployment.resources nor steps"),
        ('{"deployment": {"resources": [1]}}', "neither deployment.resources nor steps"),
        ('{"deployment": {"resources": [{}]}}', "neither deployment.resources nor steps"),
        ('{"steps": 5}', "neither deployment.resources nor steps"),
        ('{"steps": [{}]}', "neither deployment.resources nor steps"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_state_of_another_shape_is_wrong_usage(tmp_path: Path, content: str, reason: str) -> None:
    file = tmp_path / "state.json"
    file.write_text(content)
    result = report(file)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_every_file_is_named_in_text_and_in_json(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(yaml.safe_dump_all([POD, POD]))
    (tmp_path / "b.yaml").write_text("replicas: 1\n")
    (tmp_path / "c.yaml").write_text("a: [1\n")
    text = report(tmp_path).stdout
    assert "judged  a.yaml 2 objects\n" in text
    assert "skipped b.yaml: no Kubernetes object" in text
    assert "broken  c.yaml: no YAML" in text
    files = json.loads(report(tmp_path, "--json").stdout)["files"]
    assert [(each["file"], each["status"], each["objects"]) for each in files] == [
        ("a.yaml", "judged", 2),
        ("b.yaml", "skipped", 0),
        ("c.yaml", "broken", 0),
    ]


def test_sarif_and_junit_tell_of_broken_files(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [1\n")
    (invocation,) = json.loads(report(tmp_path, "--form", "sarif").stdout)["runs"][0]["invocations"]
    assert not invocation["executionSuccessful"]
    assert "no YAML" in invocation["toolExecutionNotifications"][0]["message"]["text"]
    junit = report(tmp_path, "--form", "junit").stdout
    assert 'errors="1"' in junit
    assert 'name="a.yaml"' in junit
