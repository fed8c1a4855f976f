"""EKS. The engine tells policies nothing of a component such as `pulumi_eks.Cluster`: what it makes is judged."""

from __future__ import annotations

from policies.rule import Context, Found, Props, rule

CLUSTER = "aws:eks/cluster:Cluster"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
WORLD = ("0.0.0.0/0", "::/0")


def _network(cluster: Props) -> Props:
    return cluster.get("vpcConfig") or {}


@rule(
    CLUSTER,
    message="the API endpoint is open to {}: set endpointPublicAccess to false, or list networks in publicAccessCidrs",
    fix="Reach the cluster through the private endpoint; else list office and CI networks in public_access_cidrs.",
    severity="critical",
    standard=("AWS FSBP EKS.1", "CIS EKS 1.7.0 5.4.1"),
)
def eks_endpoint_not_open(cluster: Props, _: Context) -> Found:
    """The Kubernetes API does not answer the whole internet."""
    network = _network(cluster)
    if network.get("endpointPublicAccess", True) is False:
        return None
    return ", ".join(
        cidr for cidr in network.get("publicAccessCidrs") or WORLD[:1] if cidr in WORLD
    )


@rule(
    CLUSTER,
    message="the private endpoint is off, so nodes reach the API over the internet: set endpointPrivateAccess to true",
    fix="Set endpoint_private_access=True.",
    severity="high",
    standard="CIS EKS 1.7.0 5.4.2",
)
def eks_endpoint_private(cluster: Props, _: Context) -> Found:
    """Nodes reach the Kubernetes API inside the VPC."""
    return _network(cluster).get("endpointPrivateAccess") is not True


@rule(
    CLUSTER,
    message="Kubernetes {} is not in the list of supported versions: set version to one that is",
    fix="Upgrade one minor version at a time; keep the parameter `versions` at what EKS supports as standard.",
    severity="high",
    standard="AWS FSBP EKS.2",
    params={
        "versions": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["1.33", "1.34", "1.35"],
            "description": "Kubernetes versions that may run",
        }
    },
)
def eks_version_supported(cluster: Props, context: Context) -> Found:
    """A cluster runs a chosen and supported Kubernetes version."""
    version = cluster.get("version") or "(the provider's choice)"
    return None if version in list(context.params["versions"]) else str(version)


@rule(
    CLUSTER,
    message="the cluster would slide into paid extended support: set upgradePolicy.supportType to STANDARD",
    fix='Set upgrade_policy={"support_type": "STANDARD"}.',
    severity="low",
)
def eks_standard_support(cluster: Props, _: Context) -> Found:
    """A cluster does not slide into extended support, which costs several times the control plane's price."""
    return (cluster.get("upgradePolicy") or {}).get("supportType") != "STANDARD"


@rule(
    CLUSTER,
    message="Kubernetes secrets are not encrypted with a KMS key: set encryptionConfig for secrets",
    fix="Give the cluster a KMS key for envelope encryption of secrets, at creation.",
    severity="high",
    standard=("AWS FSBP EKS.3", "CIS EKS 1.7.0 5.3.1"),
)
def eks_secrets_encrypted(cluster: Props, _: Context) -> Found:
    """Secrets in etcd are encrypted with a key of the account."""
    return "secrets" not in ((cluster.get("encryptionConfig") or {}).get("resources") or ())


@rule(
    CLUSTER,
    message="control-plane logs {} are off: add them to enabledClusterLogTypes",
    fix="Enable the api, audit and authenticator logs.",
    severity="medium",
    standard=("AWS FSBP EKS.8", "CIS EKS 1.7.0 2.1.1"),
    params={
        "logs": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["api", "audit", "authenticator"],
            "description": "logs that must be on",
        }
    },
)
def eks_control_plane_logged(cluster: Props, context: Context) -> Found:
    """The control plane's logs are kept."""
    enabled = list(cluster.get("enabledClusterLogTypes") or ())
    return ", ".join(log for log in context.params["logs"] if log not in enabled)


@rule(
    CLUSTER,
    message="access is kept in the aws-auth ConfigMap: set authenticationMode to API and use access entries",
    fix="Set the authentication mode to API; changing it later is one-way.",
    severity="high",
    standard="CIS EKS 1.7.0 4.1.7",
)
def eks_access_by_api(cluster: Props, _: Context) -> Found:
    """Who may enter a cluster is decided by access entries, which IAM can see and audit."""
    return (cluster.get("accessConfig") or {}).get("authenticationMode") != "API"


@rule(
    CLUSTER,
    message="whoever creates the cluster stays its administrator: set bootstrapClusterCreatorAdminPermissions to false",
    fix="Give administrators an access entry each.",
    severity="medium",
)
def eks_no_hidden_admin(cluster: Props, _: Context) -> Found:
    """The creator of a cluster is no silent administrator."""
    access = cluster.get("accessConfig") or {}
    return (
        access.get("authenticationMode") == "API"
        and access.get("bootstrapClusterCreatorAdminPermissions") is not False
    )


@rule(
    CLUSTER,
    message="deletionProtection is off: set it to true",
    fix="Set deletion_protection=True in stacks that people depend on.",
    severity="medium",
)
def eks_deletion_protected(cluster: Props, _: Context) -> Found:
    """A cluster cannot be deleted by mistake."""
    return cluster.get("deletionProtection") is not True


@rule(
    NODE_GROUP,
    message="subnet {} gives its machines public addresses: put the nodes into private subnets",
    fix="Give the node group private subnets; egress goes through NAT or VPC endpoints.",
    severity="high",
    standard="CIS EKS 1.7.0 5.4.3",
    stack=True,
)
def eks_nodes_private(_: Props, context: Context) -> Found:
    """Nodes have no public address."""
    group = context.resource
    public = [
        subnet
        for subnet in context.stack.of("aws:ec2/subnet:Subnet")
        if subnet.props.get("mapPublicIpOnLaunch") is True
    ]
    linked = group.links.get("subnetIds")
    ids = [] if linked else list(group.props.get("subnetIds") or ())
    return ", ".join(
        each.name
        for each in public
        if (each.urn in linked if linked else each.identities & set(ids))
    )


@rule(
    NODE_GROUP,
    message="remoteAccess opens SSH to the nodes: remove it and use Session Manager",
    fix="Drop remote_access; attach AmazonSSMManagedInstanceCore where a shell is needed.",
    severity="high",
)
def eks_no_ssh(group: Props, _: Context) -> Found:
    """Nobody logs in to nodes over SSH."""
    return bool(group.get("remoteAccess"))


@rule(
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/instance:Instance",
    message="the metadata service hands out credentials too freely: set metadataOptions.httpTokens to required and"
    " httpPutResponseHopLimit to 1",
    fix="Require IMDSv2 with a hop limit of 1, so that pods cannot take the node's role.",
    severity="high",
    standard=("AWS FSBP EC2.170", "AWS FSBP EC2.8"),
)
def imds_v2_only(machine: Props, _: Context) -> Found:
    """A pod cannot take the role of its node through the metadata service."""
    options = machine.get("metadataOptions") or {}
    return (
        options.get("httpTokens") != "required"
        or int(options.get("httpPutResponseHopLimit") or 1) > 1
    )


@rule(
    "kubernetes:karpenter.k8s.aws/*:EC2NodeClass",
    message="the metadata service hands out credentials too freely: set metadataOptions.httpTokens to required and"
    " httpPutResponseHopLimit to 1",
    fix="Require IMDSv2 with a hop limit of 1 in the EC2NodeClass.",
    severity="high",
    standard="AWS FSBP EC2.8",
)
def karpenter_imds_v2_only(node_class: Props, _: Context) -> Found:
    """A pod cannot take the role of a Karpenter node through the metadata service."""
    options = (node_class.get("spec") or {}).get("metadataOptions")
    if options is None:  # Karpenter's own defaults are required and 1
        return None
    return (
        options.get("httpTokens", "required") != "required"
        or int(options.get("httpPutResponseHopLimit", 1)) > 1
    )


@rule(
    "kubernetes:karpenter.sh/*:NodePool",
    message="the pool may grow without end: set spec.limits.cpu and spec.limits.memory",
    fix="Give every NodePool a limit: it caps what a runaway autoscaler can cost.",
    severity="high",
)
def node_pool_limited(pool: Props, _: Context) -> Found:
    """A node pool has a ceiling."""
    limits = (pool.get("spec") or {}).get("limits") or {}
    return not (limits.get("cpu") and limits.get("memory"))


@rule(
    "aws:guardduty/detector:Detector",
    message="{} is off: turn it on",
    fix="Enable the detector, and its features EKS_AUDIT_LOGS and RUNTIME_MONITORING with aws.guardduty.DetectorFeature.",
    severity="medium",
    standard=("AWS FSBP GuardDuty.1", "AWS FSBP GuardDuty.5", "AWS FSBP GuardDuty.11"),
    stack=True,
)
def guardduty_watches(detector: Props, context: Context) -> Found:
    """GuardDuty reads the audit log of the cluster and watches its nodes."""
    if detector.get("enable") is False:
        return "the detector"
    features = context.stack.referring(
        "detectorId", context.resource, "aws:guardduty/detectorFeature:DetectorFeature"
    )
    on = {each.props["name"] for each in features if each.props["status"] == "ENABLED"}
    return ", ".join(name for name in ("EKS_AUDIT_LOGS", "RUNTIME_MONITORING") if name not in on)
