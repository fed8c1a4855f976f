"""Wires the AWS components of one environment together, in the order that `pulumi up` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from infra import balancer_grants, grants
from infra.budget import Budget, BudgetArgs
from infra.cluster import Cluster, ClusterArgs
from infra.database import ClusterState, ClusterStateArgs, Database, DatabaseArgs
from infra.identity import GitHub, GitHubArgs, PodRole, PodRoleArgs, node_role
from infra.images import Images, ImagesArgs
from infra.keys import Keys, KeysArgs
from infra.kinesis import Stream, StreamArgs
from infra.manifests.bindings import RAY, TRACKING, Bindings
from infra.network import Network, NetworkArgs
from infra.nodes import Karpenter, KarpenterArgs, StaticNodes, StaticNodesArgs
from infra.settings import PlatformSettings
from infra.storage import Buckets, BucketsArgs, SharedFolder, SharedFolderArgs

PURPOSES = ("models", "data", "captured", "charts", "logs")


@dataclass(frozen=True)
class Amazon:
    """What the Kubernetes part and the exports need of AWS."""

    provider: k8s.Provider
    bindings: Bindings
    ready: list[pulumi.Resource]
    exports: dict[str, Any]


def provision(settings: PlatformSettings, secrets: dict[str, Any]) -> Amazon:
    """Everything on AWS; `secrets` are the values of `needed_secrets`."""
    opts = pulumi.ResourceOptions(provider=aws.Provider(
        "aws", region=settings.region, allowed_account_ids=[settings.account_id], default_tags={"tags": settings.tags.common()}
    ))  # fmt: skip
    name, tags, protect = settings.name, settings.tags, settings.protect
    keys = Keys("keys", KeysArgs(name, settings.account_id, settings.region, protect, tags), opts)
    network = Network(name, NetworkArgs(
        settings.vpc_cidr, settings.zone_names, settings.nat_per_zone, settings.interface_endpoints, settings.region,
        settings.account_id, name, keys.data.arn, settings.log_retention_days, protect, tags,
    ), opts)  # fmt: skip
    buckets = Buckets("buckets", BucketsArgs(
        {purpose: settings.bucket(purpose) for purpose in PURPOSES}, {"captured": settings.captured_days, "logs": 365},
        settings.account_id, keys.data.arn, protect, tags,
    ), opts)  # fmt: skip
    images = Images("images", ImagesArgs((f"{name}/vigil",), keys.data.arn, protect, tags), opts)
    stream = Stream(
        name, StreamArgs(settings.stream_mode, settings.stream_shards, settings.stream_hours, keys.data.arn, protect, tags), opts
    )
    cluster, files = _cluster(settings, network, keys, opts)
    private = [subnet.id for subnet in network.private]
    intra = [subnet.id for subnet in network.intra]
    database = Database(f"{name}-mlflow", DatabaseArgs(
        settings.database_class, settings.database_gib, settings.database_multi_az, settings.backup_days, network.vpc.id, intra,
        cluster.security_group, keys.data.arn, protect, tags,
    ), opts)  # fmt: skip
    redis = None
    if settings.gcs_fault_tolerance == "redis":
        redis = ClusterState(
            f"{name}-gcs",
            ClusterStateArgs(
                settings.redis_node_type,
                1,
                secrets["redisPassword"],
                network.vpc.id,
                intra,
                cluster.security_group,
                keys.data.arn,
                tags,
            ),
            opts,
        ).address
    if settings.nodes == "static":
        pools = {
            "ray-head": (1, 2, 2),
            "ray-serve": (settings.min_workers, settings.min_workers, settings.max_workers),
            "ray-train": (0, 1, 1),
        }
        StaticNodes(
            f"{name}-ray",
            StaticNodesArgs(name, private, settings.ray_instance_types, pools, tags),
            pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[cluster.eks])),
        )
    _workloads(settings, keys, stream, database, cluster, opts)
    if settings.budget_email:
        Budget(name, BudgetArgs(settings.budget_usd, settings.budget_email, tags), opts)
    bindings = Bindings(database.address, database.secret_arn, files.id, redis)
    exports = {
        "cluster": name,
        "vpc": network.vpc.id,
        "stream": stream.stream.name,
        "images": images.urls,
        "databaseHost": database.address,
        "fileSystem": files.id,
        "buckets": {purpose: bucket.bucket for purpose, bucket in buckets.buckets.items()},
    }
    return Amazon(cluster.provider, bindings, cluster.ready, exports)


def _cluster(
    settings: PlatformSettings, network: Network, keys: Keys, opts: pulumi.ResourceOptions
) -> tuple[Cluster, SharedFolder]:
    name, tags = settings.name, settings.tags
    admins: dict[str, Any] = {f"admin-{i}": arn for i, arn in enumerate(settings.admin_principals)}
    viewers: dict[str, Any] = {f"viewer-{i}": arn for i, arn in enumerate(settings.viewer_principals)}
    if settings.github_repository:
        github = GitHub(
            f"{name}-github",
            GitHubArgs(
                name,
                settings.account_id,
                settings.region,
                settings.github_repository,
                settings.environment,
                settings.state_bucket,
                tags,
            ),
            opts,
        )
        admins["apply"], viewers["plan"] = github.apply.arn, github.plan.arn
    ray_nodes = node_role(f"{name}-ray-node", tags, opts) if settings.nodes == "karpenter" else None
    private = [subnet.id for subnet in network.private]
    files_arn = f"arn:aws:elasticfilesystem:{settings.region}:{settings.account_id}:file-system/*"
    cluster = Cluster(
        name,
        ClusterArgs(
            name,
            settings.kubernetes_version,
            settings.account_id,
            settings.region,
            settings.nodes == "auto",
            network.vpc.id,
            private,
            settings.service_cidr,
            settings.public_access_cidrs,
            admins,
            viewers,
            ray_nodes.arn if ray_nodes else None,
            settings.system_instance_types,
            keys.secrets.arn,
            keys.data.arn,
            settings.log_retention_days,
            files_arn,
            settings.protect,
            tags,
        ),
        opts,
    )
    if ray_nodes is not None:
        Karpenter(
            f"{name}-karpenter",
            KarpenterArgs(name, settings.account_id, settings.region, ray_nodes, tags),
            pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[cluster.eks])),
        )
    intra = [subnet.id for subnet in network.intra]
    files = SharedFolder(f"{name}-home", SharedFolderArgs(
        network.vpc.id, intra, settings.zone_names, cluster.security_group, keys.data.arn, settings.protect, tags,
    ), opts)  # fmt: skip
    return cluster, files


def _workloads(
    settings: PlatformSettings, keys: Keys, stream: Stream, database: Database, cluster: Cluster, opts: pulumi.ResourceOptions
) -> None:
    """One role per workload, of what it touches and nothing else."""
    models, data, captured = (settings.bucket(purpose) for purpose in ("models", "data", "captured"))
    region, key = settings.region, keys.data.arn

    def s3(key_arn: str) -> grants.Statement:
        return grants.use_key(key_arn, region, "s3")

    documents: dict[tuple[str, str], pulumi.Output[grants.Document]] = {
        (RAY, "vigil-serve"): key.apply(lambda arn: grants.document([*grants.read_objects(models), s3(arn)])),
        (RAY, "vigil-train"): key.apply(
            lambda arn: grants.document(
                [*grants.write_objects(models), *grants.read_objects(data), *grants.read_objects(captured), s3(arn)]
            )
        ),
        (RAY, "vigil-drift"): key.apply(
            lambda arn: grants.document([*grants.read_objects(models), *grants.write_objects(captured), s3(arn)])
        ),
        (RAY, "vigil-stream"): pulumi.Output.all(key, stream.stream.arn).apply(
            lambda arns: grants.document([grants.read_stream(arns[1]), grants.use_key(arns[0], region, "kinesis")])
        ),
        (TRACKING, "mlflow"): pulumi.Output.all(key, database.secret_arn).apply(
            lambda arns: grants.document(
                [
                    *grants.write_objects(models),
                    grants.read_secret(arns[1]),
                    grants.use_key(arns[0], region, "s3", "secretsmanager"),
                ]
            )
        ),
    }
    if settings.ingress == "alb" and settings.nodes != "auto":
        balancers = balancer_grants.controller(settings.account_id, region, settings.name, settings.certificate_arn)
        documents["kube-system", "aws-load-balancer-controller"] = pulumi.Output.from_input(balancers)
    # An association needs the cluster to exist.
    opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[cluster.eks]))
    for (namespace, account), document in documents.items():
        PodRole(
            f"{settings.name}-{account.removeprefix('vigil-')}",
            PodRoleArgs(settings.account_id, region, settings.name, namespace, account, settings.tags, document), opts,
        )  # fmt: skip
