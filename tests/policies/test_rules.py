"""Every rule: it passes the good stack, says exactly this of each single broken property, and skips what it cannot know."""

from __future__ import annotations

from typing import Any

import pytest

from policies.rules import POLICIES, RULES
from tests.policies.cases.aws import AWS_CASES
from tests.policies.cases.fine import FINE
from tests.policies.cases.kubernetes import KUBERNETES_CASES
from tests.policies.good import GOOD, TAGS
from tests.policies.harness import UNKNOWN, Given, changed, run
from tests.policies.table import Break, Case, broken, linked, varied

POLICY = {policy.name: policy for policy in POLICIES}
CASES: dict[str, Case] = {case.rule: case for case in (*AWS_CASES, *KUBERNETES_CASES)}
KMS_KEY = "rules.0.applyServerSideEncryptionByDefault.kmsMasterKeyId"
APART = {"iam-no-users", "pod-role-not-shared", "nat-gateways-bounded", "budget-watched"}
BREAKS = [pytest.param(case.rule, each, id=f"{case.rule}-{n}") for case in CASES.values() for n, each in enumerate(case.breaks)]


def test_every_rule_has_a_case() -> None:
    assert CASES.keys() | APART == RULES.keys()


@pytest.mark.parametrize("name", sorted(RULES.keys() - {"iam-no-users"}))
def test_the_good_stack_passes(name: str) -> None:
    result = run(POLICY[name], GOOD)
    assert (result.status, result.violations, result.unknown) == ("passed", [], [])


@pytest.mark.parametrize(("name", "change"), BREAKS)
def test_one_broken_property_is_reported_exactly(name: str, change: Break) -> None:
    result = run(POLICY[name], broken(change.resource, change.path, change.value))
    assert result.violations == [(change.on or change.resource, change.message)]


@pytest.mark.parametrize("name", [case.rule for case in CASES.values() if case.unknown])
def test_an_unknown_value_is_skipped_not_passed(name: str) -> None:
    unknown = CASES[name].unknown
    assert unknown is not None
    result = run(POLICY[name], broken(*unknown, UNKNOWN))
    assert (result.status, result.violations) == ("skipped", [])


@pytest.mark.parametrize(("name", "resource", "path", "value"), FINE, ids=[f"{each[0]}-{n}" for n, each in enumerate(FINE)])
def test_other_ways_of_doing_right_pass(name: str, resource: str, path: str, value: Any) -> None:
    result = run(POLICY[name], varied(resource, path, value))
    assert (result.violations, result.unknown, result.judged) == ([], [], True)


@pytest.mark.parametrize(
    ("name", "resource", "path", "source", "expected"),
    [
        ("s3-encrypted-with-kms", "BucketServerSideEncryptionConfiguration", KMS_KEY, "key", "passed"),
        ("s3-encrypted-with-kms", "BucketServerSideEncryptionConfiguration", KMS_KEY, "queue", "skipped"),
        ("s3-access-logged", "BucketLogging", "targetBucket", "files", "passed"),
        ("logs-encrypted", "logs", "kmsKeyId", "key", "passed"),
        ("rds-own-parameters", "database", "parameterGroupName", "parameters", "passed"),
        ("eks-nodes-private", "nodes", "subnetIds", "private", "passed"),
    ],
)
def test_a_value_that_is_known_to_come_from_a_resource(name: str, resource: str, path: str, source: str, expected: str) -> None:
    """What a property was computed from is known before the value is."""
    assert run(POLICY[name], linked(resource, path, source)).status == expected


@pytest.mark.parametrize("name", RULES)
def test_what_is_left_out_never_breaks_a_rule(name: str) -> None:
    for props in ({}, {"metadata": None, "spec": None}, {"metadata": {}, "spec": {"template": None, "rules": [{}]}}):
        for kind in RULES[name][0].types:
            given = Given(kind.replace("*", "v1"), "bare", props)
            assert run(POLICY[name], [given]).judged


def test_nodes_in_a_public_subnet_are_seen_through_a_link() -> None:
    resources = [
        changed(each, "mapPublicIpOnLaunch", True) if each.name == "private" else each
        for each in linked("nodes", "subnetIds", "private")
    ]
    message = "subnet private gives its machines public addresses: put the nodes into private subnets"
    assert run(POLICY["eks-nodes-private"], resources).violations == [("nodes", message)]


def test_a_bucket_that_takes_access_logs_needs_neither_logs_nor_a_kms_key() -> None:
    """S3 delivers access logs to no bucket that is encrypted with a KMS key."""
    resources = [*GOOD, Given("aws:s3/bucket:Bucket", "logs-bucket", {"bucket": "vigil-logs"})]
    assert run(POLICY["s3-encrypted-with-kms"], resources).status == "passed"
    assert run(POLICY["s3-access-logged"], resources).status == "passed"
    assert run(POLICY["s3-versioned"], resources).status == "violated"


@pytest.mark.parametrize("known", [True, False])
def test_a_wide_managed_policy_passes_on_a_role_with_a_boundary(known: bool) -> None:
    boundary = {"permissionsBoundary": "arn:aws:iam::123456789012:policy/boundary" if known else UNKNOWN}
    role = Given("aws:iam/role:Role", "wide", boundary, {} if known else {"permissionsBoundary": ["policy"]})
    attachment = {"policyArn": "arn:aws:iam::aws:policy/PowerUserAccess", "role": "wide"}
    power = Given("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "power", attachment)
    assert (
        run(POLICY["iam-no-wide-managed-policy"], [Given("aws:iam/policy:Policy", "policy", {}), role, power]).status == "passed"
    )
    assert run(POLICY["iam-no-wide-managed-policy"], [Given(role.type, "wide", {}), power]).status == "violated"


def test_a_head_on_a_static_node_group_must_not_meet_spot_capacity() -> None:
    head = {"role": "system"}
    pod = "spec.rayClusterConfig.headGroupSpec.template.spec.nodeSelector"
    resources = [changed(each, "capacityType", "SPOT") if each.name == "nodes" else each for each in varied("serve", pod, head)]
    assert run(POLICY["ray-head-on-demand"], resources).status == "violated"


@pytest.mark.parametrize(("kind", "status"), [("ingress", "violated"), ("egress", "passed")])
def test_a_separate_rule_of_a_security_group_counts_where_it_lets_in(kind: str, status: str) -> None:
    props = {"type": kind, "protocol": "tcp", "fromPort": 22, "toPort": 22, "cidrBlocks": ["0.0.0.0/0"]}
    assert run(POLICY["sg-ports-not-open"], [Given("aws:ec2/securityGroupRule:SecurityGroupRule", "r", props)]).status == status


USERS = "it makes long-lived credentials: use a role (Pod Identity for pods, OIDC for CI, Identity Center for people)"


@pytest.mark.parametrize("kind", ["aws:iam/user:User", "aws:iam/accessKey:AccessKey"])
def test_iam_no_users(kind: str) -> None:
    assert run(POLICY["iam-no-users"], GOOD).status == "not applicable"
    assert run(POLICY["iam-no-users"], [Given(kind, "me", {})]).violations == [("me", USERS)]


def test_pod_role_not_shared() -> None:
    """A role is recognised as the same by its ARN, and by where it came from while the ARN is unknown."""
    policy, message = POLICY["pod-role-not-shared"], "vigil/{} uses the same role: give each workload a role of its own"
    both = [("serve-identity", message.replace("{}", "train")), ("train-identity", message.replace("{}", "serve"))]
    arn = "arn:aws:iam::123456789012:role/serve"
    assert run(policy, broken("train-identity", "roleArn", arn)).violations == both
    assert run(policy, broken("train-identity", "roleArn", UNKNOWN)).status == "skipped"
    linked = [
        Given(each.type, each.name, {**each.props, "roleArn": UNKNOWN}, {"roleArn": ["serve-role"]})
        if each.type.endswith(":PodIdentityAssociation")
        else each
        for each in GOOD
    ]
    assert run(policy, linked).violations == both


def test_nat_gateways_bounded() -> None:
    gateways = [Given("aws:ec2/natGateway:NatGateway", f"nat-{number}", {"tags": TAGS}) for number in range(2)]
    result = run(POLICY["nat-gateways-bounded"], [*GOOD, *gateways], {"most": 1})
    assert result.violations == [("vpc", "the stack has 2 NAT gateways: share one, or raise the parameter `most`")]
    assert run(POLICY["nat-gateways-bounded"], [*GOOD, *gateways], {"most": 2}).status == "passed"


def test_budget_watched() -> None:
    message = "nobody is told when costs run away: add an aws.budgets.Budget with a notification"
    result = run(POLICY["budget-watched"], broken("budget", "notifications", []))
    assert result.violations == [("cluster", message), ("component", message)]
    assert run(POLICY["budget-watched"], broken("budget", "notifications", UNKNOWN)).status == "skipped"
