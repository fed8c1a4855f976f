"""Wires the AWS components of one environment together, in the order that `pulumi up` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from infra import balancer_grants, grants
from infra.access import label_principals
from infra.budget import Budget, BudgetArgs
from infra.cluster import Cluster, ClusterArgs
from infra.database import ClusterState, ClusterStateArgs, Database, DatabaseArgs
from infra.identity import GitHub, GitHubArgs, NodeRole, PodRole, PodRoleArgs, node_role
from infra.images import Images, ImagesArgs
from infra.keys import Keys, KeysArgs
from infra.kinesis import LeaseTable, LeaseTableArgs, Stream, StreamArgs
from infra.manifests.bindings import RAY_NAMESPACE, TRACKING_NAMESPACE, Bindings
from infra.network import Network, NetworkArgs
from infra.nodes import Karpenter, KarpenterArgs, StaticNodes, StaticNodesArgs
from infra.settings import PlatformSettings
from infra.storage import Buckets, BucketsArgs, SharedFolder, SharedFolderArgs

PURPOSES = ("models", "data", "captured", "charts", "logs")


@dataclass(frozen=True)
class Amazon:
    """What the Kubernetes part and the exports need of AWS."""

    provider: k8s.Provider
    kubeconfig: pulumi.Output[str]
    bindings: Bindings
    ready: list[pulumi.Resource]
    exports: dict[str, Any]


def provision(settings: PlatformSettings, secrets: dict[str, Any]) -> Amazon:
    """Everything on AWS; `secrets` are the values of `needed_secrets`."""
    opts = pulumi.ResourceOptions(
        provider=aws.Provider(
            "aws",
            region=settings.region,
            allowed_account_ids=[settings.account_id],
            default_tags={"tags": settings.tags.common()},
        )
    )
    name, tags, protect, account, region = (
        settings.name,
        settings.tags,
        settings.protect,
        settings.account_id,
        settings.region,
    )
    keys = Keys(
        "keys",
        KeysArgs(name=name, account=account, region=region, protect=protect, tags=tags),
        opts,
    )
    key = keys.data.arn
    network = Network(
        name,
        NetworkArgs(
            cidr=settings.vpc_cidr,
            zones=settings.zone_names,
            nat_per_zone=settings.nat_per_zone,
            interface_endpoints=settings.interface_endpoints,
            region=region,
            account=account,
            cluster=name,
            log_key=key,
            log_days=settings.log_retention_days,
            protect=protect,
            tags=tags,
        ),
        opts,
    )
    buckets = Buckets(
        "buckets",
        BucketsArgs(
            buckets={purpose: settings.bucket(purpose) for purpose in PURPOSES},
            expire_days={"captured": settings.captured_days, "logs": 365},
            account=account,
            key=key,
            protect=protect,
            tags=tags,
        ),
        opts,
    )
    images = Images(
        "images",
        ImagesArgs(repositories=(f"{name}/vigil",), key=key, protect=protect, tags=tags),
        opts,
    )
    stream = Stream(
        name,
        StreamArgs(
            mode=settings.stream_mode,
            shards=settings.stream_shards,
            hours=settings.stream_hours,
            key=key,
            protect=protect,
            tags=tags,
        ),
        opts,
    )
    if settings.serve.stream_source:
        LeaseTable(
            f"{name}-leases", LeaseTableArgs(name=settings.lease_table, key=key, tags=tags), opts
        )
    cluster, nodes = _cluster(settings, network, keys, opts)
    inside: dict[str, Any] = {
        "vpc": network.vpc.id,
        "subnets": [subnet.id for subnet in network.intra],
        "clients": cluster.security_group,
        "key": key,
        "tags": tags,
    }
    files = None
    if settings.shared_folder:
        args = SharedFolderArgs(zones=settings.zone_names, protect=protect, **inside)
        files = SharedFolder(f"{name}-home", args, opts).id
    database = Database(
        f"{name}-mlflow",
        DatabaseArgs(
            instance_class=settings.database_class,
            gib=settings.database_gib,
            multi_az=settings.database_multi_az,
            backup_days=settings.backup_days,
            log_days=settings.log_retention_days,
            protect=protect,
            **inside,
        ),
        opts,
    )
    redis = None
    if settings.gcs_fault_tolerance == "redis":
        redis = ClusterState(
            f"{name}-gcs",
            ClusterStateArgs(
                node_type=settings.redis_node_type,
                replicas=1,
                password=secrets["redisPassword"],
                **inside,
            ),
            opts,
        ).address
    roles = _workloads(settings, keys, stream, database, cluster, opts)
    # EKS hands a role out as a pod is made: one that starts before the tie stands never gets it.
    ready = [*cluster.ready, *nodes, *roles]
    if settings.budget_email:
        Budget(
            name, BudgetArgs(usd=settings.budget_usd, email=settings.budget_email, tags=tags), opts
        )
    exports = {
        "cluster": name,
        "vpc": network.vpc.id,
        "stream": stream.stream.name,
        "images": images.urls,
        "databaseHost": database.address,
        "fileSystem": files,
        "buckets": {purpose: bucket.bucket for purpose, bucket in buckets.buckets.items()},
    }
    return Amazon(
        provider=cluster.provider,
        kubeconfig=cluster.eks.kubeconfig_json,
        bindings=Bindings(database.address, database.secret_arn, files, redis),
        ready=ready,
        exports=exports,
    )


def _cluster(
    settings: PlatformSettings, network: Network, keys: Keys, opts: pulumi.ResourceOptions
) -> tuple[Cluster, list[pulumi.Resource]]:
    """The cluster, who may do what in it, and what the nodes come from that Ray runs on."""
    name, account, region = settings.name, settings.account_id, settings.region
    admins = label_principals(settings.admin_principals)
    viewers = label_principals(settings.viewer_principals)
    if settings.github_repository:
        github = _github(settings, opts)
        admins["apply"], viewers["plan"] = github.apply.arn, github.plan.arn
    ray_nodes = None
    if settings.nodes == "karpenter":
        ray_nodes = node_role(f"{name}-ray-node", settings.tags, opts)
    private = [subnet.id for subnet in network.private]
    args = ClusterArgs(
        name=name,
        version=settings.kubernetes_version,
        account=account,
        region=region,
        auto_mode=settings.nodes == "auto",
        vpc=network.vpc.id,
        subnets=private,
        service_cidr=settings.service_cidr,
        public_cidrs=settings.public_access_cidrs,
        admins=admins,
        viewers=viewers,
        ray_node_role=ray_nodes.role.arn if ray_nodes else None,
        instance_types=settings.system_instance_types,
        secrets_key=keys.secrets.arn,
        log_key=keys.data.arn,
        log_days=settings.log_retention_days,
        protect=settings.protect,
        tags=settings.tags,
        file_system_arn=f"arn:aws:elasticfilesystem:{region}:{account}:file-system/*"
        if settings.shared_folder
        else None,
    )
    cluster = Cluster(name, args, opts)
    after = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[cluster.eks]))
    return cluster, _nodes(settings, private, ray_nodes, after)


def _github(settings: PlatformSettings, opts: pulumi.ResourceOptions) -> GitHub:
    args = GitHubArgs(
        name=settings.name,
        account=settings.account_id,
        region=settings.region,
        repository=settings.github_repository,
        environment=settings.environment,
        state_bucket=settings.state_bucket,
        tags=settings.tags,
    )
    return GitHub(f"{settings.name}-github", args, opts)


def _nodes(
    settings: PlatformSettings,
    subnets: list[pulumi.Output[str]],
    ray_nodes: NodeRole | None,
    opts: pulumi.ResourceOptions,
) -> list[pulumi.Resource]:
    """What must stand before Ray's nodes can be made, or the nodes themselves."""
    name, tags = settings.name, settings.tags
    if ray_nodes is not None:
        karpenter = KarpenterArgs(
            cluster=name,
            account=settings.account_id,
            region=settings.region,
            role=ray_nodes.role,
            tags=tags,
        )
        return [*ray_nodes.attached, Karpenter(f"{name}-karpenter", karpenter, opts)]
    if settings.nodes != "static":
        return []
    pools = {
        "ray-head": (1, 2, 2),
        "ray-serve": (settings.min_workers, settings.min_workers, settings.max_workers),
        "ray-train": (0, 1, 1),
    }
    static = StaticNodesArgs(
        cluster=name,
        subnets=subnets,
        instance_types=settings.ray_instance_types,
        pools=pools,
        tags=tags,
    )
    return [StaticNodes(f"{name}-ray", static, opts)]


def _of_streams(
    settings: PlatformSettings, key_arn: str, stream_arn: str
) -> list[grants.Statement]:
    """What a consumer does: read the stack's stream, share it by the table, write where the sinks are."""
    account, region = settings.account_id, settings.region
    found = [
        grants.read_stream(stream_arn),
        grants.share_leases(f"arn:aws:dynamodb:{region}:{account}:table/{settings.lease_table}"),
        grants.use_key(key_arn, region, "kinesis", "dynamodb", "s3"),
    ]
    for sink in settings.serve.stream_sinks.split(","):
        kind, _, where = sink.strip().partition(":")
        if kind == "kinesis":
            found.append(grants.write_stream(f"arn:aws:kinesis:{region}:{account}:stream/{where}"))
        elif kind == "parquet" and where.startswith("s3://"):
            bucket, _, prefix = where.removeprefix("s3://").partition("/")
            found.extend(grants.write_objects(bucket, prefix))
    return found


def _workloads(
    settings: PlatformSettings,
    keys: Keys,
    stream: Stream,
    database: Database,
    cluster: Cluster,
    opts: pulumi.ResourceOptions,
) -> list[PodRole]:
    """One role per workload, of what it touches and nothing else."""
    models, data, captured = (
        settings.bucket(purpose) for purpose in ("models", "data", "captured")
    )
    region, key = settings.region, keys.data.arn

    def s3(key_arn: str) -> grants.Statement:
        return grants.use_key(key_arn, region, "s3")

    documents: dict[tuple[str, str], pulumi.Output[grants.Document]] = {
        (RAY_NAMESPACE, "vigil-serve"): key.apply(
            lambda arn: grants.policy_document([*grants.read_objects(models), s3(arn)])
        ),
        (RAY_NAMESPACE, "vigil-train"): key.apply(
            lambda arn: grants.policy_document(
                [
                    *grants.write_objects(models),
                    *grants.read_objects(data),
                    *grants.read_objects(captured),
                    s3(arn),
                ]
            )
        ),
        (RAY_NAMESPACE, "vigil-drift"): key.apply(
            lambda arn: grants.policy_document(
                [*grants.read_objects(models), *grants.write_objects(captured), s3(arn)]
            )
        ),
        (TRACKING_NAMESPACE, "mlflow"): pulumi.Output.all(key, database.secret_arn).apply(
            lambda arns: grants.policy_document(
                [
                    *grants.write_objects(models),
                    grants.read_secret(arns[1]),
                    grants.use_key(arns[0], region, "s3", "secretsmanager"),
                ]
            )
        ),
    }
    if settings.serve.stream_source:
        documents[RAY_NAMESPACE, "vigil-stream"] = pulumi.Output.all(key, stream.stream.arn).apply(
            lambda arns: grants.policy_document(_of_streams(settings, arns[0], arns[1]))
        )
    if settings.ingress == "alb" and settings.nodes != "auto":
        balancers = balancer_grants.load_balancer_controller(
            settings.account_id, region, settings.name, settings.certificate_arn
        )
        documents["kube-system", "aws-load-balancer-controller"] = pulumi.Output.from_input(
            balancers
        )
    # An association needs the cluster to exist.
    opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[cluster.eks]))
    return [
        PodRole(
            f"{settings.name}-{account.removeprefix('vigil-')}",
            PodRoleArgs(
                account=settings.account_id,
                region=region,
                cluster=settings.name,
                namespace=namespace,
                service_account=account,
                tags=settings.tags,
                document=document,
            ),
            opts,
        )
        for (namespace, account), document in documents.items()
    ]
