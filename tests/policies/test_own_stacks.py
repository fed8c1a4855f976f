"""The pack over whole programs.

Vigil's own stacks pass, a hurried platform is refused mistake by mistake.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from policies.report import Report
from tests.infra import recorded
from tests.policies.stacks import as_deployment, deployment, judged, judged_at_first_preview

STATE_BUDGET, PREVIEW_BUDGET = 0.0, 0.10
REFUSED = {
    "artifacts": {
        "s3-public-access-blocked",
        "s3-tls-only",
        "s3-versioned",
        "s3-lifecycle",
        "s3-encrypted-with-kms",
        "s3-acls-off",
        "s3-not-force-destroyed",
        "tags-complete",
    },
    "access": {"iam-no-admin", "iam-no-decrypt-everywhere"},
    "s3-access": {"iam-no-service-wildcard", "iam-no-data-wildcard"},
    "ci-key": {"iam-no-users"},
    "serving": {"ecr-immutable", "ecr-scanned"},
    "cluster-eksCluster": {  # what the component makes
        "eks-endpoint-not-open",
        "eks-endpoint-private",
        "eks-secrets-encrypted",
        "eks-control-plane-logged",
        "eks-access-by-api",
        "eks-version-supported",
        "budget-watched",
    },
    "nodes": {"eks-nodes-private", "eks-no-ssh"},
    "public": {"subnet-no-public-addresses"},
    "open": {"sg-ports-not-open"},
    "vpc": {"vpc-flow-logged", "vpc-default-sg-managed"},
    "mlops": {"namespace-denies-by-default", "namespace-restricted"},
    "aws-credentials": {"no-static-keys-stored"},
    "mlflow": {
        "no-static-keys-in-env",
        "image-pinned",
        "image-from-allowed-registry",
        "mlflow-version-supported",
        "mlflow-asks-who-is-there",
        "mlflow-on-a-database",
        "mlflow-artifacts-in-a-bucket",
        "mlflow-hosts-named",
        "pod-non-root",
        "pod-resources",
        "pod-no-privilege-escalation",
        "pod-capabilities-dropped",
        "pod-seccomp",
    },
    "mlflow-public": {"service-not-public", "ray-ports-inside"},
    "ray-dashboard": {"service-not-public", "ray-ports-inside"},
    "kuberay": {"chart-pinned"},
    "ray": {
        "ray-head-inside",
        "ray-version-supported",
        "ray-asks-for-a-token",
        "ray-one-image",
        "ray-head-on-demand",
        "ray-head-not-evicted",
        "ray-drains-in-peace",
        "ray-replicas-bounded",
        "serve-config-without-versions",
        "serve-queue-bounded",
        "serve-survives-a-node",
        "drift-reference-configured",
        "alert-budget-configured",
        "image-pinned",
    },
}


def refusals(report: Report) -> list[tuple[str, str, str]]:
    found = report.of("violated", "mandatory")
    return [(line.rule.name, line.resource.name, line.message) for line in found]


@pytest.mark.parametrize("stack", recorded.STACKS)
def test_own_stacks_have_no_mandatory_violation_and_nothing_unknown(stack: str) -> None:
    report = judged(deployment(stack, preview=False)["deployment"]["resources"], stack)
    assert refusals(report) == []
    assert len(report.of("passed")) > 100
    assert report.skip_share <= STATE_BUDGET


@pytest.mark.parametrize("stack", recorded.STACKS)
def test_a_first_preview_of_own_stacks_has_no_mandatory_violation(stack: str) -> None:
    """What is unknown is skipped, and stays a small part of what is judged resource by resource."""
    report = judged_at_first_preview(stack)
    assert refusals(report) == []
    each = Report(tuple(line for line in report.lines if not line.rule.stack))
    assert len(each.of("passed")) > 100
    assert each.skip_share <= PREVIEW_BUDGET


@pytest.mark.parametrize("stack", ["dev", "prod"])
def test_no_stack_policy_judges_objects_of_a_cluster_that_does_not_exist(stack: str) -> None:
    """Without a property there is neither something wrong nor something missing."""
    lines = [line for line in judged_at_first_preview(stack).lines if line.rule.stack]
    objects = [line for line in lines if line.resource.type.startswith("kubernetes:")]
    assert {"RayService", "Namespace"} <= {line.resource.kind for line in objects}
    assert {line.status for line in objects} == {"skipped"}


@cache
def original() -> Report:
    """The pack over the hurried platform, as strict as in production."""
    mock_run = Path(recorded.__file__).with_name("mock_run.py")
    asked = json.dumps(
        {
            "stack": "prod",
            "config": {},
            "secrets": [],
            "program": str(Path(__file__).parent / "original"),
        }
    )
    done = subprocess.run(
        [sys.executable, str(mock_run)],
        input=asked,
        capture_output=True,
        text=True,
        check=True,
        cwd=recorded.ROOT,
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    assert not answer["error"], answer["error"]
    resources = tuple(recorded.Resource(**each) for each in answer["resources"])
    return judged(as_deployment(resources, preview=False)["deployment"]["resources"], "prod")


@pytest.mark.parametrize("name", REFUSED)
def test_the_hurried_platform_is_refused_rule_by_rule(name: str) -> None:
    found = {
        line.rule.name
        for line in original().of("violated", "mandatory")
        if line.resource.name == name
    }
    assert REFUSED[name] - found == set()
