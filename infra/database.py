"""RDS PostgreSQL for MLflow, and ElastiCache for Ray's cluster state where it is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.component import Component, Options
from infra.security_groups import PlacementArgs, open_port
from vigil.digests import text_digest

POSTGRES_VERSION = "17"  # the minor version is AWS' to raise
POSTGRES_PORT = 5432
REDIS_PORT = 6379
EXPORTED_LOGS = ("postgresql", "upgrade")


@dataclass(frozen=True, kw_only=True)
class DatabaseArgs:
    """`gib` is where storage begins."""

    instance_class: str
    gib: int
    multi_az: bool
    backup_days: int
    log_days: int
    protect: bool
    place: PlacementArgs


class Database(Component):
    """Private and encrypted.

    RDS makes, keeps and rotates the password in Secrets Manager, so no one ever types it.
    """

    def __init__(
        self,
        name: str,
        args: DatabaseArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:Database", name, {}, opts)
        self._args = args
        self._place = args.place
        group = open_port(
            name,
            "PostgreSQL",
            POSTGRES_PORT,
            place=args.place,
            opts=self.child,
        )
        self.instance = self._instance(name, group)
        self.address = self.instance.address
        self.secret_arn = self.instance.master_user_secrets.apply(_first_secret)
        self.register_outputs({"address": self.address, "secret_arn": self.secret_arn})

    def _instance(self, name: str, group: aws.ec2.SecurityGroup) -> aws.rds.Instance:
        args = self._args
        return aws.rds.Instance(
            name,
            identifier=name,
            engine="postgres",
            engine_version=POSTGRES_VERSION,
            instance_class=args.instance_class,
            db_name="mlflow",
            username="mlflow",
            manage_master_user_password=True,
            master_user_secret_kms_key_id=self._place.key,
            allocated_storage=args.gib,
            max_allocated_storage=args.gib * 4,
            storage_type="gp3",
            storage_encrypted=True,
            kms_key_id=self._place.key,
            db_subnet_group_name=self._subnets(name).name,
            vpc_security_group_ids=[group.id],
            parameter_group_name=self._parameters(name).name,
            publicly_accessible=False,
            multi_az=args.multi_az,
            backup_retention_period=args.backup_days,
            copy_tags_to_snapshot=True,
            deletion_protection=args.protect,
            skip_final_snapshot=False,
            final_snapshot_identifier=_last_snapshot(name, group.id, self._place.key),
            auto_minor_version_upgrade=True,
            iam_database_authentication_enabled=True,
            apply_immediately=False,
            enabled_cloudwatch_logs_exports=list(EXPORTED_LOGS),
            performance_insights_enabled=True,
            performance_insights_kms_key_id=self._place.key,
            tags=self._place.tags.of(name),
            opts=self._kept_after(self._log_groups(name)),
        )

    def _kept_after(self, resources: Sequence[pulumi.Resource]) -> pulumi.ResourceOptions:
        kept = self.keeping(self._args.protect)
        return pulumi.ResourceOptions.merge(kept, self.after(*resources))

    def _subnets(self, name: str) -> aws.rds.SubnetGroup:
        return aws.rds.SubnetGroup(
            name,
            name=name,
            subnet_ids=self._place.subnets,
            tags=self._place.tags.of(name),
            opts=self.child,
        )

    def _parameters(self, name: str) -> aws.rds.ParameterGroup:
        return aws.rds.ParameterGroup(
            name,
            family=f"postgres{POSTGRES_VERSION}",
            description="TLS for everyone",
            parameters=[
                {"name": "rds.force_ssl", "value": "1"},
                {"name": "log_min_duration_statement", "value": "1000"},
            ],
            tags=self._place.tags.of(name),
            opts=self.child,
        )

    def _log_groups(self, name: str) -> list[aws.cloudwatch.LogGroup]:
        """One for each exported log, before the database writes to it.

        RDS would make them without end and without a key, and leave them behind.
        """
        return [self._log_group(name, log) for log in EXPORTED_LOGS]

    def _log_group(self, name: str, log: str) -> aws.cloudwatch.LogGroup:
        label = f"{name}-{log}"
        return aws.cloudwatch.LogGroup(
            label,
            name=f"/aws/rds/instance/{name}/{log}",
            retention_in_days=self._args.log_days,
            kms_key_id=self._place.key,
            tags=self._place.tags.of(label),
            opts=self.child,
        )


def _first_secret(secrets: Sequence[aws.rds.outputs.InstanceMasterUserSecret]) -> str:
    return str(secrets[0].secret_arn) if secrets else ""


def _last_snapshot(
    name: str, group: pulumi.Output[str], key: pulumi.Input[str]
) -> pulumi.Output[str]:
    """The name of the snapshot that is taken on delete.

    Another for each database that is made, as the last one's is kept. Its security group is new
    with each environment, and its key wherever AWS would replace the database alone.
    """
    return pulumi.Output.all(group, key).apply(lambda made: last_snapshot(name, made))


def last_snapshot(name: str, made_with: Sequence[str]) -> str:
    """A name for the last snapshot, told apart by what was made with the database."""
    digest = text_digest("|".join(made_with))
    return f"{name}-last-{digest[:10]}"


@dataclass(frozen=True, kw_only=True)
class ClusterStateArgs:
    """`password` is Redis' AUTH token, a secret."""

    node_type: str
    replicas: int
    password: pulumi.Input[str]
    place: PlacementArgs

    @property
    def nodes(self) -> int:
        return 1 + self.replicas

    @property
    def fails_over(self) -> bool:
        return self.replicas > 0


class ClusterState(Component):
    """Redis (Valkey) that holds what Ray's head knows.

    So a new head goes on where the old one died.
    """

    def __init__(
        self,
        name: str,
        args: ClusterStateArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:ClusterState", name, {}, opts)
        self._args = args
        self.group = self._group(name)
        self.address = self.group.primary_endpoint_address.apply(
            lambda host: f"rediss://{host}:{REDIS_PORT}"
        )
        self.register_outputs({"address": self.address})

    def _group(self, name: str) -> aws.elasticache.ReplicationGroup:
        args = self._args
        place = args.place
        subnets = self._subnets(name)
        group = open_port(
            name,
            "Redis",
            REDIS_PORT,
            place=place,
            opts=self.child,
        )
        return aws.elasticache.ReplicationGroup(
            name,
            replication_group_id=name,
            description="Ray's cluster state",
            engine="valkey",
            engine_version="8.2",
            node_type=args.node_type,
            num_cache_clusters=args.nodes,
            automatic_failover_enabled=args.fails_over,
            multi_az_enabled=args.fails_over,
            subnet_group_name=subnets.name,
            security_group_ids=[group.id],
            at_rest_encryption_enabled=True,
            kms_key_id=place.key,
            transit_encryption_enabled=True,
            auth_token=args.password,
            snapshot_retention_limit=1,
            tags=place.tags.of(name),
            opts=self.child,
        )

    def _subnets(self, name: str) -> aws.elasticache.SubnetGroup:
        place = self._args.place
        return aws.elasticache.SubnetGroup(
            name,
            name=name,
            subnet_ids=place.subnets,
            tags=place.tags.of(name),
            opts=self.child,
        )
