"""The EKS cluster: control plane, system nodes, add-ons. Nodes for Ray come from nodes.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as k8s

from infra import grants
from infra.identity import PodRole, PodRoleArgs, node_role
from infra.tags import Tags

LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
POLICY = "arn:aws:eks::aws:cluster-access-policy"
DISK_GIB = 50


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """`public_cidrs`: who may reach the API from outside; none leaves it private. `admins`, `viewers`: label -> role ARN."""

    name: str
    version: str
    account: str
    region: str
    auto_mode: bool
    vpc: pulumi.Input[str]
    subnets: list[pulumi.Output[str]]
    service_cidr: str
    public_cidrs: tuple[str, ...]
    admins: Mapping[str, pulumi.Input[str]]
    viewers: Mapping[str, pulumi.Input[str]]
    ray_node_role: pulumi.Input[str] | None
    instance_types: tuple[str, ...]
    secrets_key: pulumi.Input[str]
    log_key: pulumi.Input[str]
    log_days: int
    file_system_arn: pulumi.Input[str] | None
    protect: bool
    tags: Tags


class Cluster(pulumi.ComponentResource):
    """Access by IAM alone (access entries), secrets encrypted, every control-plane log on.

    The control plane comes from `pulumi_eks`; node groups, add-ons and roles are plain AWS resources, so that mocks and policies
    see them one by one.
    """

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("vigil:infra:Cluster", name, {}, opts)
        self._args, self._child = args, pulumi.ResourceOptions(parent=self)
        aws.cloudwatch.LogGroup(
            f"{name}-control-plane",
            name=f"/aws/eks/{args.name}/cluster",
            retention_in_days=args.log_days,
            kms_key_id=args.log_key,
            tags=args.tags.of(f"{name}-control-plane"),
            opts=self._child,
        )
        self.eks = self._control_plane(name)
        self.security_group = self.eks.cluster_security_group_id
        # A change of the kubeconfig (a new endpoint, another way to log in) must not replace every object in the cluster.
        self.provider = k8s.Provider(
            name,
            kubeconfig=self.eks.kubeconfig_json,
            cluster_identifier=f"eks/{args.account}/{args.region}/{args.name}",
            enable_server_side_apply=True,
            delete_unreachable=False,
            opts=self._child,
        )
        nodes = [] if args.auto_mode else [self._system_nodes(name)]
        self.ready: list[pulumi.Resource] = [self.eks, *nodes, *self._addons(name, nodes)]
        self.register_outputs({"name": args.name, "security_group": self.security_group})

    def _control_plane(self, name: str) -> eks.Cluster:
        args = self._args
        trust = json.dumps(grants.trust_service("eks.amazonaws.com", ("sts:AssumeRole", "sts:TagSession"), args.account))
        role = aws.iam.Role(
            f"{name}-control-plane", assume_role_policy=trust, tags=args.tags.of(f"{name}-control-plane"), opts=self._child
        )
        auto = (
            "AmazonEKSBlockStoragePolicy",
            "AmazonEKSComputePolicy",
            "AmazonEKSLoadBalancingPolicy",
            "AmazonEKSNetworkingPolicy",
        )
        for policy in ("AmazonEKSClusterPolicy", *(auto if args.auto_mode else ())):
            aws.iam.RolePolicyAttachment(
                f"{name}-{policy}", role=role.name, policy_arn=f"arn:aws:iam::aws:policy/{policy}", opts=self._child
            )
        mode: dict[str, Any] = {"auto_mode": {"enabled": True, "create_node_role": True}} if args.auto_mode else {}
        public = bool(args.public_cidrs)
        return eks.Cluster(
            name, name=args.name, version=args.version, service_role=role, vpc_id=args.vpc, private_subnet_ids=args.subnets,
            node_associate_public_ip_address=False, kubernetes_service_ip_address_range=args.service_cidr,
            endpoint_private_access=True, endpoint_public_access=public,
            public_access_cidrs=list(args.public_cidrs) if public else None,
            authentication_mode=eks.AuthenticationMode.API, access_entries=self._access(),
            encryption_config_key_arn=args.secrets_key, enabled_cluster_log_types=list(LOG_TYPES),
            deletion_protection=args.protect, upgrade_policy={"support_type": "STANDARD"},
            skip_default_node_group=True, create_instance_role=False, skip_default_security_groups=True,
            # The add-ons below take the place of what EKS or the component would install by themselves.
            bootstrap_self_managed_addons=False, use_default_vpc_cni=True, coredns_addon_options={"enabled": False},
            kube_proxy_addon_options={"enabled": False}, create_oidc_provider=False, tags=args.tags.of(args.name),
            opts=pulumi.ResourceOptions(parent=self, protect=args.protect), **mode,
        )  # fmt: skip

    def _access(self) -> dict[str, Any]:
        def entry(arn: pulumi.Input[str], policy: str) -> dict[str, Any]:
            scope = {"access_policy": {"policy_arn": f"{POLICY}/{policy}", "access_scope": {"type": "cluster"}}}
            return {
                "principal_arn": arn,
                "type": eks.AccessEntryType.STANDARD,
                "access_policies": scope,
                "tags": self._args.tags.common(),
            }

        found = {label: entry(arn, "AmazonEKSClusterAdminPolicy") for label, arn in self._args.admins.items()}
        found |= {label: entry(arn, "AmazonEKSAdminViewPolicy") for label, arn in self._args.viewers.items()}
        if self._args.ray_node_role is not None:
            found["nodes"] = {"principal_arn": self._args.ray_node_role, "type": eks.AccessEntryType.EC2_LINUX}
        return found

    def _system_nodes(self, name: str) -> aws.eks.NodeGroup:
        """Two on-demand nodes for operators and controllers; never for Ray."""
        args, label = self._args, f"{name}-system"
        role = node_role(label, args.tags, self._child)
        template = launch_template(label, args.tags, self._child)
        return node_group(
            label,
            args.name,
            role.arn,
            args.subnets,
            args.instance_types,
            template,
            (2, 2, 4),
            {"vigil/pool": "system"},
            args.tags,
            pulumi.ResourceOptions(parent=self, depends_on=[self.eks]),
        )

    def _addons(self, name: str, nodes: list[aws.eks.NodeGroup]) -> list[aws.eks.Addon]:
        args = self._args
        wanted: dict[str, dict[str, Any]] = {}
        if not args.auto_mode:  # Auto Mode brings these along
            wanted = {
                "vpc-cni": {"configuration_values": json.dumps({"enableNetworkPolicy": "true"})},
                "kube-proxy": {},
                "coredns": {},
                "eks-pod-identity-agent": {},
                "aws-ebs-csi-driver": self._driver("ebs-csi-controller-sa", name, managed=("AmazonEBSCSIDriverPolicy",)),
            }
        wanted["metrics-server"] = {}
        if args.file_system_arn is not None:
            files = pulumi.Output.from_input(args.file_system_arn).apply(
                lambda arn: grants.document(grants.mount_files(arn, "true"))
            )
            wanted["aws-efs-csi-driver"] = self._driver("efs-csi-controller-sa", name, document=files)
        before = {"vpc-cni", "kube-proxy", "eks-pod-identity-agent"}  # nodes are ready only with these
        return [
            aws.eks.Addon(
                f"{name}-{addon}", cluster_name=args.name, addon_name=addon, resolve_conflicts_on_create="OVERWRITE",
                resolve_conflicts_on_update="OVERWRITE", tags=args.tags.of(addon),
                opts=pulumi.ResourceOptions(parent=self, depends_on=[self.eks, *([] if addon in before else nodes)]), **more,
            )
            for addon, more in wanted.items()
        ]  # fmt: skip

    def _driver(self, service_account: str, name: str, managed: tuple[str, ...] = (), document: Any = None) -> dict[str, Any]:
        args = self._args
        arns = [f"arn:aws:iam::aws:policy/service-role/{policy}" for policy in managed]
        role = PodRole(
            f"{name}-{service_account.removesuffix('-controller-sa')}",
            PodRoleArgs(
                account=args.account, region=args.region, cluster=args.name, namespace="kube-system",
                service_account=service_account, tags=args.tags, document=document, managed=arns, associate=False,
            ),
            self._child,
        )  # fmt: skip
        return {"pod_identity_associations": [{"role_arn": role.role.arn, "service_account": service_account}]}


def launch_template(name: str, tags: Tags, opts: pulumi.ResourceOptions) -> aws.ec2.LaunchTemplate:
    """Encrypted gp3 disk, metadata by session token only and not for pods."""
    return aws.ec2.LaunchTemplate(
        name, update_default_version=True, tags=tags.of(name), opts=opts,
        metadata_options={"http_endpoint": "enabled", "http_tokens": "required", "http_put_response_hop_limit": 1},
        block_device_mappings=[{"device_name": "/dev/xvda", "ebs": {
            "volume_size": DISK_GIB, "volume_type": "gp3", "encrypted": "true", "delete_on_termination": "true"}}],
        tag_specifications=[{"resource_type": kind, "tags": tags.of(name)} for kind in ("instance", "volume")],
    )  # fmt: skip


def node_group(
    name: str,
    cluster: pulumi.Input[str],
    role: pulumi.Input[str],
    subnets: list[pulumi.Output[str]],
    types: tuple[str, ...],
    template: aws.ec2.LaunchTemplate,
    sizes: tuple[int, int, int],
    labels: dict[str, str],
    tags: Tags,
    opts: pulumi.ResourceOptions,
    taint: str | None = None,
) -> aws.eks.NodeGroup:
    """On-demand nodes in private subnets, without SSH; `sizes` are least, wanted, most."""
    taints: Any = [{"key": "vigil/pool", "value": taint, "effect": "NO_SCHEDULE"}] if taint else None
    return aws.eks.NodeGroup(
        name,
        cluster_name=cluster,
        node_role_arn=role,
        subnet_ids=subnets,
        instance_types=list(types),
        capacity_type="ON_DEMAND",
        ami_type="AL2023_x86_64_STANDARD",
        launch_template={"id": template.id, "version": template.latest_version.apply(str)},
        scaling_config={"min_size": sizes[0], "desired_size": sizes[1], "max_size": sizes[2]},
        update_config={"max_unavailable": 1},
        labels=labels,
        taints=taints,
        tags=tags.of(name),
        opts=opts,
    )
