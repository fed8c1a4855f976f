"""Whole stacks under Pulumi's mocks.

What would be created, with which inputs, and what can never happen.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict
from fnmatch import fnmatch
from typing import Any

import pytest

from infra.tags import REQUIRED_TAGS
from tests.infra.recorded import CANARY, STACKS, Resource, Stack, recorded, run

ENTRY = "aws:eks/accessEntry:AccessEntry"
ASSOCIATION = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"
GROUP = "aws:cloudwatch/logGroup:LogGroup"
ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"
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


def test_a_stack_takes_seconds_and_names_everything_once(stack: Stack) -> None:
    assert stack.seconds < 10
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


def test_the_cluster_is_held_by_eks_itself_and_who_may_enter_is_not_protected(prod: Stack) -> None:
    """The component would hand its protection down, and no admin could be taken away any more."""
    assert prod.one("eks:index:Cluster").inputs["deletionProtection"] is True
    held = [*prod.of("eks:"), *prod.of("aws:eks/")]
    assert [(r.type, r.name) for r in held if r.protect] == []


def test_the_cluster_is_private_and_logged_and_opens_to_iam_alone(prod: Stack) -> None:
    cluster = prod.one("eks:index:Cluster").inputs
    wanted = {
        "endpointPrivateAccess": True,
        "endpointPublicAccess": False,
        "authenticationMode": "API",
        "deletionProtection": True,
        "skipDefaultNodeGroup": True,
        "skipDefaultSecurityGroups": True,
        "createInstanceRole": False,
        "createOidcProvider": False,
        "bootstrapSelfManagedAddons": False,
        "upgradePolicy": {"supportType": "STANDARD"},
        "version": "1.35",
        "nodeAssociatePublicIpAddress": False,
    }
    assert {key: cluster[key] for key in wanted} == wanted
    assert ":key/" in cluster["encryptionConfigKeyArn"]
    assert len(cluster["enabledClusterLogTypes"]) == 5
    assert "accessEntries" not in cluster
    assert cluster["privateSubnetIds"] == [f"vigil-prod-private-{zone}-id" for zone in "abc"]


def test_each_principal_enters_by_an_entry_of_its_own(prod: Stack) -> None:
    admin, viewer = (f"111122223333-role.platform-{what}" for what in ("admin", "viewer"))
    entries = {r.name.removeprefix("vigil-prod-"): r.inputs for r in prod.of(ENTRY)}
    assert entries.keys() == {admin, viewer, "apply", "plan", "nodes"}
    assert entries["nodes"]["type"] == "EC2_LINUX"
    assert entries[admin]["principalArn"] == "arn:aws:iam::111122223333:role/platform-admin"
    policies = {r.inputs["principalArn"]: r.inputs["policyArn"] for r in prod.of(ASSOCIATION)}
    said = {arn.split("/")[-1]: policy.split("/")[-1] for arn, policy in policies.items()}
    assert said == {
        "platform-admin": "AmazonEKSClusterAdminPolicy",
        "vigil-prod-apply": "AmazonEKSClusterAdminPolicy",
        "platform-viewer": "AmazonEKSAdminViewPolicy",
        "vigil-prod-plan": "AmazonEKSAdminViewPolicy",
    }


def test_whoever_leaves_or_changes_sides_moves_nobody_elses_entry() -> None:
    """EKS knows one entry for a principal, and refuses a second before the first is gone."""
    first, second, third = (f"arn:aws:iam::111122223333:role/{name}" for name in "abc")
    before = run("dev", {"adminPrincipals": [first, second], "viewerPrincipals": [third]})
    after = run("dev", {"adminPrincipals": [third, second], "viewerPrincipals": []})
    kept = {r.urn: r.inputs["principalArn"] for r in before.of(ENTRY)}
    now = {r.urn: r.inputs["principalArn"] for r in after.of(ENTRY)}
    assert now.items() <= kept.items()
    assert kept.keys() - now.keys() == {urn for urn, arn in kept.items() if arn == first}


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_nobody_talks_to_the_cluster_before_somebody_is_let_in(name: str) -> None:
    """Whoever runs `pulumi up` is an admin by an entry alone, however the cluster was made."""
    stack = recorded(name)
    provider = stack.one("pulumi:providers:kubernetes")
    admitted = {r.urn for r in [*stack.of(ENTRY), *stack.of(ASSOCIATION)]}
    assert admitted <= set(provider.dependencies)
    for resource in stack.of("kubernetes:"):
        assert resource.provider.startswith(provider.urn), resource.name


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_the_component_is_told_that_its_maker_is_no_administrator(name: str) -> None:
    """pulumi_eks hard-codes the contrary; a transform changes it, and nothing else of its child."""
    child = recorded(name).one("aws:eks/cluster:Cluster").inputs
    assert child["accessConfig"] == {
        "authenticationMode": "API",
        "bootstrapClusterCreatorAdminPermissions": False,
    }
    assert child["version"] == "1.35"


@pytest.mark.parametrize(
    ("name", "nodes"),
    [("prod", "karpenter"), ("dev", "static"), ("dev", "auto")],
)
def test_rights_stand_before_who_uses_them_and_go_after(name: str, nodes: str) -> None:
    """AWS needs them while it makes and deletes; a pod gets them as it is made, or never."""
    stack = recorded(name) if nodes == "karpenter" else run(name, {"nodes": nodes})

    def before(resource: Resource) -> set[str]:
        found = set(resource.dependencies)
        return found | {r.urn for r in stack.resources if r.parent in found}

    first = before(stack.one("eks:index:Cluster"))
    attached = {r.name: r.urn for r in stack.of(ATTACHMENT)}
    assert attached[f"vigil-{name}-AmazonEKSClusterPolicy"] in first
    assert stack.one(GROUP, f"vigil-{name}-control-plane").urn in first
    for group in stack.of("aws:eks/nodeGroup:NodeGroup"):
        roles = {role for role in before(group) if ":iam/role:Role" in role}
        needed = {r.urn for r in stack.of(ATTACHMENT) if set(r.dependencies) & roles}
        assert len(needed) == 3
        assert needed <= before(group)
    ties = {r.urn for r in stack.of("aws:eks/podIdentityAssociation:PodIdentityAssociation")}
    nodes_rights = {urn for label, urn in attached.items() if "ray-node" in label}
    for resource in stack.of("kubernetes:core/v1:Namespace"):
        assert ties | nodes_rights <= before(resource), resource.name


def test_the_public_endpoint_opens_to_named_networks_only() -> None:
    cluster = run("dev", {"publicAccessCidrs": ["198.51.100.0/24"]}).one("eks:index:Cluster").inputs
    assert (cluster["endpointPublicAccess"], cluster["publicAccessCidrs"]) == (
        True,
        ["198.51.100.0/24"],
    )


def test_a_new_kubeconfig_replaces_nothing(stack: Stack) -> None:
    provider = stack.one("pulumi:providers:kubernetes").inputs
    assert provider["clusterIdentifier"]
    assert "mock" not in provider["clusterIdentifier"]
    for resource in stack.of("kubernetes:"):
        assert "pulumi:providers:kubernetes::" in resource.provider


def test_nodes_take_metadata_by_token_and_encrypt_their_disks(prod: Stack) -> None:
    for template in prod.of("aws:ec2/launchTemplate:LaunchTemplate"):
        assert template.inputs["metadataOptions"] == {
            "httpEndpoint": "enabled",
            "httpTokens": "required",
            "httpPutResponseHopLimit": 1,
        }
        assert template.inputs["blockDeviceMappings"][0]["ebs"]["encrypted"] == "true"
    for group in prod.of("aws:eks/nodeGroup:NodeGroup"):
        assert all("private" in subnet for subnet in group.inputs["subnetIds"])
        assert "remoteAccess" not in group.inputs


@pytest.mark.parametrize(
    ("nodes", "groups", "karpenter", "addons"),
    [
        (
            "karpenter",
            1,
            True,
            {"vpc-cni", "kube-proxy", "coredns", "eks-pod-identity-agent", "aws-ebs-csi-driver"},
        ),
        (
            "static",
            4,
            False,
            {"vpc-cni", "kube-proxy", "coredns", "eks-pod-identity-agent", "aws-ebs-csi-driver"},
        ),
        ("auto", 0, False, set()),
    ],
)
def test_nodes_come_from_karpenter_or_auto_mode_or_nowhere(
    nodes: str, groups: int, karpenter: bool, addons: set[str]
) -> None:
    found = recorded("dev") if nodes == "karpenter" else run("dev", {"nodes": nodes})
    assert not found.error
    assert len(found.of("aws:eks/nodeGroup:NodeGroup")) == groups
    assert bool(found.of("aws:sqs/queue:Queue")) is karpenter
    assert (
        any(r.name == "karpenter" for r in found.of("kubernetes:helm.sh/v3:Release")) is karpenter
    )
    assert {r.inputs["addonName"] for r in found.of("aws:eks/addon:Addon")} == addons | {
        "metrics-server",
        "aws-efs-csi-driver",
    }
    assert ("autoMode" in found.one("eks:index:Cluster").inputs) is (nodes == "auto")
    assert bool(found.of("kubernetes:karpenter.sh/v1:NodePool")) is (nodes != "static")


@pytest.mark.parametrize(("name", "nats", "zones"), [("dev", 1, 2), ("prod", 3, 3)])
def test_the_network_has_its_ways_in_and_out(name: str, nats: int, zones: int) -> None:
    found = recorded(name)
    assert len(found.of("aws:ec2/natGateway:NatGateway")) == nats
    assert len(found.of("aws:ec2/subnet:Subnet")) == 3 * zones
    assert not any(
        subnet.inputs["mapPublicIpOnLaunch"] for subnet in found.of("aws:ec2/subnet:Subnet")
    )
    ways_out = {r.name: r.inputs for r in found.of("aws:ec2/route:Route")}
    assert all("natGatewayId" in way for label, way in ways_out.items() if "private" in label)
    assert not any("intra" in label for label in ways_out)
    endpoints = {
        r.inputs["serviceName"].split(".", 3)[3]: r.inputs["vpcEndpointType"]
        for r in found.of("aws:ec2/vpcEndpoint:VpcEndpoint")
    }
    assert endpoints == {"s3": "Gateway"} | dict.fromkeys(
        ("ecr.api", "ecr.dkr", "sts", "logs"), "Interface"
    )
    default = found.one("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup").inputs
    assert (default["ingress"], default["egress"]) == ([], [])
    assert found.one("aws:ec2/flowLog:FlowLog").inputs["trafficType"] == "ALL"


def test_no_security_group_opens_to_the_world(prod: Stack) -> None:
    assert "0.0.0.0/0" not in json.dumps(
        [asdict(r) for r in prod.of("aws:ec2/securityGroup:SecurityGroup")]
    )


def test_the_database_is_private_encrypted_and_keeps_its_own_password(prod: Stack) -> None:
    database = prod.one("aws:rds/instance:Instance").inputs
    assert "password" not in database
    wanted = {
        "manageMasterUserPassword": True,
        "publiclyAccessible": False,
        "storageEncrypted": True,
        "backupRetentionPeriod": 30,
        "autoMinorVersionUpgrade": True,
        "iamDatabaseAuthenticationEnabled": True,
    }
    assert {key: database[key] for key in wanted} == wanted
    assert {"name": "rds.force_ssl", "value": "1"} in prod.one(
        "aws:rds/parameterGroup:ParameterGroup"
    ).inputs["parameters"]
    assert all(
        "intra" in subnet
        for subnet in prod.one("aws:rds/subnetGroup:SubnetGroup").inputs["subnetIds"]
    )


def test_a_database_always_leaves_a_last_snapshot() -> None:
    """`protect: false` is how an environment is deleted: the snapshot stays all the same, and the
    second zone of one that goes on."""
    given_up = run("prod", {"protect": False})
    stacks = [(recorded("dev"), False, 1), (given_up, False, 2), (recorded("prod"), True, 2)]
    for stack, protected, zones in stacks:
        database = stack.one("aws:rds/instance:Instance").inputs
        assert database["skipFinalSnapshot"] is False
        name = database["finalSnapshotIdentifier"]
        assert re.fullmatch(r"vigil-\w+-mlflow-last-[0-9a-f]{10}", name)
        assert database["deletionProtection"] is protected
        assert database["multiAz"] is (zones == 2)


def test_the_last_snapshot_of_the_next_database_has_another_name() -> None:
    """It comes from what AWS makes anew with each database: its security group, its key."""
    from infra.database import last_snapshot

    made = [[group, key] for group in ("sg-1", "sg-2") for key in ("a", "b")]
    assert len({last_snapshot("vigil-dev-mlflow", each) for each in made}) == 4
    assert len({last_snapshot("vigil-dev-mlflow", made[0]) for _ in range(2)}) == 1
    dependencies = recorded("dev").one("aws:rds/instance:Instance").dependencies
    assert any("ec2/securityGroup:SecurityGroup" in urn for urn in dependencies)


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_every_service_writes_to_a_log_group_of_ours_with_our_key(name: str) -> None:
    """What is not made before, the service makes: without end, without a key, and left behind."""
    stack = recorded(name)
    groups = {r.inputs["name"]: r for r in stack.of(GROUP)}
    assert groups.keys() == {
        f"/vigil/vigil-{name}/flow",
        f"/aws/eks/vigil-{name}/cluster",
        f"/aws/rds/instance/vigil-{name}-mlflow/postgresql",
        f"/aws/rds/instance/vigil-{name}-mlflow/upgrade",
    }
    data = f"arn:aws:kms:eu-west-1:111122223333:key/vigil-{name}-data"
    days = {"dev": 30, "prod": 365}[name]
    for group in groups.values():
        assert (group.inputs["kmsKeyId"], group.inputs["retentionInDays"]) == (data, days)
    database = stack.one("aws:rds/instance:Instance")
    assert {r.urn for path, r in groups.items() if "/rds/" in path} <= set(database.dependencies)
    policy = json.loads(stack.one("aws:kms/key:Key", f"vigil-{name}-data").inputs["policy"])
    allowed = policy["Statement"][1]["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]
    for path in groups:
        arn = f"arn:aws:logs:eu-west-1:111122223333:log-group:{path}"
        assert any(fnmatch(arn, pattern) for pattern in allowed), path


def test_every_bucket_has_all_its_guards(prod: Stack) -> None:
    buckets = {r.inputs["bucket"] for r in prod.of("aws:s3/bucket:Bucket")}
    assert {name.split("-")[2] for name in buckets} == {
        "models",
        "data",
        "captured",
        "charts",
        "logs",
    }
    for part in (
        "PublicAccessBlock",
        "OwnershipControls",
        "Versioning",
        "ServerSideEncryptionConfiguration",
        "Policy",
        "LifecycleConfiguration",
    ):
        assert {
            r.inputs["bucket"] for r in prod.of(f"aws:s3/bucket{part}:Bucket{part}")
        } == buckets, part
    logged = {r.inputs["bucket"] for r in prod.of("aws:s3/bucketLogging:BucketLogging")}
    assert buckets - logged == {name for name in buckets if "-logs-" in name}
    for block in prod.of("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"):
        assert sum(value is True for value in block.inputs.values()) == 4


def test_images_stream_and_keys_follow_the_rules(prod: Stack) -> None:
    repository = prod.one("aws:ecr/repository:Repository").inputs
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    stream = prod.one("aws:kinesis/stream:Stream").inputs
    assert (stream["encryptionType"], stream["retentionPeriod"], "shardCount" in stream) == (
        "KMS",
        168,
        False,
    )
    assert recorded("dev").one("aws:kinesis/stream:Stream").inputs["shardCount"] == 1
    assert all(
        key.inputs["enableKeyRotation"] and key.inputs["deletionWindowInDays"] == 30
        for key in prod.of("aws:kms/key:Key")
    )


def test_releases_are_pinned_and_undone_when_they_fail(stack: Stack) -> None:
    for release in stack.of("kubernetes:helm.sh/v3:Release"):
        version = release.inputs["version"].split(".")
        assert len(version) == 3, release.name
        assert all(part.isdigit() for part in version), release.name
        assert release.inputs["atomic"] is True


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


def test_without_a_shared_folder_there_is_no_file_system_and_nothing_that_mounts_one() -> None:
    found = run("dev", {"sharedFolder": False})
    assert not found.error
    assert found.of("aws:efs/") == []
    assert "aws-efs-csi-driver" not in {
        one.inputs["addonName"] for one in found.of("aws:eks/addon:Addon")
    }
    assert not [one for one in found.of("kubernetes:") if one.name == "home"]


def test_a_stream_that_is_consumed_has_a_table_for_its_leases() -> None:
    table = recorded("prod").one("aws:dynamodb/table:Table").inputs
    assert (table["name"], table["hashKey"], table["billingMode"]) == (
        "vigil-prod-leases",
        "key",
        "PAY_PER_REQUEST",
    )
    assert table["serverSideEncryption"]["enabled"]
    assert recorded("dev").of("aws:dynamodb/table:Table") == []
