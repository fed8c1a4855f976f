"""The EKS cluster: control plane, system nodes, add-ons. Nodes for Ray come from nodes.py."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import pulumi
import pulumi_aws as aws
import pulumi_eks as eks
import pulumi_kubernetes as k8s

from infra.access import AccessArgs, grant_access
from infra.arns import AwsPlace, managed_policy
from infra.component import Component, Options, Resources, SubnetIds
from infra.grants import Document, mount_files, policy_document
from infra.identity import PodRole, PodRoleArgs, attach_policy, node_role
from infra.node_groups import NodeGroupArgs, PoolSize, launch_template, node_group
from infra.tags import Tags
from infra.trust import trust_service
from vigil.json_types import JsonObject

LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
_CLUSTER_POLICY = "AmazonEKSClusterPolicy"
_AUTO_MODE_POLICIES = (
    "AmazonEKSBlockStoragePolicy",
    "AmazonEKSComputePolicy",
    "AmazonEKSLoadBalancingPolicy",
    "AmazonEKSNetworkingPolicy",
)
_DISK_POLICY = managed_policy("service-role/AmazonEBSCSIDriverPolicy")


@dataclass(frozen=True, kw_only=True)
class ClusterArgs:
    """`public_cidrs`: who may reach the API from outside; none leaves it private.

    `admins`, `viewers`: label -> role ARN.
    """

    name: str
    version: str
    place: AwsPlace
    auto_mode: bool
    vpc: pulumi.Input[str]
    subnets: SubnetIds
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

    @property
    def identifier(self) -> str:
        """The cluster as Pulumi tells it from others."""
        return f"eks/{self.place.account}/{self.place.region}/{self.name}"

    @property
    def control_plane_policies(self) -> list[str]:
        """ARNs of what the control plane's role needs."""
        modes = _AUTO_MODE_POLICIES if self.auto_mode else ()
        return [managed_policy(name) for name in (_CLUSTER_POLICY, *modes)]

    def access(self) -> AccessArgs:
        """Who enters the cluster."""
        return AccessArgs(
            cluster=self.name,
            admins=self.admins,
            viewers=self.viewers,
            nodes=self.ray_node_role,
            tags=self.tags,
        )

    def endpoint(self) -> JsonObject:
        """How the API is reached."""
        return {
            "endpoint_private_access": True,
            "endpoint_public_access": bool(self.public_cidrs),
            "public_access_cidrs": list(self.public_cidrs) or None,
        }

    def node_mode(self) -> JsonObject:
        """Who adds nodes, as far as EKS does."""
        if not self.auto_mode:
            return {}
        return {"auto_mode": {"enabled": True, "create_node_role": True}}


@dataclass(frozen=True)
class Addon:
    """An add-on of EKS. Nodes are not ready without those that come `before_nodes`."""

    name: str
    settings: JsonObject = field(default_factory=dict)
    role: PodRole | None = None
    before_nodes: bool = False

    @property
    def arguments(self) -> JsonObject:
        """What the resource is given besides its name."""
        if self.role is None:
            return self.settings
        return self.settings | {"pod_identity_associations": [self.role.association]}


class Cluster(Component):
    """Access by IAM alone (access entries), secrets encrypted, every control-plane log on.

    The control plane comes from `pulumi_eks`; access entries, node groups, add-ons and roles are
    plain AWS resources, so that mocks and policies see them one by one. The component is not
    protected, as it would hand that down to all that it makes: EKS' own deletion protection holds.
    """

    def __init__(
        self,
        name: str,
        args: ClusterArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:Cluster", name, {}, opts)
        self._args = args
        self.eks = self._control_plane(name)
        self.security_group = self.eks.cluster_security_group_id
        admitted = grant_access(name, args.access(), self.after(self.eks))
        self.provider = self._kubernetes(name, admitted)
        nodes = [] if args.auto_mode else [self._system_nodes(name)]
        addons = [self._addon(name, addon, nodes) for addon in self._wanted_addons(name)]
        self.ready: Resources = [self.eks, *admitted, *nodes, *addons]
        self.register_outputs({"name": args.name, "security_group": self.security_group})

    def _kubernetes(self, name: str, admitted: Resources) -> k8s.Provider:
        """The provider of what is in the cluster.

        Nobody is let in before, whoever made the cluster included. And a change of the kubeconfig
        (a new endpoint, another way to log in) must not replace every object in the cluster.
        """
        return k8s.Provider(
            name,
            kubeconfig=self.eks.kubeconfig_json,
            cluster_identifier=self._args.identifier,
            enable_server_side_apply=True,
            delete_unreachable=False,
            opts=self.after(self.eks, *admitted),
        )

    def _control_plane(self, name: str) -> eks.Cluster:
        args = self._args
        role, attached = self._service_role(name)
        before = self.after(self._logs(name), *attached)
        opts = pulumi.ResourceOptions(transforms=[without_hidden_admin])
        return eks.Cluster(
            name,
            name=args.name,
            version=args.version,
            service_role=role,
            vpc_id=args.vpc,
            private_subnet_ids=args.subnets,
            node_associate_public_ip_address=False,
            kubernetes_service_ip_address_range=args.service_cidr,
            authentication_mode=eks.AuthenticationMode.API,
            encryption_config_key_arn=args.secrets_key,
            enabled_cluster_log_types=list(LOG_TYPES),
            deletion_protection=args.protect,
            upgrade_policy={"support_type": "STANDARD"},
            skip_default_node_group=True,
            create_instance_role=False,
            skip_default_security_groups=True,
            # The add-ons below take the place of what EKS or the component would install.
            bootstrap_self_managed_addons=False,
            use_default_vpc_cni=True,
            coredns_addon_options={"enabled": False},
            kube_proxy_addon_options={"enabled": False},
            create_oidc_provider=False,
            tags=args.tags.of(args.name),
            opts=pulumi.ResourceOptions.merge(before, opts),
            **args.endpoint(),
            **args.node_mode(),
        )

    def _logs(self, name: str) -> aws.cloudwatch.LogGroup:
        """The log group of the control plane, made before the cluster and deleted after it.

        EKS makes the group, without end and key, whenever it writes and finds none, and the next
        `up` would find one that exists.
        """
        label = f"{name}-control-plane"
        args = self._args
        return aws.cloudwatch.LogGroup(
            label,
            name=f"/aws/eks/{args.name}/cluster",
            retention_in_days=args.log_days,
            kms_key_id=args.log_key,
            tags=args.tags.of(label),
            opts=self.child,
        )

    def _service_role(self, name: str) -> tuple[aws.iam.Role, Resources]:
        """The control plane's role, and what is attached to it.

        EKS needs both for as long as there is a cluster, to take its network interfaces away too.
        """
        label = f"{name}-control-plane"
        args = self._args
        actions = ("sts:AssumeRole", "sts:TagSession")
        trust = trust_service("eks.amazonaws.com", actions, args.place.account)
        role = aws.iam.Role(
            label,
            assume_role_policy=json.dumps(trust),
            tags=args.tags.of(label),
            opts=self.child,
        )
        attached = [
            attach_policy(
                name,
                role,
                arn,
                opts=self.child,
            )
            for arn in args.control_plane_policies
        ]
        return role, [*attached]

    def _system_nodes(self, name: str) -> aws.eks.NodeGroup:
        """Two on-demand nodes for operators and controllers; never for Ray."""
        args = self._args
        label = f"{name}-system"
        nodes = node_role(label, args.tags, self.child)
        group = NodeGroupArgs(
            cluster=args.name,
            pool="system",
            role=nodes.role.arn,
            subnets=args.subnets,
            instance_types=args.instance_types,
            template=launch_template(label, args.tags, self.child),
            size=PoolSize(
                min=2,
                desired=2,
                max=4,
            ),
            tags=args.tags,
        )
        return node_group(label, group, self.after(self.eks, *nodes.attached))

    def _wanted_addons(self, name: str) -> Iterator[Addon]:
        yield Addon("metrics-server")
        if not self._args.auto_mode:
            yield from self._addons_of_own_nodes(name)
        if self._args.file_system_arn is not None:
            yield Addon("aws-efs-csi-driver", role=self._file_driver(name))

    def _addons_of_own_nodes(self, name: str) -> Iterator[Addon]:
        """What Auto Mode brings along."""
        policies = {"configuration_values": json.dumps({"enableNetworkPolicy": "true"})}
        yield Addon("vpc-cni", policies, before_nodes=True)
        yield Addon("kube-proxy", before_nodes=True)
        yield Addon("coredns")
        yield Addon("eks-pod-identity-agent", before_nodes=True)
        yield Addon("aws-ebs-csi-driver", role=self._disk_driver(name))

    def _addon(
        self,
        name: str,
        addon: Addon,
        nodes: list[aws.eks.NodeGroup],
    ) -> aws.eks.Addon:
        before: Resources = [self.eks]
        if not addon.before_nodes:
            before.extend(nodes)
        if addon.role is not None:
            before.append(addon.role)
        return aws.eks.Addon(
            f"{name}-{addon.name}",
            cluster_name=self._args.name,
            addon_name=addon.name,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            tags=self._args.tags.of(addon.name),
            opts=self.after(*before),
            **addon.arguments,
        )

    def _disk_driver(self, name: str) -> PodRole:
        return self._driver(name, "ebs-csi", managed=[_DISK_POLICY])

    def _file_driver(self, name: str) -> PodRole:
        document = pulumi.Output.from_input(self._args.file_system_arn).apply(
            lambda arn: policy_document(mount_files(str(arn), "true"))
        )
        return self._driver(name, "efs-csi", document=document)

    def _driver(
        self,
        name: str,
        driver: str,
        *,
        managed: list[str] | None = None,
        document: pulumi.Output[Document] | None = None,
    ) -> PodRole:
        args = PodRoleArgs(
            place=self._args.place,
            cluster=self._args.name,
            namespace="kube-system",
            service_account=f"{driver}-controller-sa",
            tags=self._args.tags,
            document=document,
            managed=managed or [],
            associate=False,
        )
        return PodRole(f"{name}-{driver}", args, self.child)


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
