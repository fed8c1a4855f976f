"""EKS.

The engine tells policies nothing of a component such as `pulumi_eks.Cluster`: the resources that it
makes are judged.
"""

from __future__ import annotations

from policies.cel import Cel
from policies.checks import missing_from
from policies.network import OPEN_CIDRS
from policies.params import strings
from policies.resource_types import (
    EC2_INSTANCE,
    EKS_CLUSTER,
    EKS_NODE_GROUP,
    KARPENTER_NODE_POOL,
    LAUNCH_TEMPLATE,
    SUBNET,
)
from policies.rule import Violation, requires, rule
from policies.subjects import Context, Props, Resource, list_at, props_at, value_at


@rule(
    EKS_CLUSTER,
    message="the API endpoint is open to {}: set endpointPublicAccess to false, or list networks in"
    " publicAccessCidrs",
    fix="Reach the cluster through the private endpoint; else list office and CI networks in"
    " public_access_cidrs.",
    severity="critical",
    standard=("AWS FSBP EKS.1", "CIS EKS 1.7.0 5.4.1"),
)
def eks_endpoint_not_open(cluster: Props, _: Context) -> Violation:
    """The Kubernetes API does not answer the whole internet."""
    if value_at(cluster, "vpcConfig.endpointPublicAccess") is False:
        return None
    cidrs = list_at(cluster, "vpcConfig.publicAccessCidrs") or OPEN_CIDRS[:1]
    return ", ".join(cidr for cidr in cidrs if cidr in OPEN_CIDRS)


eks_endpoint_private = requires(
    EKS_CLUSTER,
    "vpcConfig.endpointPrivateAccess",
    True,
    name="eks-endpoint-private",
    description="Nodes reach the Kubernetes API inside the VPC.",
    message="the private endpoint is off, so nodes reach the API over the internet: set"
    " endpointPrivateAccess to true",
    fix="Set endpoint_private_access=True.",
    severity="high",
    standard="CIS EKS 1.7.0 5.4.2",
)


@rule(
    EKS_CLUSTER,
    message="Kubernetes {} is not in the list of supported versions: set version to one that is",
    fix="Upgrade one minor version at a time; keep the parameter `versions` at what EKS supports as"
    " standard.",
    severity="high",
    standard="AWS FSBP EKS.2",
    params={"versions": strings("Kubernetes versions that may run", ["1.35", "1.36"])},
)
def eks_version_supported(cluster: Props, context: Context) -> Violation:
    """A cluster runs a chosen and supported Kubernetes version."""
    version = cluster.get("version") or "(the provider's choice)"
    return None if version in list(context.params["versions"]) else str(version)


eks_standard_support = requires(
    EKS_CLUSTER,
    "upgradePolicy.supportType",
    "STANDARD",
    name="eks-standard-support",
    description="A cluster does not slide into extended support, which costs several times the"
    " control plane's price.",
    message="the cluster would slide into paid extended support: set upgradePolicy.supportType to"
    " STANDARD",
    fix='Set upgrade_policy={"support_type": "STANDARD"}.',
    severity="low",
)


@rule(
    EKS_CLUSTER,
    message="Kubernetes secrets are not encrypted with a KMS key: set encryptionConfig for secrets",
    fix="Give the cluster a KMS key for envelope encryption of secrets, at creation.",
    severity="high",
    standard=("AWS FSBP EKS.3", "CIS EKS 1.7.0 5.3.1"),
)
def eks_secrets_encrypted(cluster: Props, _: Context) -> Violation:
    """Secrets in etcd are encrypted with a key of the account."""
    return "secrets" not in list_at(cluster, "encryptionConfig.resources")


@rule(
    EKS_CLUSTER,
    message="control-plane logs {} are off: add them to enabledClusterLogTypes",
    fix="Enable the api, audit and authenticator logs.",
    severity="medium",
    standard=("AWS FSBP EKS.8", "CIS EKS 1.7.0 2.1.1"),
    params={"logs": strings("logs that must be on", ["api", "audit", "authenticator"])},
)
def eks_control_plane_logged(cluster: Props, context: Context) -> Violation:
    """The control plane's logs are kept."""
    enabled = list(list_at(cluster, "enabledClusterLogTypes"))
    return missing_from(enabled, context.params["logs"])


eks_access_by_api = requires(
    EKS_CLUSTER,
    "accessConfig.authenticationMode",
    "API",
    name="eks-access-by-api",
    description="Who may enter a cluster is decided by access entries, which IAM can see and"
    " audit.",
    message="access is kept in the aws-auth ConfigMap: set authenticationMode to API and use access"
    " entries",
    fix="Set the authentication mode to API; changing it later is one-way.",
    severity="high",
    standard="CIS EKS 1.7.0 4.1.7",
)


@rule(
    EKS_CLUSTER,
    message="whoever creates the cluster stays its administrator: set"
    " bootstrapClusterCreatorAdminPermissions to false",
    fix="Give administrators an access entry each.",
    severity="medium",
)
def eks_no_hidden_admin(cluster: Props, _: Context) -> Violation:
    """The creator of a cluster is no silent administrator."""
    access = props_at(cluster, "accessConfig")
    if access.get("authenticationMode") != "API":  # eks-access-by-api speaks of it
        return None
    return access.get("bootstrapClusterCreatorAdminPermissions") is not False


eks_deletion_protected = requires(
    EKS_CLUSTER,
    "deletionProtection",
    True,
    name="eks-deletion-protected",
    description="A cluster cannot be deleted by mistake.",
    message="deletionProtection is off: set it to true",
    fix="Set deletion_protection=True in stacks that people depend on.",
    severity="medium",
)


@rule(
    EKS_NODE_GROUP,
    message="subnet {} gives its machines public addresses: put the nodes into private subnets",
    fix="Give the node group private subnets; egress goes through NAT or VPC endpoints.",
    severity="high",
    standard="CIS EKS 1.7.0 5.4.3",
    stack=True,
)
def eks_nodes_private(_: Props, context: Context) -> Violation:
    """Nodes have no public address."""
    names = _subnets_of(context.resource)
    subnets = context.stack.of(SUBNET)
    public = [subnet for subnet in subnets if subnet.props.get("mapPublicIpOnLaunch") is True]
    return ", ".join(x.name for x in public if not names.isdisjoint({x.urn, *x.identities}))


def _subnets_of(group: Resource) -> set[str]:
    """Return the URNs of a node group's subnets, or their ids where nothing links to them."""
    return set(group.links.get("subnetIds") or list_at(group.props, "subnetIds"))


@rule(
    EKS_NODE_GROUP,
    message="remoteAccess opens SSH to the nodes: remove it and use Session Manager",
    fix="Drop remote_access; attach AmazonSSMManagedInstanceCore where a shell is needed.",
    severity="high",
)
def eks_no_ssh(group: Props, _: Context) -> Violation:
    """Nobody logs in to nodes over SSH."""
    return bool(group.get("remoteAccess"))


@rule(
    LAUNCH_TEMPLATE,
    EC2_INSTANCE,
    message="the metadata service hands out credentials too freely: set metadataOptions.httpTokens"
    " to required and httpPutResponseHopLimit to 1",
    fix="Require IMDSv2 with a hop limit of 1, so that pods cannot take the node's role.",
    severity="high",
    standard=("AWS FSBP EC2.170", "AWS FSBP EC2.8"),
)
def imds_v2_only(machine: Props, _: Context) -> Violation:
    """A pod cannot take the role of its node through the metadata service."""
    options = props_at(machine, "metadataOptions")
    return options.get("httpTokens") != "required" or _lets_pods_in(options)


def _lets_pods_in(options: Props) -> bool:
    return int(options.get("httpPutResponseHopLimit") or 1) > 1


@rule(
    "kubernetes:karpenter.k8s.aws/*:EC2NodeClass",
    message="the metadata service hands out credentials too freely: set metadataOptions.httpTokens"
    " to required and httpPutResponseHopLimit to 1",
    fix="Require IMDSv2 with a hop limit of 1 in the EC2NodeClass.",
    severity="high",
    standard="AWS FSBP EC2.8",
    cel=Cel(
        "it.props.?spec.?metadataOptions.hasValue()"
        ' && (it.props.spec.metadataOptions.?httpTokens.orValue("required") != "required"'
        " || int(it.props.spec.metadataOptions.?httpPutResponseHopLimit.orValue(1)) > 1)"
    ),
)
def karpenter_imds_v2_only(node_class: Props, _: Context) -> Violation:
    """A pod cannot take the role of a Karpenter node through the metadata service."""
    options = value_at(node_class, "spec.metadataOptions")
    if options is None:  # Karpenter's own defaults are required and 1
        return None
    return options.get("httpTokens", "required") != "required" or _lets_pods_in(options)


@rule(
    KARPENTER_NODE_POOL,
    message="the pool may grow without end: set spec.limits.cpu and spec.limits.memory",
    fix="Give every NodePool a limit: it caps what a runaway autoscaler can cost.",
    severity="high",
    cel=Cel('!["cpu", "memory"].all(k, it.props.?spec.?limits[?k].hasValue())'),
)
def node_pool_limited(pool: Props, _: Context) -> Violation:
    """A node pool has a ceiling."""
    limits = props_at(pool, "spec.limits")
    return not (limits.get("cpu") and limits.get("memory"))


@rule(
    "aws:guardduty/detector:Detector",
    message="{} is off: turn it on",
    fix="Enable the detector, and its features EKS_AUDIT_LOGS and RUNTIME_MONITORING with"
    " aws.guardduty.DetectorFeature.",
    severity="medium",
    standard=("AWS FSBP GuardDuty.1", "AWS FSBP GuardDuty.5", "AWS FSBP GuardDuty.11"),
    stack=True,
)
def guardduty_watches(detector: Props, context: Context) -> Violation:
    """GuardDuty reads the audit log of the cluster and watches its nodes."""
    if detector.get("enable") is False:
        return "the detector"
    return missing_from(_enabled_features(context), ("EKS_AUDIT_LOGS", "RUNTIME_MONITORING"))


def _enabled_features(context: Context) -> set[str]:
    type_ = "aws:guardduty/detectorFeature:DetectorFeature"
    features = context.stack.referring("detectorId", context.resource, type_)
    enabled = [feature.props for feature in features if feature.props["status"] == "ENABLED"]
    return {feature["name"] for feature in enabled}
