"""The component of the package that is a Kubernetes cluster on AWS."""

from typing import NotRequired, TypedDict

import pulumi

from infra.arns import AwsPlace
from infra.cluster import Cluster, ClusterArgs
from infra.component import Resources
from infra.package.ownership import (
    Ownership,
    PackageComponent,
    owner_tags,
    stack_default,
)


class ClusterInputs(TypedDict):
    """A cluster of EKS in a network that exists."""

    ownership: Ownership
    """The tags that everything carries"""
    account: str
    """AWS account"""
    region: str
    """AWS region"""
    vpc_id: pulumi.Input[str]
    """The VPC"""
    subnet_ids: pulumi.Input[list[pulumi.Input[str]]]
    """Subnets for nodes, with a way out"""
    secrets_key: pulumi.Input[str]
    """ARN of the KMS key that secrets of Kubernetes are encrypted with"""
    log_key: pulumi.Input[str]
    """ARN of the KMS key that logs of the control plane are encrypted with"""
    admins: dict[str, pulumi.Input[str]]
    """ARNs of roles that administer it, each under a label; that of `pulumi up` included"""
    viewers: NotRequired[dict[str, pulumi.Input[str]]]
    """ARNs of roles that may look into it, each under a label"""
    version: NotRequired[str]
    """Version of Kubernetes; default that of a stack"""
    auto_mode: NotRequired[bool]
    """EKS Auto Mode adds nodes (default); without it there are two system nodes, and no others"""
    node_role: NotRequired[pulumi.Input[str]]
    """ARN of the role of nodes that the program adds"""
    system_instance_types: NotRequired[list[str]]
    """Instance types of the system nodes; default those of a stack"""
    service_cidr: NotRequired[str]
    """Addresses of services; default those of a stack"""
    public_cidrs: NotRequired[list[str]]
    """Who may reach the API from outside; nobody by default"""
    log_days: NotRequired[int]
    """Days that logs of the control plane are kept; default that of a stack"""
    file_systems: NotRequired[pulumi.Input[str]]
    """ARN of the EFS file systems that pods may mount; may end in `*`; none by default"""
    protect: NotRequired[bool]
    """Refuse to delete it"""


class PlatformCluster(PackageComponent):
    """Control plane, add-ons, who may enter, and system nodes or EKS Auto Mode.

    Its name is that of the cluster; a network of the same name is found by its load balancers.
    """

    kubeconfig: pulumi.Output[str]
    """How to reach it, for a provider of Kubernetes; told once nodes and add-ons stand"""
    security_group: pulumi.Output[str]
    """Security group of control plane and nodes: the clients of a database"""

    def __init__(
        self,
        name: str,
        args: ClusterInputs,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__(name, opts)
        made = Cluster(name, _cluster_args(name, args), self.own)
        self.kubeconfig = _told_after(made.eks.kubeconfig_json, made.ready)
        self.security_group = made.security_group
        outputs = {"kubeconfig": self.kubeconfig, "securityGroup": self.security_group}
        self.register_outputs(outputs)


def _told_after(value: pulumi.Output[str], resources: Resources) -> pulumi.Output[str]:
    """Return the value, which waits for the resources."""
    return pulumi.Output.all(value, *_urns(resources)).apply(_first)


def _urns(resources: Resources) -> list[pulumi.Output[str]]:
    return [one.urn for one in resources]


def _first(values: list[str]) -> str:
    return values[0]


def _cluster_args(name: str, args: ClusterInputs) -> ClusterArgs:
    types = args.get("system_instance_types", stack_default("system_instance_types"))
    return ClusterArgs(
        name=name,
        version=args.get("version", stack_default("kubernetes_version")),
        place=AwsPlace(args["account"], args["region"]),
        auto_mode=args.get("auto_mode", True),
        vpc=args["vpc_id"],
        subnets=args["subnet_ids"],
        service_cidr=args.get("service_cidr", stack_default("service_cidr")),
        public_cidrs=tuple(args.get("public_cidrs", ())),
        admins=args["admins"],
        viewers=args.get("viewers", {}),
        ray_node_role=args.get("node_role"),
        instance_types=tuple(types),
        secrets_key=args["secrets_key"],
        log_key=args["log_key"],
        log_days=int(args.get("log_days", stack_default("log_retention_days"))),
        file_system_arn=args.get("file_systems"),
        protect=args.get("protect", False),
        tags=owner_tags(args["ownership"]),
    )
