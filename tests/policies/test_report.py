"""`python -m policies`: what it reads, in which forms it answers, and when it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from click.testing import CliRunner, Result

from policies.cli import main
from policies.docs import render_policies_page
from policies.recorded import read_recording, resource_of_manifest
from policies.rules import RULES
from tests.policies.good import AWS, GOOD, KUBERNETES
from tests.policies.harness import UNKNOWN, Given, changed

ROOT = Path(__file__).parent.parent.parent
PUBLIC = "publiclyAccessible is true: set it to false"


def state(resources: list[Given]) -> dict[str, Any]:
    """An exported state."""
    urns = {each.name: each.urn for each in resources}
    return {
        "version": 3,
        "deployment": {
            "resources": [
                {
                    "urn": "urn:pulumi:test::policies::pulumi:pulumi:Stack::policies-test",
                    "type": "pulumi:pulumi:Stack",
                },
                *(
                    {
                        "urn": each.urn,
                        "type": each.type,
                        "inputs": each.props,
                        "outputs": {},
                        "propertyDependencies": {
                            key: [urns[name] for name in names] for key, names in each.links.items()
                        },
                    }
                    for each in resources
                ),
            ]
        },
    }


def with_database(**props: Any) -> list[Given]:
    """The good stack, with other properties of its database."""
    found = list(GOOD)
    for key, value in props.items():
        found = [changed(each, key, value) if each.name == "database" else each for each in found]
    return found


def report(folder: Path, resources: list[Given], *options: str) -> Result:
    file = folder / "state.json"
    file.write_text(json.dumps(state(resources)))
    return CliRunner().invoke(main, ["report", str(file), *options])


def test_a_good_state_passes(tmp_path: Path) -> None:
    result = report(tmp_path, GOOD, "--form", "json")
    found = json.loads(result.stdout)
    assert (
        result.exit_code,
        found["mandatory"],
        found["advisory"],
        found["skipped"],
        found["lines"],
    ) == (0, 0, 0, 0, [])
    assert found["passed"] >= len(RULES) - 1


def test_a_mandatory_violation_fails_and_an_advisory_one_does_not(tmp_path: Path) -> None:
    assert report(tmp_path, with_database(publiclyAccessible=True)).exit_code == 1
    result = report(tmp_path, with_database(iamDatabaseAuthenticationEnabled=False))
    assert result.exit_code == 0
    assert "0 mandatory and 1 advisory violations, 0 skipped" in result.stderr


def test_skips_above_the_budget_fail(tmp_path: Path) -> None:
    unknown = with_database(publiclyAccessible=UNKNOWN)
    assert report(tmp_path, unknown, "--skip-budget", "0.01").exit_code == 0
    result = report(tmp_path, unknown, "--skip-budget", "0")
    assert result.exit_code == 1
    assert "1 skipped" in result.stderr


def test_a_part_that_is_unknown_does_not_hide_a_violation(tmp_path: Path) -> None:
    """One ingress rule is open, another cannot be known: the group is reported twice."""
    rules = [
        {"protocol": "tcp", "fromPort": 22, "toPort": 22, "cidrBlocks": UNKNOWN},
        {"protocol": "-1", "cidrBlocks": ["::/0"]},
    ]
    group = Given("aws:ec2/securityGroup:SecurityGroup", "sg", {"ingress": rules})
    lines = json.loads(report(tmp_path, [group], "--form", "json").stdout)["lines"]
    assert [each["status"] for each in lines if each["rule"] == "sg-ports-not-open"] == [
        "violated",
        "skipped",
    ]


def test_an_environment_relaxes_levels_and_sets_parameters(tmp_path: Path) -> None:
    weak = with_database(multiAz=False, backupRetentionPeriod=1)
    assert report(tmp_path, weak, "--env", "prod").exit_code == 1
    result = report(tmp_path, weak, "--env", "dev", "--form", "json")
    found = {each["rule"]: each["level"] for each in json.loads(result.stdout)["lines"]}
    assert result.exit_code == 0, result.stdout
    assert found["rds-multi-az"] == "advisory"
    assert "rds-backed-up" not in found


def test_everything_can_be_set_at_once(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"all": "disabled", "rds-not-public": "advisory"}))
    bad = with_database(publiclyAccessible=True, multiAz=False)
    lines = json.loads(report(tmp_path, bad, "--config", str(config), "--form", "json").stdout)[
        "lines"
    ]
    assert [(each["rule"], each["level"]) for each in lines] == [("rds-not-public", "advisory")]


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("{}", (), "neither deployment.resources nor steps"),
        ("no json", (), "is not JSON"),
        (json.dumps(state([])), ("--env", "nowhere"), "known environments are dev, local, prod"),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(
    tmp_path: Path, content: str, options: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "file.json"
    file.write_text(content)
    result = CliRunner().invoke(main, ["report", str(file), *options])
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_rule_that_does_not_exist_is_wrong_usage(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"rds-pubic": "advisory"}))
    result = report(tmp_path, [], "--config", str(config))
    assert (result.exit_code, "no rule is named rds-pubic" in result.stderr) == (2, True)


def test_the_table_counts_per_rule_and_lists_what_is_wrong(tmp_path: Path) -> None:
    out = report(
        tmp_path,
        with_database(publiclyAccessible=True, storageEncrypted=UNKNOWN),
        "--form",
        "table",
    ).stdout
    counts = {
        line.split()[0]: line.split()[2:] for line in out.splitlines() if line.startswith("rds-")
    }
    assert counts["rds-not-public"] == ["1", "0", "0"]
    assert counts["rds-encrypted"] == ["0", "1", "0"]
    assert counts["rds-multi-az"] == ["0", "0", "1"]
    assert f"  {PUBLIC}\n" in out
    assert "skipped: rds-encrypted" in out


def test_sarif_names_rule_level_place_and_fix(tmp_path: Path) -> None:
    bad = with_database(
        publiclyAccessible=True, iamDatabaseAuthenticationEnabled=False, storageEncrypted=UNKNOWN
    )
    target = tmp_path / "found.sarif"
    report(tmp_path, bad, "--form", "sarif", "--output", str(target))
    found = json.loads(target.read_text())
    driver, results = found["runs"][0]["tool"]["driver"], found["runs"][0]["results"]
    assert found["version"] == "2.1.0"
    assert {(each["ruleId"], each["level"], each["kind"]) for each in results} == {
        ("rds-not-public", "error", "fail"),
        ("rds-iam-login", "warning", "fail"),
        ("rds-encrypted", "none", "review"),
    }
    assert all(driver["rules"][each["ruleIndex"]]["id"] == each["ruleId"] for each in results)
    public = next(each for each in results if each["ruleId"] == "rds-not-public")
    assert public["message"]["text"] == PUBLIC
    assert public["locations"][0]["logicalLocations"][0]["fullyQualifiedName"].endswith(
        "::database"
    )


def test_junit_fails_on_mandatory_violations_alone(tmp_path: Path) -> None:
    bad = with_database(
        publiclyAccessible=True, iamDatabaseAuthenticationEnabled=False, storageEncrypted=UNKNOWN
    )
    suite = ElementTree.fromstring(report(tmp_path, bad, "--form", "junit").stdout)
    assert (suite.get("failures"), suite.get("skipped")) == ("1", "1")
    assert int(suite.get("tests") or 0) == len(suite.findall("testcase"))
    assert [each.get("message") for each in suite.iter("failure")] == [PUBLIC]
    assert [each.text for each in suite.iter("system-out")] == [
        "advisory: users have passwords only: set iamDatabaseAuthenticationEnabled to true"
    ]


def test_a_preview_is_read(tmp_path: Path) -> None:
    database = next(
        each for each in with_database(publiclyAccessible=True) if each.name == "database"
    )
    new = {"urn": database.urn, "type": database.type, "inputs": database.props}
    file = tmp_path / "preview.json"
    file.write_text(
        json.dumps(
            {"steps": [{"op": "create", "newState": new}, {"op": "delete", "oldState": new}]}
        )
    )
    found = read_recording(file).resources
    assert [(each.name, each.props["publiclyAccessible"]) for each in found] == [("database", True)]


def test_rendered_manifests_are_read_as_pulumi_would_make_them(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    objects = [
        {
            "apiVersion": each.type.split(":")[1].removeprefix("core/"),
            "kind": each.type.split(":")[2],
            **each.props,
        }
        for each in KUBERNETES
        if not each.type.startswith("kubernetes:helm.sh")
    ]
    (tmp_path / "part" / "all.yaml").write_text(yaml.safe_dump_all(objects))
    assert {each.type for each in read_recording(tmp_path).resources} == {
        each.type for each in KUBERNETES
    } - {"kubernetes:helm.sh/v3:Release"}
    pools = [each for each in AWS if each.type.endswith(":NodePool")]
    assert pools  # a folder without them leaves an upgrade no room, and that is said
    result = CliRunner().invoke(main, ["report", str(tmp_path), "--form", "json"])
    broken = {each["rule"] for each in json.loads(result.stdout)["lines"]}
    assert broken == {"ray-upgrade-has-room", "ray-head-on-demand"}


def test_a_manifest_without_a_namespace_has_its_bare_name() -> None:
    found = resource_of_manifest(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "vigil"}}
    )
    assert (found.type, found.name) == ("kubernetes:core/v1:Namespace", "vigil")


def test_a_secret_in_a_state_is_looked_into(tmp_path: Path) -> None:
    wrapped = {
        "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
        "value": "AKIA" + "ABCDEFGHIJKLMNOP",
    }
    secret = Given(
        "kubernetes:core/v1:Secret",
        "s",
        {"metadata": {"namespace": "x"}, "stringData": {"k": wrapped}},
    )
    lines = json.loads(report(tmp_path, [secret], "--form", "json").stdout)["lines"]
    assert {each["rule"] for each in lines} == {"no-static-keys-stored"}


def test_the_module_is_the_command(tmp_path: Path) -> None:
    """The same entry that Pulumi starts as the pack answers to `python -m policies report`."""
    file = tmp_path / "state.json"
    file.write_text(json.dumps(state(with_database(publiclyAccessible=True))))
    command = [sys.executable, "-m", "policies", "report", str(file), "--form", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["mandatory"] == 1


def test_the_documentation_is_current() -> None:
    assert (ROOT / "docs" / "policies.md").read_text() == render_policies_page(), (
        "run `python -m policies docs > docs/policies.md`"
    )
