"""IAM documents against AWS' own rules, and against what least privilege means.

The rules are the grammar and the list of actions; cfn-lint carries both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import cfnlint
import pytest
from jsonschema import Draft7Validator, ValidationError, validators
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT7

from infra import grants, trust
from infra.arns import BucketName
from tests.infra.recorded import recorded

DATA = Path(cfnlint.__file__).parent / "data"
KINDS = {  # property of a resource -> which grammar it follows
    ("aws:iam/role:Role", "assumeRolePolicy"): "policy_trust",
    ("aws:iam/rolePolicy:RolePolicy", "policy"): "policy_identity",
    ("aws:iam/policy:Policy", "policy"): "policy_identity",
    ("aws:kms/key:Key", "policy"): "policy_resource",
    ("aws:s3/bucketPolicy:BucketPolicy", "policy"): "policy_resource",
    ("aws:sqs/queuePolicy:QueuePolicy", "policy"): "policy_resource",
}
# AWS knows no resource for these actions.
EVERYWHERE = (
    r"(ec2|elasticfilesystem|elasticloadbalancing):Describe\w+"
    r"|ec2:GetSecurityGroupsForVpc|pricing:GetProducts"
)


@cache
def grammar(kind: str) -> Any:
    folder = DATA / "schemas" / "other" / "iam"
    schemas = {file.stem: json.loads(file.read_text()) for file in folder.glob("policy*.json")}
    by_id = {schema["$id"]: schema for schema in schemas.values()}
    resources = [
        (name, Resource.from_contents(schema, default_specification=DRAFT7))
        for name, schema in by_id.items()
    ]
    # cfn-lint looks into statements by itself; and it has a keyword of its own.
    top = schemas[kind]
    whole = {
        "type": "object",
        "required": ["Version", "Statement"],
        "additionalProperties": False,
        "properties": {
            "Version": {"const": "2012-10-17"},
            "Statement": {
                "type": "array",
                "items": {"$ref": f"{top['$id']}#/definitions/Statement"},
            },
        },
    }
    return validators.extend(Draft7Validator, {"requiredXor": _exactly_one})(
        whole, registry=Registry().with_resources(resources)
    )


def _exactly_one(
    validator: Any, keys: list[str], value: Any, schema: Any
) -> Iterator[ValidationError]:
    if sum(key in value for key in keys) != 1:
        yield ValidationError(f"exactly one of {keys} is needed")


@cache
def known_actions() -> dict[str, Any]:
    return json.loads((DATA / "schemas" / ".." / "AdditionalSpecs" / "Policies.json").read_text())


def documents(stack: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for resource in recorded(stack).of("aws:"):
        for (type_, key), kind in KINDS.items():
            if resource.type == type_:
                yield f"{resource.type} {resource.name}", kind, json.loads(resource.inputs[key])


def statements(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], list[str], list[str]]]:
    for one in document["Statement"]:
        listed = [one.get(key, []) for key in ("Action", "Resource")]
        actions, resources = ([value] if isinstance(value, str) else value for value in listed)
        yield one, actions, resources


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_documents_follow_the_grammar_and_name_actions_that_exist(stack: str) -> None:
    found = list(documents(stack))
    assert len(found) > 15
    for where, kind, document in found:
        assert [error.message[:200] for error in grammar(kind).iter_errors(document)] == [], where
        for _, actions, _ in statements(document):
            for action in actions:
                service, name = action.lower().split(":")
                assert any(fnmatch(known, name) for known in known_actions()[service]["Actions"]), (
                    f"{where}: {action}"
                )


@pytest.mark.parametrize(
    "broken",
    [
        {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Alow", "Action": "s3:GetObject", "Resource": "*"}],
        },
        {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Resource": "*"}]},
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": "s3:GetObject",
                    "Resource": "*",
                    "Condition": {"StringIs": {}},
                }
            ],
        },
        {"Version": "2012-10-17", "Statments": []},
    ],
)
def test_the_grammar_does_refuse(broken: dict[str, Any]) -> None:
    assert list(grammar("policy_identity").iter_errors(broken))


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_every_right_names_its_resources(stack: str) -> None:
    for where, kind, document in documents(stack):
        if kind != "policy_identity":
            continue
        for one, actions, resources in statements(document):
            assert not any(action.endswith(":*") for action in actions), where
            # What a deployment makes has no name before.
            # Only in its region, and only as the outer limit of other rights.
            limit = where.endswith("-apply-boundary") and "aws:RequestedRegion" in json.dumps(
                one.get("Condition", {})
            )
            if one["Effect"] == "Allow" and "*" in resources and not limit:
                assert all(re.fullmatch(EVERYWHERE, action) for action in actions), (
                    f"{where}: {actions} on everything"
                )


def _may(workload: str) -> set[tuple[str, str]]:
    document = json.loads(
        recorded("prod")
        .one("aws:iam/rolePolicy:RolePolicy", f"vigil-prod-{workload}")
        .inputs["policy"]
    )
    return {
        (action, match[1])
        for _, actions, resources in statements(document)
        for action in actions
        for resource in resources
        if (match := re.search(r"vigil-prod-(\w+)-", resource))
    }


def test_each_workload_may_what_it_does_and_no_more() -> None:
    assert _may("serve") == {("s3:ListBucket", "models"), ("s3:GetObject", "models")}
    assert {bucket for action, bucket in _may("train") if action == "s3:PutObject"} == {"models"}
    assert {bucket for action, bucket in _may("train")} == {"models", "data", "captured"}
    assert {bucket for action, bucket in _may("drift") if action == "s3:PutObject"} == {"captured"}
    stream = (
        recorded("prod").one("aws:iam/rolePolicy:RolePolicy", "vigil-prod-stream").inputs["policy"]
    )
    assert "kinesis:PutRecord" not in stream
    assert "kinesis:GetRecords" in stream
    assert {bucket for action, bucket in _may("stream") if action == "s3:PutObject"} == {"captured"}
    assert "table/vigil-prod-leases" in stream
    assert "dynamodb:PutItem" in stream
    assert "vigil-dev-stream" not in [
        one.name for one in recorded("dev").of("aws:iam/rolePolicy:RolePolicy")
    ]  # it has no stream


def test_a_role_is_for_one_service_account_of_one_cluster() -> None:
    for association in recorded("prod").of("aws:eks/podIdentityAssociation:PodIdentityAssociation"):
        role = recorded("prod").one("aws:iam/role:Role", association.name)
        condition = json.loads(role.inputs["assumeRolePolicy"])["Statement"][0]["Condition"]
        assert (
            condition["StringEquals"]["aws:RequestTag/kubernetes-service-account"]
            == association.inputs["serviceAccount"]
        )
        assert (
            condition["StringEquals"]["aws:RequestTag/kubernetes-namespace"]
            == association.inputs["namespace"]
        )
        assert condition["ArnEquals"]["aws:SourceArn"].endswith(":cluster/vigil-prod")


def test_service_accounts_with_a_role_are_those_that_exist() -> None:
    stack = recorded("prod")
    accounts = {
        (r.inputs["metadata"]["namespace"], r.inputs["metadata"]["name"])
        for r in stack.of("kubernetes:core/v1:ServiceAccount")
    }
    tied = {
        (r.inputs["namespace"], r.inputs["serviceAccount"])
        for r in stack.of("aws:eks/podIdentityAssociation:PodIdentityAssociation")
    }
    assert {one for one in tied if one[0] != "kube-system"} == accounts


def test_workflows_are_pinned_to_one_repository_and_environment() -> None:
    subjects = {}
    for verb in ("plan", "apply"):
        document = json.loads(
            recorded("prod")
            .one("aws:iam/role:Role", f"vigil-prod-{verb}")
            .inputs["assumeRolePolicy"]
        )
        subjects[verb] = document["Statement"][0]["Condition"]
    name = trust.GITHUB_ISSUER
    assert subjects["plan"] == {
        "StringEquals": {
            f"{name}:aud": "sts.amazonaws.com",
            f"{name}:sub": "repo:example/vigil:pull_request",
        }
    }
    assert subjects["apply"]["StringEquals"][f"{name}:sub"] == "repo:example/vigil:environment:prod"


def test_a_plan_writes_nothing_but_its_lock() -> None:
    stack = recorded("prod")
    managed = {
        r.inputs["policyArn"]
        for r in stack.of("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
        if r.name.startswith("vigil-prod-plan-")
    }
    assert managed == {
        "arn:aws:iam::aws:policy/job-function/ViewOnlyAccess",
        "arn:aws:iam::aws:policy/SecurityAudit",
    }
    document = json.loads(
        stack.one("aws:iam/rolePolicy:RolePolicy", "vigil-prod-plan").inputs["policy"]
    )
    writes = [
        r
        for _, actions, resources in statements(document)
        if "s3:PutObject" in actions
        for r in resources
    ]
    assert writes == ["arn:aws:s3:::vigil-state-111122223333/.pulumi/locks/*"]


def test_the_boundary_of_a_deployment_holds_it_to_its_own_names_and_out_of_identities() -> None:
    limit = recorded("prod").one("aws:iam/policy:Policy", "vigil-prod-apply-boundary")
    assert len(re.sub(r"\s", "", limit.inputs["policy"])) <= 6144  # AWS' limit of a managed policy
    allowed = [
        action
        for _, actions, _ in statements(json.loads(limit.inputs["policy"]))
        for action in actions
    ]

    def may(action: str) -> bool:
        return any(fnmatch(action, one) for one in allowed)

    assert may("ec2:RunInstances")
    assert may("eks:CreateCluster")
    assert may("iam:PassRole")
    # It may not become what it makes, loosen its own limit, read others' secrets or make users.
    refused = (
        "sts:AssumeRole",
        "iam:CreatePolicyVersion",
        "iam:DeleteRolePermissionsBoundary",
        "iam:PutRolePermissionsBoundary",
        "secretsmanager:GetSecretValue",
        "iam:CreateUser",
        "organizations:LeaveOrganization",
    )
    assert [action for action in refused if may(action)] == []
    roles = {
        one.name: one.inputs.get("permissionsBoundary")
        for one in recorded("prod").of("aws:iam/role:Role")
    }
    assert roles["vigil-prod-apply"] is not None


def test_statements_on_buckets_of_others_have_names_of_their_own() -> None:
    buckets = (BucketName("team-scores"), BucketName("team-archive"))
    sids = [one["Sid"] for bucket in buckets for one in grants.write_objects(bucket)]
    assert len(set(sids)) == len(sids)
    assert all(sid.isalnum() for sid in sids)
