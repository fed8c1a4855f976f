"""The Kinesis stream that telemetry arrives on, and the table by which its consumers share it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.component import Component, Options
from infra.tags import Tags


@dataclass(frozen=True, kw_only=True)
class StreamArgs:
    """`shards` counts in PROVISIONED mode only."""

    mode: str
    shards: int
    hours: int
    key: pulumi.Input[str]
    protect: bool
    tags: Tags

    @property
    def shard_count(self) -> int | None:
        """Shards to ask for; None: Kinesis scales by itself."""
        return self.shards if self.mode == "PROVISIONED" else None


class Stream(Component):
    """Encrypted with the platform's key; kept long enough to replay what a bad model saw."""

    def __init__(
        self,
        name: str,
        args: StreamArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:Stream", name, {}, opts)
        self.stream = aws.kinesis.Stream(
            name,
            name=name,
            shard_count=args.shard_count,
            retention_period=args.hours,
            stream_mode_details={"stream_mode": args.mode},
            encryption_type="KMS",
            kms_key_id=args.key,
            enforce_consumer_deletion=False,
            tags=args.tags.of(name),
            opts=self.keeping(args.protect),
        )
        self.register_outputs({"name": self.stream.name, "arn": self.stream.arn})


@dataclass(frozen=True, kw_only=True)
class LeaseTableArgs:
    """`name` is known before the table is: consumers and their role are told it."""

    name: str
    key: pulumi.Input[str]
    tags: Tags


class LeaseTable(Component):
    """A DynamoDB table with a lease and a checkpoint for each shard.

    It can be lost: a stream is then read from its beginning, and what the output already holds is
    known from the output.
    """

    def __init__(
        self,
        name: str,
        args: LeaseTableArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:Leases", name, {}, opts)
        self.table = aws.dynamodb.Table(
            name,
            name=args.name,
            billing_mode="PAY_PER_REQUEST",
            hash_key="key",
            attributes=[{"name": "key", "type": "S"}],
            server_side_encryption={"enabled": True, "kms_key_arn": args.key},
            point_in_time_recovery={"enabled": True},
            tags=args.tags.of(name),
            opts=self.child,
        )
        self.register_outputs({"name": self.table.name})
