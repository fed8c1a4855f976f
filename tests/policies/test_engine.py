"""The real pack in its own process, driven as Pulumi's engine would drive it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pulumi.runtime.proto import analyzer_pb2 as proto

from policies.levels import PolicyConfig
from policies.rules import POLICIES, RULES
from tests.infra import recorded
from tests.policies.engine import Pack, running_pack
from tests.policies.good import GOOD
from tests.policies.harness import UNKNOWN, Given, run
from tests.policies.stacks import deployment, for_stack_policies, judged_at_first_preview


@pytest.fixture(scope="module")
def pack() -> Iterator[Pack]:
    with running_pack() as started:
        yield started


@pytest.fixture(autouse=True)
def as_shipped(pack: Pack) -> None:
    pack.configure({})


def test_it_lists_every_policy_with_its_level_and_what_the_standard_says(pack: Pack) -> None:
    info = pack.info()
    levels = {proto.MANDATORY: "mandatory", proto.ADVISORY: "advisory"}
    assert info.name == "vigil"
    assert {each.name: levels[each.enforcementLevel] for each in info.policies} == {
        name: rule.level for name, rule in RULES.items()
    }
    found = {each.name: each for each in info.policies}
    tls = found["s3-tls-only"]
    assert (tls.framework.name, tls.framework.reference, tls.severity) == (
        "AWS FSBP",
        "S3.5",
        proto.POLICY_SEVERITY_HIGH,
    )
    assert tls.remediation_steps.startswith("Add aws.s3.BucketPolicy")
    assert tls.policy_type == proto.POLICY_TYPE_STACK
    assert found["rds-backed-up"].policy_type == proto.POLICY_TYPE_RESOURCE
    assert found["rds-backed-up"].configSchema.properties["days"]["default"] == 7
    assert not found["eks-no-ssh"].HasField("framework")


def test_a_good_stack_passes(pack: Pack) -> None:
    assert [(each.policyName, each.message) for each in pack.ask(GOOD)] == []


def with_database(**props: Any) -> list[Given]:
    """The good stack with other properties of its database."""
    return [
        replace(each, props={**each.props, **props}) if each.name == "database" else each
        for each in GOOD
    ]


def test_a_bad_stack_is_flagged_as_in_process(pack: Pack) -> None:
    bad = [each for each in with_database(publiclyAccessible=True) if each.name != "BucketPolicy"]
    found = {
        (each.policyName, each.enforcementLevel, each.message.split("\n", 1)[1])
        for each in pack.ask(bad)
    }
    said = {
        (policy.name, message) for policy in POLICIES for _, message in run(policy, bad).violations
    }
    assert {name for name, _, _ in found} == {"rds-not-public", "s3-tls-only"}
    assert {(name, message) for name, _, message in found} == said
    assert {level for _, level, _ in found} == {proto.MANDATORY}


def test_an_unknown_value_is_said_to_be_one_and_hides_no_violation(pack: Pack) -> None:
    found = {
        each.policyName: each
        for each in pack.ask(with_database(storageEncrypted=UNKNOWN, multiAz=False))
    }
    assert found.keys() == {"rds-encrypted", "rds-multi-az"}
    assert "can't run policy 'rds-encrypted'" in found["rds-encrypted"].message
    assert found["rds-encrypted"].enforcementLevel == proto.ADVISORY
    assert found["rds-multi-az"].enforcementLevel == proto.MANDATORY


@pytest.mark.parametrize("stack", recorded.STACKS)
def test_a_first_preview_is_not_refused_and_counts_what_it_skips(pack: Pack, stack: str) -> None:
    """Nothing exists, not even the cluster.

    Stack policies see Kubernetes objects without properties.
    """
    pack.configure_for(PolicyConfig.of_environment(stack))
    each, whole = (
        deployment(stack, preview=True)["deployment"]["resources"],
        for_stack_policies(stack),
    )
    found = [*pack.ask_each(each), *pack.ask_whole(whole)]
    refused = [
        (one.policyName, one.message) for one in found if one.enforcementLevel == proto.MANDATORY
    ]
    assert refused == []
    skipped: dict[str, int] = {}
    for one in found:
        if count := re.search(r"during preview: (\d+) of \d+ judgements skipped", one.message):
            skipped[one.policyName] = skipped.get(one.policyName, 0) + int(count[1])
    expected = Counter(line.rule.name for line in judged_at_first_preview(stack).of("skipped"))
    assert skipped == expected
    assert ("ray-within-quota" in skipped) is (stack != "local")


def test_levels_and_parameters_of_an_environment_hold(pack: Pack) -> None:
    pack.configure_for(PolicyConfig.of_environment("dev"))
    found = pack.ask(with_database(multiAz=False, backupRetentionPeriod=1))
    assert [(each.policyName, each.enforcementLevel) for each in found] == [
        ("rds-multi-az", proto.ADVISORY)
    ]
