"""Whole stacks under Pulumi's mocks.

What would be created, with which inputs, and what can never happen.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from infra.tags import REQUIRED_TAGS
from tests.infra.recorded import CANARY, STACKS, Stack, recorded, run

DATA = (
    "aws:s3/bucket:Bucket",
    "aws:rds/instance:Instance",
    "aws:kinesis/stream:Stream",
    "aws:kms/key:Key",
    "aws:ecr/repository:Repository",
    "aws:efs/fileSystem:FileSystem",
)


UNTAGGABLE = (  # of what the program makes; the provider has no `tags` for these
    "route:Route",
    "routeTableAssociation",
    "alias:Alias",
    "rolePolicy",
    "eventTarget",
    "queuePolicy",
    "mountTarget",
    "accessPolicyAssociation",
    "backupPolicy",
    "lifecyclePolicy",
    "s3/bucketL",
    "s3/bucketO",
    "s3/bucketP",
    "s3/bucketS",
    "s3/bucketV",
    "providers",
)


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> Stack:
    return recorded(request.param)


@pytest.fixture
def prod() -> Stack:
    return recorded("prod")


def test_a_stack_names_everything_once(stack: Stack) -> None:
    assert [
        urn for urn, count in Counter(r.urn for r in stack.resources).items() if count > 1
    ] == []
    # Two resources of one type and name under different parents are different URNs,
    # but the same thing to a reader.
    assert [
        key
        for key, n in Counter(
            (r.type, r.name) for r in stack.resources if not r.type.startswith("vigil:")
        ).items()
        if n > 1
    ] == []


def test_secrets_stay_secret(stack: Stack) -> None:
    assert CANARY not in json.dumps(stack.exports)
    assert stack.secret_exports == ()
    for resource in stack.resources:
        for path in _paths_with(CANARY, resource.inputs):
            assert any(path.startswith(secret) for secret in resource.secret_paths), (
                f"{resource.type} {resource.name}: {path}"
            )
            assert resource.type in (
                "kubernetes:core/v1:Secret",
                "aws:elasticache/replicationGroup:ReplicationGroup",
            )


def test_every_resource_but_the_components_has_a_parent_component(stack: Stack) -> None:
    for resource in stack.resources:
        top = (
            resource.type.startswith(("vigil:infra:", "pulumi:providers:"))
            or "ray-node" in resource.name
        )
        assert top or "vigil:infra:" in resource.parent, (
            f"{resource.type} {resource.name}: {resource.parent}"
        )


def test_aws_goes_through_one_provider_for_one_account_with_the_required_tags(prod: Stack) -> None:
    provider = prod.one("pulumi:providers:aws")
    assert json.loads(provider.inputs["allowedAccountIds"]) == ["111122223333"]
    assert (
        tuple(json.loads(provider.inputs["defaultTags"])["tags"])[: len(REQUIRED_TAGS)]
        >= REQUIRED_TAGS
    )
    for resource in [*prod.of("aws:"), *prod.of("eks:")]:
        assert "pulumi:providers:aws::aws" in resource.provider, resource


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_whatever_can_carry_tags_carries_the_required_ones(name: str) -> None:
    for resource in [*recorded(name).of("aws:"), *recorded(name).of("eks:")]:
        if any(part in resource.type for part in UNTAGGABLE):
            assert "tags" not in resource.inputs
            continue
        tags = resource.inputs.get("tags", {})
        assert all(tags.get(key) for key in REQUIRED_TAGS), (
            f"{resource.type} {resource.name}: {tags}"
        )


@pytest.mark.parametrize(("name", "kept"), [("dev", False), ("prod", True)])
def test_data_is_protected_and_retained_in_protected_stacks(name: str, kept: bool) -> None:
    for type_ in DATA:
        found = recorded(name).of(type_)
        assert found, type_
        assert {(r.protect, r.retain_on_delete) for r in found} == {(kept, kept)}, type_
    assert {r.protect for r in recorded(name).of("aws:ec2/subnet:Subnet")} == {kept}
    assert recorded(name).one("aws:rds/instance:Instance").inputs["deletionProtection"] is kept


def test_custom_resources_wait_for_their_operators(prod: Stack) -> None:
    service = prod.one("kubernetes:ray.io/v1:RayService")
    releases = {r.urn for r in prod.of("kubernetes:helm.sh/v3:Release")}
    secrets = {r.urn for r in prod.of("kubernetes:core/v1:Secret")}
    assert releases | secrets <= set(service.dependencies)
    migration = next(r.urn for r in prod.of("kubernetes:batch/v1:Job"))
    assert migration in prod.one("kubernetes:apps/v1:Deployment").dependencies


def test_argo_cd_gets_one_application_and_pulumi_keeps_off_the_workloads() -> None:
    found = run("dev", {"delivery": "argocd", "gitUrl": "https://git.example/vigil.git"})
    assert not found.error
    kinds = {r.type.split(":")[-1] for r in found.of("kubernetes:")}
    assert {"Application", "AppProject", "Namespace", "NetworkPolicy", "Secret"} <= kinds
    assert not kinds & {"RayService", "RayCluster", "Deployment", "Job", "CronJob", "NodePool"}


def test_a_workload_without_aws_makes_nothing_on_aws() -> None:
    assert not [
        r
        for r in recorded("local").resources
        if r.type.startswith(("aws:", "eks:", "pulumi:providers:aws"))
    ]


@pytest.mark.parametrize(
    ("overrides", "drop", "complaint"),
    [
        ({"vpcCidr": "10.0.0.0/24"}, (), "vpcCidr"),
        (
            {},
            ("rayToken", "mlflowPassword"),
            "vigil:rayToken VALUE`; `pulumi config set --secret vigil:mlflowPassword",
        ),
        ({"rayToken": ""}, (), "rayToken"),
        ({"minReplica": "3"}, (), "minReplica: no such key"),
    ],
)
def test_wrong_or_missing_config_fails_before_any_resource(
    overrides: dict[str, Any], drop: tuple[str, ...], complaint: str
) -> None:
    found = run("dev", overrides, drop)
    assert complaint in found.error
    assert found.resources == ()


def _paths_with(text: str, value: Any, path: str = "") -> list[str]:
    if isinstance(value, dict):
        return [
            p
            for key, one in value.items()
            for p in _paths_with(text, one, f"{path}.{key}" if path else key)
        ]
    if isinstance(value, list):
        return [p for i, one in enumerate(value) for p in _paths_with(text, one, f"{path}[{i}]")]
    return [path] if text in str(value) else []


def test_releases_are_pinned_and_undone_when_they_fail(stack: Stack) -> None:
    for release in stack.of("kubernetes:helm.sh/v3:Release"):
        version = release.inputs["version"].split(".")
        assert len(version) == 3, release.name
        assert all(part.isdigit() for part in version), release.name
        assert release.inputs["atomic"] is True
