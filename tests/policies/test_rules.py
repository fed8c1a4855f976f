"""Every rule.

It passes the good stack, says exactly this of each single broken property, and skips what it cannot
know.
"""

from __future__ import annotations

from typing import Any

import pytest

from policies.rules import POLICIES, RULES
from tests.policies.cases.every import CASES
from tests.policies.cases.fine import FINE
from tests.policies.good import GOOD
from tests.policies.harness import UNKNOWN, Given, changed, run
from tests.policies.parts import TAGS
from tests.policies.table import Break, broken, linked, varied

POLICY = {policy.name: policy for policy in POLICIES}

CAPACITY = "karpenter.sh/capacity-type"
WORKERS = "spec.rayClusterConfig.workerGroupSpecs.0.template.spec"
KMS_KEY = "rules.0.applyServerSideEncryptionByDefault.kmsMasterKeyId"
APART = {"iam-no-users", "pod-role-not-shared", "nat-gateways-bounded", "budget-watched"}
BREAKS = [
    pytest.param(case.rule, each, id=f"{case.rule}-{n}")
    for case in CASES.values()
    for n, each in enumerate(case.breaks)
]


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


@pytest.mark.parametrize(
    ("name", "resource", "path", "value"),
    FINE,
    ids=[f"{each[0]}-{n}" for n, each in enumerate(FINE)],
)
def test_other_ways_of_doing_right_pass(name: str, resource: str, path: str, value: Any) -> None:
    result = run(POLICY[name], varied(resource, path, value))
    assert (result.violations, result.unknown, result.judged) == ([], [], True)


@pytest.mark.parametrize(
    ("name", "resource", "path", "source", "expected"),
    [
        (
            "s3-encrypted-with-kms",
            "BucketServerSideEncryptionConfiguration",
            KMS_KEY,
            "key",
            "passed",
        ),
        (
            "s3-encrypted-with-kms",
            "BucketServerSideEncryptionConfiguration",
            KMS_KEY,
            "queue",
            "skipped",
        ),
        ("s3-access-logged", "BucketLogging", "targetBucket", "files", "passed"),
        ("logs-encrypted", "logs", "kmsKeyId", "key", "passed"),
        ("rds-own-parameters", "database", "parameterGroupName", "parameters", "passed"),
        ("eks-nodes-private", "nodes", "subnetIds", "private", "passed"),
    ],
)
def test_a_value_that_is_known_to_come_from_a_resource(
    name: str, resource: str, path: str, source: str, expected: str
) -> None:
    """What a property was computed from is known before the value is."""
    assert run(POLICY[name], linked(resource, path, source)).status == expected


@pytest.mark.parametrize("name", RULES)
def test_what_is_left_out_never_breaks_a_rule(name: str) -> None:
    for props in (
        {},
        {"metadata": None, "spec": None},
        {"metadata": {}, "spec": {"template": None, "rules": [{}]}},
    ):
        for kind in RULES[name].types:
            given = Given(kind.replace("*", "v1"), "bare", props)
            assert run(POLICY[name], [given]).judged


def bare_groups(template: Any) -> dict[str, Any]:
    """A Ray cluster of a head and one worker group that say next to nothing."""
    group = {"template": template, "replicas": 1.0}
    return {"headGroupSpec": group, "workerGroupSpecs": [group]}


BARE_PODS = [
    {"spec": None},
    {"spec": {"containers": [{}]}},
    {"metadata": None, "spec": {"containers": [{"resources": {}}]}},
]


@pytest.mark.parametrize("template", BARE_PODS, ids=range(len(BARE_PODS)))
def test_bare_pods_and_pools_never_break_a_rule(template: dict[str, Any]) -> None:
    kinds = {
        "ray.io/v1:RayService": {
            "rayClusterConfig": bare_groups(template),
            "serveConfigV2": "applications: [{deployments: [{}]}]",
        },
        "ray.io/v1:RayCluster": bare_groups(template),
        "ray.io/v1:RayJob": {
            "rayClusterSpec": bare_groups(template),
            "submitterPodTemplate": template,
        },
        "apps/v1:Deployment": {"template": template},
        "batch/v1:CronJob": {"jobTemplate": {"spec": {"template": template}}},
        "core/v1:Pod": template["spec"],
        "core/v1:Namespace": {},
        "core/v1:ResourceQuota": None,
        "networking.k8s.io/v1:NetworkPolicy": None,
        "karpenter.sh/v1:NodePool": {"template": {"spec": {"requirements": [{"key": "a"}]}}},
        "argoproj.io/v1alpha1:Application": {"source": {"path": "x"}, "ignoreDifferences": [{}]},
    }
    objects = [
        Given(f"kubernetes:{kind}", kind, {"metadata": {"namespace": "x"}, "spec": spec})
        for kind, spec in kinds.items()
    ]
    settings = (
        "Versioning",
        "LifecycleConfiguration",
        "ServerSideEncryptionConfiguration",
        "OwnershipControls",
        "Logging",
        "Policy",
    )
    bucket = Given("aws:s3/bucket:Bucket", "b", {"bucket": "b"})
    around = [
        Given(f"aws:s3/bucket{each}:Bucket{each}", each, {"bucket": "b", "rules": [{}]})
        for each in settings
    ]
    group = Given("aws:eks/nodeGroup:NodeGroup", "g", {"blockDeviceMappings": [{}]})
    for policy in POLICIES:
        assert run(policy, [*objects, bucket, *around, group]).unknown == []


def test_registries_are_told_apart_by_their_host() -> None:
    allowed = {"registries": ["docker.io", "localhost:5000"]}
    for image, status in (
        ("python:3", "passed"),
        ("acme/x:1", "passed"),
        ("localhost:5000/x:1", "passed"),
        ("x.io/y:1", "violated"),
    ):
        pod = [
            Given(
                "kubernetes:core/v1:Pod",
                "p",
                {"spec": {"containers": [{"name": "c", "image": image}]}},
            )
        ]
        assert run(POLICY["image-from-allowed-registry"], pod, allowed).status == status, image


def test_nodes_in_a_public_subnet_are_seen_through_a_link() -> None:
    resources = [
        changed(each, "mapPublicIpOnLaunch", True) if each.name == "private" else each
        for each in linked("nodes", "subnetIds", "private")
    ]
    message = (
        "subnet private gives its machines public addresses: put the nodes into private subnets"
    )
    assert run(POLICY["eks-nodes-private"], resources).violations == [("nodes", message)]


def test_a_bucket_that_takes_access_logs_needs_neither_logs_nor_a_kms_key() -> None:
    """S3 delivers access logs to no bucket that is encrypted with a KMS key."""
    resources = [*GOOD, Given("aws:s3/bucket:Bucket", "logs-bucket", {"bucket": "vigil-logs"})]
    assert run(POLICY["s3-encrypted-with-kms"], resources).status == "passed"
    assert run(POLICY["s3-access-logged"], resources).status == "passed"
    assert run(POLICY["s3-versioned"], resources).status == "violated"


@pytest.mark.parametrize("known", [True, False])
def test_a_wide_managed_policy_passes_on_a_role_with_a_boundary(known: bool) -> None:
    boundary = {
        "permissionsBoundary": "arn:aws:iam::123456789012:policy/boundary" if known else UNKNOWN
    }
    role = Given(
        "aws:iam/role:Role", "wide", boundary, {} if known else {"permissionsBoundary": ["policy"]}
    )
    attachment = {"policyArn": "arn:aws:iam::aws:policy/PowerUserAccess", "role": "wide"}
    power = Given("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "power", attachment)
    assert (
        run(
            POLICY["iam-no-wide-managed-policy"],
            [Given("aws:iam/policy:Policy", "policy", {}), role, power],
        ).status
        == "passed"
    )
    bare = Given(role.type, "wide", {"name": "wide"})
    assert run(POLICY["iam-no-wide-managed-policy"], [bare, power]).status == "violated"


@pytest.mark.parametrize(
    "spec", [{"sources": [{"path": "rendered"}]}, {"source": {"chart": "vigil"}}]
)
def test_whatever_delivers_ray_objects_is_held_to_the_rules_for_them(spec: dict[str, Any]) -> None:
    for name in ("argocd-leaves-replicas", "argocd-server-side"):
        assert run(POLICY[name], varied("application", "spec", spec)).status == "violated"
    assert (
        run(POLICY["argocd-revision-named"], varied("application", "spec", spec)).status
        == "violated"
    )


@pytest.mark.parametrize(
    ("backend", "namespace", "said"),
    [
        ({"number": 80.0}, "vigil", "8265"),
        ({"name": "web"}, "vigil", "8265"),
        ({"number": 81.0}, "vigil", None),
        ({"number": 80.0}, "other", None),
    ],
)
def test_a_closed_port_is_seen_through_the_service_that_renames_it(
    backend: dict[str, Any], namespace: str, said: str | None
) -> None:
    ports = [{"name": "web", "port": 80.0, "targetPort": 8265.0}]
    service = Given(
        "kubernetes:core/v1:Service",
        "s",
        {"metadata": {"name": "ray", "namespace": namespace}, "spec": {"ports": ports}},
    )
    path = "spec.rules.0.http.paths.0.backend.service"
    resources = [*broken("ingress", path, {"name": "ray", "port": backend}), service]
    text = (
        "can be reached from outside, and whoever reaches it runs code here: route to the Serve"
        " port alone"
    )
    assert run(POLICY["ray-ports-inside"], resources).violations == (
        [("ingress", f"port {said} {text}")] if said else []
    )


@pytest.mark.parametrize(("kind", "status"), [("ingress", "violated"), ("egress", "passed")])
def test_a_separate_rule_of_a_security_group_counts_where_it_lets_in(
    kind: str, status: str
) -> None:
    props = {
        "type": kind,
        "protocol": "tcp",
        "fromPort": 22,
        "toPort": 22,
        "cidrBlocks": ["0.0.0.0/0"],
    }
    assert (
        run(
            POLICY["sg-ports-not-open"],
            [Given("aws:ec2/securityGroupRule:SecurityGroupRule", "r", props)],
        ).status
        == status
    )


USERS = (
    "it makes long-lived credentials: use a role (Pod Identity for pods, OIDC for CI, Identity"
    " Center for people)"
)


@pytest.mark.parametrize("kind", ["aws:iam/user:User", "aws:iam/accessKey:AccessKey"])
def test_iam_no_users(kind: str) -> None:
    assert run(POLICY["iam-no-users"], GOOD).status == "not applicable"
    assert run(POLICY["iam-no-users"], [Given(kind, "me", {})]).violations == [("me", USERS)]


def test_pod_role_not_shared() -> None:
    """Roles are the same by their ARN, or by where it came from while it is unknown."""
    policy, message = (
        POLICY["pod-role-not-shared"],
        "vigil/{} uses the same role: give each workload a role of its own",
    )
    both = [
        ("serve-identity", message.replace("{}", "train")),
        ("train-identity", message.replace("{}", "serve")),
    ]
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
    gateways = [
        Given("aws:ec2/natGateway:NatGateway", f"nat-{number}", {"tags": TAGS})
        for number in range(2)
    ]
    result = run(POLICY["nat-gateways-bounded"], [*GOOD, *gateways], {"most": 1})
    assert result.violations == [
        ("vpc", "the stack has 2 NAT gateways: share one, or raise the parameter `most`")
    ]
    assert run(POLICY["nat-gateways-bounded"], [*GOOD, *gateways], {"most": 2}).status == "passed"


def test_budget_watched() -> None:
    message = "nobody is told when costs run away: add an aws.budgets.Budget with a notification"
    result = run(POLICY["budget-watched"], broken("budget", "notifications", []))
    assert result.violations == [("cluster", message)]
    assert (
        run(POLICY["budget-watched"], broken("budget", "notifications", UNKNOWN)).status
        == "skipped"
    )
