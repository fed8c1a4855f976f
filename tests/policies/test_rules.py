"""Every rule: it passes the good stack, says exactly this of each single broken property, and skips what it cannot know."""

from __future__ import annotations

import pytest

from policies.rules import POLICIES, RULES
from tests.policies.cases.aws import AWS_CASES
from tests.policies.cases.kubernetes import KUBERNETES_CASES
from tests.policies.good import GOOD, TAGS
from tests.policies.harness import UNKNOWN, Given, run
from tests.policies.table import Break, Case, broken

POLICY = {policy.name: policy for policy in POLICIES}
CASES: dict[str, Case] = {case.rule: case for case in (*AWS_CASES, *KUBERNETES_CASES)}
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
