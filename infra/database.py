"""RDS PostgreSQL for MLflow, and ElastiCache for Ray's cluster state where fault tolerance is wanted."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import pulumi
import pulumi_aws as aws

from infra.tags import Tags

ENGINE = "17"  # the minor version is AWS' to raise
PORT, REDIS_PORT = 5432, 6379
LOGS = ("postgresql", "upgrade")


@dataclass(frozen=True, kw_only=True)
class DatabaseArgs:
    """Lives in `subnets`, answers members of the security group `clients` only. `gib` is where storage begins."""

    instance_class: str
    gib: int
    multi_az: bool
    backup_days: int
    log_days: int
    vpc: pulumi.Input[str]
    subnets: list[pulumi.Output[str]]
    clients: pulumi.Input[str]
    key: pulumi.Input[str]
    protect: bool
    tags: Tags


class Database(pulumi.ComponentResource):
    """Private and encrypted; RDS makes, keeps and rotates the password in Secrets Manager, so no one ever types it."""

    def __init__(
        self, name: str, args: DatabaseArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:Database", name, {}, opts)
        self._args, self._child = args, pulumi.ResourceOptions(parent=self)
        group = _open_to(name, "PostgreSQL", PORT, args.vpc, args.clients, args.tags, self._child)
        self.instance = self._instance(name, group)
        self.address = self.instance.address
        self.secret_arn = self.instance.master_user_secrets.apply(
            lambda secrets: str(secrets[0].secret_arn) if secrets else ""
        )
        self.register_outputs({"address": self.address, "secret_arn": self.secret_arn})

    def _instance(self, name: str, group: aws.ec2.SecurityGroup) -> aws.rds.Instance:
        args, tags = self._args, self._args.tags
        subnets = aws.rds.SubnetGroup(
            name,
            name=name,
            subnet_ids=args.subnets,
            tags=tags.of(name),
            opts=self._child,
        )
        parameters = aws.rds.ParameterGroup(
            name,
            family=f"postgres{ENGINE}",
            description="TLS for everyone",
            parameters=[
                {"name": "rds.force_ssl", "value": "1"},
                {"name": "log_min_duration_statement", "value": "1000"},
            ],
            tags=tags.of(name),
            opts=self._child,
        )
        return aws.rds.Instance(
            name,
            identifier=name,
            engine="postgres",
            engine_version=ENGINE,
            instance_class=args.instance_class,
            db_name="mlflow",
            username="mlflow",
            manage_master_user_password=True,
            master_user_secret_kms_key_id=args.key,
            allocated_storage=args.gib,
            max_allocated_storage=args.gib * 4,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=args.key,
            db_subnet_group_name=subnets.name,
            vpc_security_group_ids=[group.id],
            parameter_group_name=parameters.name,
            publicly_accessible=False,
            multi_az=args.multi_az,
            backup_retention_period=args.backup_days,
            copy_tags_to_snapshot=True,
            deletion_protection=args.protect,
            skip_final_snapshot=False,
            final_snapshot_identifier=_last_snapshot(name, group.id, args.key),
            auto_minor_version_upgrade=True,
            iam_database_authentication_enabled=True,
            apply_immediately=False,
            enabled_cloudwatch_logs_exports=list(LOGS),
            performance_insights_enabled=True,
            performance_insights_kms_key_id=args.key,
            tags=tags.of(name),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=args.protect,
                retain_on_delete=args.protect,
                depends_on=self._log_groups(name),
            ),
        )

    def _log_groups(self, name: str) -> list[pulumi.Resource]:
        """One for each exported log, before the database writes to it: RDS would make them without
        end and without a key, and leave them behind."""
        args = self._args
        return [
            aws.cloudwatch.LogGroup(
                f"{name}-{log}",
                name=f"/aws/rds/instance/{name}/{log}",
                retention_in_days=args.log_days,
                kms_key_id=args.key,
                tags=args.tags.of(f"{name}-{log}"),
                opts=self._child,
            )
            for log in LOGS
        ]


def _last_snapshot(
    name: str,
    group: pulumi.Output[str],
    key: pulumi.Input[str],
) -> pulumi.Output[str]:
    """What the snapshot is called that is taken on delete: another for each database that is made,
    as the last one's is kept. Its security group is new with each environment, and its key wherever
    AWS would replace the database alone.
    """

    return pulumi.Output.all(group, key).apply(lambda made: last_snapshot(name, made))


def last_snapshot(name: str, made: list[str]) -> str:
    """A name for the last snapshot, told apart by what was made with the database."""
    return f"{name}-last-{sha256('|'.join(made).encode()).hexdigest()[:10]}"


@dataclass(frozen=True, kw_only=True)
class ClusterStateArgs:
    """`password` is Redis' AUTH token, a secret."""

    node_type: str
    replicas: int
    password: pulumi.Input[str]
    vpc: pulumi.Input[str]
    subnets: list[pulumi.Output[str]]
    clients: pulumi.Input[str]
    key: pulumi.Input[str]
    tags: Tags


class ClusterState(pulumi.ComponentResource):
    """Redis (Valkey) that holds what Ray's head knows, so that a new head goes on where the old one died."""

    def __init__(
        self, name: str, args: ClusterStateArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:ClusterState", name, {}, opts)
        child, tags = pulumi.ResourceOptions(parent=self), args.tags
        subnets = aws.elasticache.SubnetGroup(
            name, name=name, subnet_ids=args.subnets, tags=tags.of(name), opts=child
        )
        group = _open_to(name, "Redis", REDIS_PORT, args.vpc, args.clients, tags, child)
        self.group = aws.elasticache.ReplicationGroup(
            name,
            replication_group_id=name,
            description="Ray's cluster state",
            engine="valkey",
            engine_version="8.0",
            node_type=args.node_type,
            num_cache_clusters=1 + args.replicas,
            automatic_failover_enabled=args.replicas > 0,
            multi_az_enabled=args.replicas > 0,
            subnet_group_name=subnets.name,
            security_group_ids=[group.id],
            at_rest_encryption_enabled=True,
            kms_key_id=args.key,
            transit_encryption_enabled=True,
            auth_token=args.password,
            snapshot_retention_limit=1,
            tags=tags.of(name),
            opts=child,
        )
        self.address = self.group.primary_endpoint_address.apply(
            lambda host: f"rediss://{host}:{REDIS_PORT}"
        )
        self.register_outputs({"address": self.address})


def _open_to(
    name: str,
    what: str,
    port: int,
    vpc: pulumi.Input[str],
    clients: pulumi.Input[str],
    tags: Tags,
    opts: pulumi.ResourceOptions,
) -> aws.ec2.SecurityGroup:
    return aws.ec2.SecurityGroup(
        name,
        description=f"{what} from the nodes",
        vpc_id=vpc,
        egress=[],
        tags=tags.of(name),
        opts=opts,
        ingress=[
            {
                "description": f"{what} from the nodes",
                "protocol": "tcp",
                "from_port": port,
                "to_port": port,
                "security_groups": [clients],
            }
        ],
    )
