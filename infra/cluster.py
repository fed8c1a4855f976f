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
from infra.access import AccessArgs, grant_access
from infra.identity import PodRole, PodRoleArgs, node_role
from infra.tags import Tags

LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
AUTO_MODE = (
    "AmazonEKSBlockStoragePolicy",
    "AmazonEKSComputePolicy",
    "AmazonEKSLoadBalancingPolicy",
    "AmazonEKSNetworkingPolicy",
)
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

    The control plane comes from `pulumi_eks`; access entries, node groups, add-ons and roles are
    plain AWS resources, so that mocks and policies see them one by one. The component is not
    protected, as it would hand that down to all that it makes: EKS' own deletion protection holds.
    """

    def __init__(
        self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:Cluster", name, {}, opts)
        self._args, self._child = args, pulumi.ResourceOptions(parent=self)
        self.eks = self._control_plane(name)
        self.security_group = self.eks.cluster_security_group_id
        admitted = grant_access(name, self._access(), self._after(self.eks))
        # Nobody is let in before, whoever made the cluster included. And a change of the kubeconfig
        # (a new endpoint, another way to log in) must not replace every object in the cluster.
        self.provider = k8s.Provider(
            name,
            kubeconfig=self.eks.kubeconfig_json,
            cluster_identifier=f"eks/{args.account}/{args.region}/{args.name}",
            enable_server_side_apply=True,
            delete_unreachable=False,
            opts=self._after(self.eks, *admitted),
        )
        nodes = [] if args.auto_mode else [self._system_nodes(name)]
        self.ready: list[pulumi.Resource] = [
            self.eks,
            *admitted,
            *nodes,
            *self._addons(name, nodes),
        ]
        self.register_outputs({"name": args.name, "security_group": self.security_group})

    def _after(self, *resources: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=list(resources))

    def _access(self) -> AccessArgs:
        args = self._args
        return AccessArgs(
            cluster=args.name,
            admins=args.admins,
            viewers=args.viewers,
            nodes=args.ray_node_role,
            tags=args.tags,
        )

    def _control_plane(self, name: str) -> eks.Cluster:
        args = self._args
        role, attached = self._service_role(name)
        logs = self._logs(name)
        public = bool(args.public_cidrs)
        mode: dict[str, Any] = {}
        if args.auto_mode:
            mode = {"auto_mode": {"enabled": True, "create_node_role": True}}
        return eks.Cluster(
            name,
            name=args.name,
            version=args.version,
            service_role=role,
            vpc_id=args.vpc,
            private_subnet_ids=args.subnets,
            node_associate_public_ip_address=False,
            kubernetes_service_ip_address_range=args.service_cidr,
            endpoint_private_access=True,
            endpoint_public_access=public,
            public_access_cidrs=list(args.public_cidrs) if public else None,
            authentication_mode=eks.AuthenticationMode.API,
            encryption_config_key_arn=args.secrets_key,
            enabled_cluster_log_types=list(LOG_TYPES),
            deletion_protection=args.protect,
            upgrade_policy={"support_type": "STANDARD"},
            skip_default_node_group=True,
            create_instance_role=False,
            skip_default_security_groups=True,
            # The add-ons below take the place of what EKS or the component would install by themselves.
            bootstrap_self_managed_addons=False,
            use_default_vpc_cni=True,
            coredns_addon_options={"enabled": False},
            kube_proxy_addon_options={"enabled": False},
            create_oidc_provider=False,
            tags=args.tags.of(args.name),
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=[logs, *attached],
                transforms=[without_hidden_admin],
            ),
            **mode,
        )

    def _logs(self, name: str) -> aws.cloudwatch.LogGroup:
        """Made before the cluster and deleted after it: EKS makes the group, without end and key,
        whenever it writes and finds none, and the next `up` would find one that exists."""
        label, args = f"{name}-control-plane", self._args
        return aws.cloudwatch.LogGroup(
            label,
            name=f"/aws/eks/{args.name}/cluster",
            retention_in_days=args.log_days,
            kms_key_id=args.log_key,
            tags=args.tags.of(label),
            opts=self._child,
        )

    def _service_role(self, name: str) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
        """The control plane's role, and what is attached to it: EKS needs both for as long as there
        is a cluster, to take its network interfaces away too."""
        label, args = f"{name}-control-plane", self._args
        actions = ("sts:AssumeRole", "sts:TagSession")
        trust = grants.trust_service("eks.amazonaws.com", actions, args.account)
        role = aws.iam.Role(
            label,
            assume_role_policy=json.dumps(trust),
            tags=args.tags.of(label),
            opts=self._child,
        )
        attached: list[pulumi.Resource] = [
            aws.iam.RolePolicyAttachment(
                f"{name}-{policy}",
                role=role.name,
                policy_arn=f"arn:aws:iam::aws:policy/{policy}",
                opts=self._child,
            )
            for policy in ("AmazonEKSClusterPolicy", *(AUTO_MODE if args.auto_mode else ()))
        ]
        return role, attached

    def _system_nodes(self, name: str) -> aws.eks.NodeGroup:
        """Two on-demand nodes for operators and controllers; never for Ray."""
        args, label = self._args, f"{name}-system"
        made = node_role(label, args.tags, self._child)
        return node_group(
            label,
            args.name,
            made.role.arn,
            args.subnets,
            args.instance_types,
            launch_template(label, args.tags, self._child),
            (2, 2, 4),
            {"vigil/pool": "system"},
            args.tags,
            self._after(self.eks, *made.attached),
        )

    def _addons(self, name: str, nodes: list[aws.eks.NodeGroup]) -> list[aws.eks.Addon]:
        args = self._args
        wanted: dict[str, dict[str, Any]] = {"metrics-server": {}}
        roles: dict[str, PodRole] = {}
        if not args.auto_mode:  # Auto Mode brings these along
            settings = {"configuration_values": json.dumps({"enableNetworkPolicy": "true"})}
            wanted |= {"vpc-cni": settings, "kube-proxy": {}, "coredns": {}}
            wanted["eks-pod-identity-agent"] = {}
            disks = ("AmazonEBSCSIDriverPolicy",)
            roles["aws-ebs-csi-driver"] = self._driver("ebs-csi-controller-sa", name, disks)
        if args.file_system_arn is not None:
            files = pulumi.Output.from_input(args.file_system_arn).apply(
                lambda arn: grants.policy_document(grants.mount_files(arn, "true"))
            )
            roles["aws-efs-csi-driver"] = self._driver(
                "efs-csi-controller-sa",
                name,
                document=files,
            )
        for addon, role in roles.items():
            wanted[addon] = {"pod_identity_associations": [role.association]}
        # Nodes are ready only with these.
        before = {"vpc-cni", "kube-proxy", "eks-pod-identity-agent"}
        made = []
        for addon, more in wanted.items():
            needs = [self.eks, *([] if addon in before else nodes)]
            if addon in roles:
                needs.append(roles[addon])
            made.append(self._addon(name, addon, more, self._after(*needs)))
        return made

    def _addon(
        self,
        name: str,
        addon: str,
        more: dict[str, Any],
        opts: pulumi.ResourceOptions,
    ) -> aws.eks.Addon:
        return aws.eks.Addon(
            f"{name}-{addon}",
            cluster_name=self._args.name,
            addon_name=addon,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            tags=self._args.tags.of(addon),
            opts=opts,
            **more,
        )

    def _driver(
        self,
        service_account: str,
        name: str,
        managed: tuple[str, ...] = (),
        document: Any = None,
    ) -> PodRole:
        args = self._args
        arns = [f"arn:aws:iam::aws:policy/service-role/{policy}" for policy in managed]
        return PodRole(
            f"{name}-{service_account.removesuffix('-controller-sa')}",
            PodRoleArgs(
                account=args.account,
                region=args.region,
                cluster=args.name,
                namespace="kube-system",
                service_account=service_account,
                tags=args.tags,
                document=document,
                managed=arns,
                associate=False,
            ),
            self._child,
        )


def without_hidden_admin(
    args: pulumi.ResourceTransformArgs,
) -> pulumi.ResourceTransformResult | None:
    """Tell the component's own child that whoever makes the cluster is not for ever its admin.

    `pulumi_eks` says the contrary, and takes no argument for it. EKS would also make an access
    entry for that principal, and then refuse the one of `adminPrincipals`.
    """
    if args.type_ != "aws:eks/cluster:Cluster":
        return None
    access_config = {
        "authenticationMode": eks.AuthenticationMode.API.value,
        "bootstrapClusterCreatorAdminPermissions": False,
    }
    return pulumi.ResourceTransformResult({**args.props, "accessConfig": access_config}, args.opts)


def launch_template(name: str, tags: Tags, opts: pulumi.ResourceOptions) -> aws.ec2.LaunchTemplate:
    """Encrypted gp3 disk, metadata by session token only and not for pods."""
    return aws.ec2.LaunchTemplate(
        name,
        update_default_version=True,
        tags=tags.of(name),
        opts=opts,
        metadata_options={
            "http_endpoint": "enabled",
            "http_tokens": "required",
            "http_put_response_hop_limit": 1,
        },
        block_device_mappings=[
            {
                "device_name": "/dev/xvda",
                "ebs": {
                    "volume_size": DISK_GIB,
                    "volume_type": "gp3",
                    "encrypted": "true",
                    "delete_on_termination": "true",
                },
            }
        ],
        tag_specifications=[
            {"resource_type": kind, "tags": tags.of(name)} for kind in ("instance", "volume")
        ],
    )


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
    taints: Any = (
        [{"key": "vigil/pool", "value": taint, "effect": "NO_SCHEDULE"}] if taint else None
    )
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
