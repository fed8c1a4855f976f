"""The cluster of a stack under mocks: who enters, in which order, on which nodes."""

from __future__ import annotations

import pytest

from tests.infra.recorded import STACKS, Resource, Stack, recorded, run

ENTRY = "aws:eks/accessEntry:AccessEntry"


ASSOCIATION = "aws:eks/accessPolicyAssociation:AccessPolicyAssociation"


GROUP = "aws:cloudwatch/logGroup:LogGroup"


ATTACHMENT = "aws:iam/rolePolicyAttachment:RolePolicyAttachment"


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> Stack:
    return recorded(request.param)


@pytest.fixture
def prod() -> Stack:
    return recorded("prod")


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
