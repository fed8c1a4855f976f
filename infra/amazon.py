"""Wires the AWS components of one environment together, in the order of `pulumi up`."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from infra.access import label_principals
from infra.budget import Budget, BudgetArgs
from infra.cluster import Cluster, ClusterArgs
from infra.component import Resources
from infra.database import ClusterState, ClusterStateArgs, Database, DatabaseArgs
from infra.identity import GitHub, GitHubArgs, NodeRole, node_role
from infra.images import Images, ImagesArgs
from infra.keys import Keys, KeysArgs
from infra.kinesis import LeaseTable, LeaseTableArgs, Stream, StreamArgs
from infra.manifests.bindings import Bindings
from infra.network import Network, NetworkArgs
from infra.node_groups import PoolSize
from infra.nodes import Karpenter, KarpenterArgs, StaticNodes, StaticNodesArgs
from infra.security_groups import PlacementArgs
from infra.settings import PlatformSettings
from infra.storage import Buckets, BucketsArgs, SharedFolder, SharedFolderArgs
from infra.workload_roles import WorkloadRoles
from vigil.json_types import JsonObject

ACCESS_LOG_DAYS = 365


@dataclass(frozen=True)
class Amazon:
    """What the Kubernetes part and the exports need of AWS."""

    provider: k8s.Provider
    kubeconfig: pulumi.Output[str]
    bindings: Bindings
    ready: Resources
    exports: JsonObject


def provision(settings: PlatformSettings, secrets: JsonObject) -> Amazon:
    """Everything on AWS; `secrets` are the values of `needed_secrets`."""
    stack = _AmazonStack(settings, secrets)
    stack.watch_spending()
    return stack.result()


class _AmazonStack:
    """The components of a stack on AWS, each made from the settings and those before it."""

    def __init__(self, settings: PlatformSettings, secrets: JsonObject) -> None:
        self._settings = settings
        self._secrets = secrets
        self._opts = pulumi.ResourceOptions(provider=_provider(settings))
        self.keys = self._keys()
        self.network = self._network()
        self.buckets = self._buckets()
        self.images = self._images()
        self.stream = self._stream()
        self.ray_nodes = self._ray_node_role()
        self.cluster = self._cluster()
        self.nodes = self._nodes()
        self.files = self._shared_folder()
        self.database = self._database()
        self.redis = self._redis()
        self.roles = self._roles()

    def result(self) -> Amazon:
        """What others need of it.

        EKS hands a role out as a pod is made: one that starts before the association stands never
        gets it.
        """
        return Amazon(
            provider=self.cluster.provider,
            kubeconfig=self.cluster.eks.kubeconfig_json,
            bindings=self._bindings(),
            ready=[*self.cluster.ready, *self.nodes, *self.roles],
            exports=self._exports(),
        )

    def _bindings(self) -> Bindings:
        return Bindings(
            database_host=self.database.address,
            database_secret=self.database.secret_arn,
            file_system=self.files,
            redis_address=self.redis,
        )

    def _exports(self) -> JsonObject:
        buckets = self.buckets.buckets.items()
        return {
            "cluster": self._settings.name,
            "vpc": self.network.vpc.id,
            "stream": self.stream.stream.name,
            "images": self.images.urls,
            "databaseHost": self.database.address,
            "fileSystem": self.files,
            "buckets": {purpose: bucket.bucket for purpose, bucket in buckets},
        }

    @property
    def _key(self) -> pulumi.Output[str]:
        """ARN of the key for data at rest."""
        return self.keys.data.arn

    @property
    def _intra(self) -> PlacementArgs:
        """Where stores live: without a way out, open to the nodes alone."""
        return PlacementArgs(
            vpc=self.network.vpc.id,
            subnets=[subnet.id for subnet in self.network.intra],
            clients=self.cluster.security_group,
            key=self._key,
            tags=self._settings.tags,
        )

    @property
    def _private(self) -> list[pulumi.Output[str]]:
        """Subnets of the nodes."""
        return [subnet.id for subnet in self.network.private]

    def _keys(self) -> Keys:
        settings = self._settings
        args = KeysArgs(
            name=settings.name,
            place=settings.place,
            protect=settings.protect,
            tags=settings.tags,
        )
        return Keys("keys", args, self._opts)

    def _network(self) -> Network:
        settings = self._settings
        args = NetworkArgs(
            cidr=settings.vpc_cidr,
            zones=settings.zone_names,
            nat_per_zone=settings.nat_per_zone,
            interface_endpoints=settings.interface_endpoints,
            region=settings.region,
            account=settings.account_id,
            cluster=settings.name,
            log_key=self._key,
            log_days=settings.log_retention_days,
            protect=settings.protect,
            tags=settings.tags,
        )
        return Network(settings.name, args, self._opts)

    def _buckets(self) -> Buckets:
        settings = self._settings
        names = {purpose: settings.bucket(purpose) for purpose in settings.bucket_purposes}
        args = BucketsArgs(
            buckets=names,
            expire_days={"captured": settings.captured_days, "logs": ACCESS_LOG_DAYS},
            account=settings.account_id,
            key=self._key,
            protect=settings.protect,
            tags=settings.tags,
        )
        return Buckets("buckets", args, self._opts)

    def _images(self) -> Images:
        settings = self._settings
        args = ImagesArgs(
            repositories=(f"{settings.name}/vigil",),
            key=self._key,
            protect=settings.protect,
            tags=settings.tags,
        )
        return Images("images", args, self._opts)

    def _stream(self) -> Stream:
        settings = self._settings
        if settings.serve.stream_source:
            self._lease_table()
        args = StreamArgs(
            mode=settings.stream_mode,
            shards=settings.stream_shards,
            hours=settings.stream_hours,
            key=self._key,
            protect=settings.protect,
            tags=settings.tags,
        )
        return Stream(settings.name, args, self._opts)

    def _lease_table(self) -> None:
        settings = self._settings
        args = LeaseTableArgs(
            name=settings.lease_table,
            key=self._key,
            tags=settings.tags,
        )
        LeaseTable(f"{settings.name}-leases", args, self._opts)

    def _ray_node_role(self) -> NodeRole | None:
        settings = self._settings
        if settings.nodes != "karpenter":
            return None
        return node_role(f"{settings.name}-ray-node", settings.tags, self._opts)

    def _cluster(self) -> Cluster:
        """The cluster, and who may do what in it."""
        settings = self._settings
        admins = label_principals(settings.admin_principals)
        viewers = label_principals(settings.viewer_principals)
        if settings.github_repository:
            github = self._github()
            admins["apply"] = github.apply.arn
            viewers["plan"] = github.plan.arn
        args = ClusterArgs(
            name=settings.name,
            version=settings.kubernetes_version,
            place=settings.place,
            auto_mode=settings.nodes == "auto",
            vpc=self.network.vpc.id,
            subnets=self._private,
            service_cidr=settings.service_cidr,
            public_cidrs=settings.public_access_cidrs,
            admins=admins,
            viewers=viewers,
            ray_node_role=self.ray_nodes.role.arn if self.ray_nodes else None,
            instance_types=settings.system_instance_types,
            secrets_key=self.keys.secrets.arn,
            log_key=self._key,
            log_days=settings.log_retention_days,
            file_system_arn=_file_systems(settings),
            protect=settings.protect,
            tags=settings.tags,
        )
        return Cluster(settings.name, args, self._opts)

    def _github(self) -> GitHub:
        settings = self._settings
        args = GitHubArgs(
            name=settings.name,
            place=settings.place,
            repository=settings.github_repository,
            environment=settings.environment,
            state_bucket=settings.state_bucket,
            tags=settings.tags,
        )
        return GitHub(f"{settings.name}-github", args, self._opts)

    def _nodes(self) -> Resources:
        """What must stand before Ray's nodes can be made, or the nodes themselves."""
        if self.ray_nodes is not None:
            return [*self.ray_nodes.attached, self._karpenter(self.ray_nodes)]
        if self._settings.nodes == "static":
            return [self._static_nodes()]
        return []

    @property
    def _after_cluster(self) -> pulumi.ResourceOptions:
        after = pulumi.ResourceOptions(depends_on=[self.cluster.eks])
        return pulumi.ResourceOptions.merge(self._opts, after)

    def _karpenter(self, nodes: NodeRole) -> Karpenter:
        settings = self._settings
        args = KarpenterArgs(
            cluster=settings.name,
            place=settings.place,
            role=nodes.role,
            tags=settings.tags,
        )
        return Karpenter(f"{settings.name}-karpenter", args, self._after_cluster)

    def _static_nodes(self) -> StaticNodes:
        settings = self._settings
        least = settings.min_workers
        pools = {
            "ray-head": PoolSize(
                min=1,
                desired=2,
                max=2,
            ),
            "ray-serve": PoolSize(
                min=least,
                desired=least,
                max=settings.max_workers,
            ),
            "ray-train": PoolSize(
                min=0,
                desired=1,
                max=1,
            ),
        }
        args = StaticNodesArgs(
            cluster=settings.name,
            subnets=self._private,
            instance_types=settings.ray_instance_types,
            pools=pools,
            tags=settings.tags,
        )
        return StaticNodes(f"{settings.name}-ray", args, self._after_cluster)

    def _shared_folder(self) -> pulumi.Output[str] | None:
        """The id of the file system, where the pods share one."""
        settings = self._settings
        if not settings.shared_folder:
            return None
        intra = [subnet.id for subnet in self.network.intra]
        args = SharedFolderArgs(
            mounts=dict(zip(settings.zone_names, intra, strict=True)),
            protect=settings.protect,
            place=self._intra,
        )
        return SharedFolder(f"{settings.name}-home", args, self._opts).id

    def _database(self) -> Database:
        settings = self._settings
        args = DatabaseArgs(
            instance_class=settings.database_class,
            gib=settings.database_gib,
            multi_az=settings.database_multi_az,
            backup_days=settings.backup_days,
            log_days=settings.log_retention_days,
            protect=settings.protect,
            place=self._intra,
        )
        return Database(f"{settings.name}-mlflow", args, self._opts)

    def _redis(self) -> pulumi.Output[str] | None:
        """The address of Ray's cluster state, where it outlives a head."""
        settings = self._settings
        if settings.gcs_fault_tolerance != "redis":
            return None
        args = ClusterStateArgs(
            node_type=settings.redis_node_type,
            replicas=1,
            password=self._secrets["redisPassword"],
            place=self._intra,
        )
        return ClusterState(f"{settings.name}-gcs", args, self._opts).address

    def _roles(self) -> Resources:
        roles = WorkloadRoles(
            settings=self._settings,
            keys=self.keys,
            stream=self.stream,
            database=self.database,
            cluster=self.cluster,
        )
        return [*roles.create(self._opts)]

    def watch_spending(self) -> None:
        """Tell somebody where the month costs more than planned."""
        settings = self._settings
        if not settings.budget_email:
            return
        args = BudgetArgs(
            usd=settings.budget_usd,
            email=settings.budget_email,
            tags=settings.tags,
        )
        Budget(settings.name, args, self._opts)


def _provider(settings: PlatformSettings) -> aws.Provider:
    return aws.Provider(
        "aws",
        region=settings.region,
        allowed_account_ids=[settings.account_id],
        default_tags={"tags": settings.tags.common()},
    )


def _file_systems(settings: PlatformSettings) -> str | None:
    """ARN of the file systems that the driver may mount, where the pods share one."""
    if not settings.shared_folder:
        return None
    return settings.place.arn("elasticfilesystem", "file-system/*")
