"""Settings: declared once, refused with the key to change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import declare
from infra.settings import settings_from
from infra.stack_keys import PLATFORM_SECRETS, declared_keys, needed_secrets
from infra.stack_settings import read_files
from tests.infra.recorded import ROOT, STACKS
from vigil.errors import BadSettings

ADMIN = "arn:aws:iam::111122223333:role/admin"
APPLY = "arn:aws:iam::111122223333:role/vigil-dev-apply"
WORKFLOWS = {"githubRepository": "a/b", "stateBucket": "c"}
SESSION = "arn:aws:sts::111122223333:assumed-role/admin/me"
AWS = {
    "accountId": "111122223333",
    "owner": "a",
    "costCenter": "b",
    "imageTag": "1",
    "adminPrincipals": [ADMIN],
}
KUBERNETES = {
    "target": "kubernetes",
    "image": "vigil:dev",
    "mlflowStore": "sqlite",
    "mlflowReplicas": 1,
}


def test_pulumi_yaml_and_the_table_of_settings_are_as_the_fields_declare_them() -> None:
    for file, text in declare.generated_files():
        assert file.read_text() == text, f"{file} is stale: `make settings`"
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    assert {key.removeprefix("vigil:") for key in project} == declared_keys().keys()


def test_the_engine_takes_every_default() -> None:
    """Its own rules (workspace.Project.Validate).

    A default has the type that the key declares. A key that is `secret` has no default, for that
    would be plain text; without a default it would be required of every stack.
    """
    kinds = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict}
    for name, one in yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"].items():
        assert type(one["default"]) is kinds[one["type"]], name
        assert "secret" not in one, name
        for item in one["default"] if one["type"] == "array" else ():
            assert type(item) is kinds[one["items"]["type"]], name


@pytest.mark.parametrize("stack", STACKS)
def test_the_stacks_of_the_repository_are_valid(stack: str) -> None:
    assert read_files(stack).environment == stack


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"target": "gcp"}, "target = 'gcp': Input should be 'aws' or 'kubernetes'"),
        ({"accountId": ""}, "accountId: required"),
        ({"owner": ""}, "owner: required"),
        ({"imageTag": ""}, "imageTag .or image.: required"),
        ({"vpcCidr": "10.0.0.0/24"}, "vpcCidr: .* between"),
        ({"serviceCidr": "10.20.0.0/20"}, "vpcCidr: .* overlaps serviceCidr"),
        ({"peerCidrs": ["10.0.0.0/8"]}, r"overlaps peerCidrs\[0\]"),
        ({"zones": ["a"]}, r"zones = \['a'\]: two or three"),
        (
            {"serve": {"minReplicas": 9, "maxReplicas": 8}},
            "serve.minReplicas: 9 is more than serve.maxReplicas, 8",
        ),
        (
            {"serve": {"maxReplicas": 129}},
            "serve.maxReplicas: 129, but maxWorkers of workerCpu hold only 128",
        ),
        (
            {"minWorkers": 3},
            "serve.minReplicas: 2 leave one of minWorkers 3 without a replica.*: 3 are needed",
        ),
        ({"serve": {"cpusPerReplica": 5}}, "serve.cpusPerReplica: 5.0 does not fit"),
        ({"systemInstanceTypes": ["m6i_large"]}, "systemInstanceTypes = .*m6i_large: no"),
        ({"publicAccessCidrs": ["0.0.0.0/0"]}, "publicAccessCidrs = .* must not be open"),
        (
            {"serve": {"links": {"Grafana": "grafana.example.com"}}},
            "serve.links = .*grafana.example.com must begin with https://",
        ),
        ({"logRetentionDays": 10}, "logRetentionDays = 10: CloudWatch offers only"),
        ({"ingress": "alb"}, "hostname: needed"),
        ({"ingress": "alb", "hostname": "a.example"}, "certificateArn: needed"),
        ({"delivery": "argocd"}, "gitUrl: needed"),
        ({"trainSchedule": "daily"}, "trainSchedule: five cron fields"),
        ({"githubRepository": "a/b"}, "stateBucket: needed"),
        ({"adminPrincipals": []}, "adminPrincipals: the ARN of the IAM role that runs `pulumi up`"),
        ({"viewerPrincipals": [ADMIN]}, f"viewerPrincipals: {ADMIN} may be named once"),
        (WORKFLOWS | {"adminPrincipals": [APPLY]}, "apply may be named once"),
        ({"adminPrincipals": [SESSION]}, f"{SESSION} is no arn:aws:iam::ACCOUNT:role/NAME"),
        ({"mlflowStore": "sqlite"}, "mlflowStore: sqlite is for target kubernetes"),
        ({"deleteCrds": True}, "deleteCrds: for target kubernetes only"),
        ({"imageRegistry": "https://mirror.example.com"}, "imageRegistry = "),
        ({"chartRepository": "charts.example.com"}, "chartRepository = "),
        ({"backupDays": 0}, "backupDays = 0: .* greater than or equal to 1"),
        ({"minWorker": 1}, "minWorker: no such key; did you mean minWorkers"),
        (
            {"vpcCidr": "10.0.0.0/24", "serve": {"minReplicas": 99}},
            "serve.minReplicas: .*vpcCidr: ",
        ),
    ],
)
def test_a_mistake_names_its_key(change: dict[str, Any], complaint: str) -> None:
    settings_from("dev", AWS)
    with pytest.raises(BadSettings, match=complaint):
        settings_from("dev", AWS | change)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"image": ""}, "image: required with target kubernetes"),
        ({"mlflowReplicas": 2}, "mlflowReplicas: sqlite serves one"),
        ({"mlflowStore": "postgres"}, "mlflowStore: postgres is made on aws only"),
        ({"gcsFaultTolerance": "redis"}, "redisAddress: "),
        ({"ingress": "alb", "hostname": "a.example"}, "ingress: alb exists with target aws only"),
    ],
)
def test_target_kubernetes_has_needs_of_its_own(change: dict[str, Any], complaint: str) -> None:
    settings_from("local", KUBERNETES)
    with pytest.raises(BadSettings, match=complaint):
        settings_from("local", KUBERNETES | change)


def test_the_role_of_the_workflows_is_admin_enough() -> None:
    """It runs `pulumi up`, and is let into the cluster by the stack itself."""
    alone = AWS | WORKFLOWS | {"adminPrincipals": []}
    assert settings_from("dev", alone).admin_principals == ()


def test_only_the_secrets_that_are_used_are_needed() -> None:
    assert needed_secrets(settings_from("local", {**KUBERNETES, "monitoring": False})) == (
        "rayToken",
        "apiKeys",
        "mlflowPassword",
        "mlflowSecretKey",
    )
    # On aws RDS keeps the password of the database itself.
    asked = set(PLATFORM_SECRETS) - {"incidentsPassword"}
    assert set(needed_secrets(read_files("prod"))) == asked


def test_an_unknown_environment_lists_the_known_ones(tmp_path: Path) -> None:
    for name in ("dev", "prod"):
        (tmp_path / f"Pulumi.{name}.yaml").touch()
    with pytest.raises(
        BadSettings, match=r"no Pulumi\.staging\.yaml; environments here: dev, prod"
    ):
        read_files("staging", tmp_path)
