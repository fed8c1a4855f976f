"""Buckets (models, data, captured rows, charts, access logs) and the file system that pods share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra import grants
from infra.tags import Tags

LOG_DAYS = 365
_OLD_VERSION_DAYS = 90


@dataclass(frozen=True, kw_only=True)
class BucketsArgs:
    """`buckets`: purpose -> physical name; `expire_days`: purpose -> days after which objects are deleted."""

    buckets: Mapping[str, str]
    expire_days: Mapping[str, int]
    account: str
    key: pulumi.Input[str]
    protect: bool
    tags: Tags


class Buckets(pulumi.ComponentResource):
    """Private, versioned, encrypted, TLS only, logged buckets; `logs` receives the access logs of the others."""

    def __init__(
        self, name: str, args: BucketsArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:Buckets", name, {}, opts)
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        self.logs, may_write = self._bucket("logs")
        purposes = [purpose for purpose in args.buckets if purpose != "logs"]
        self.buckets = {purpose: self._bucket(purpose)[0] for purpose in purposes}
        for purpose, bucket in self.buckets.items():
            aws.s3.BucketLogging(
                purpose,
                bucket=bucket.bucket,
                target_bucket=self.logs.bucket,
                target_prefix=f"{purpose}/",
                opts=pulumi.ResourceOptions(parent=self, depends_on=[may_write]),
            )
        self.register_outputs({purpose: bucket.bucket for purpose, bucket in self.buckets.items()})

    def _bucket(self, purpose: str) -> tuple[aws.s3.Bucket, aws.s3.BucketPolicy]:
        """A bucket with all its guards, and the policy that says who may write to it."""
        args, physical, child = self._args, self._args.buckets[purpose], self._child
        kept = pulumi.ResourceOptions(
            parent=self, protect=args.protect, retain_on_delete=args.protect
        )
        bucket = aws.s3.Bucket(
            purpose, bucket=physical, force_destroy=False, tags=args.tags.of(physical), opts=kept
        )
        aws.s3.BucketPublicAccessBlock(
            purpose,
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=child,
        )
        aws.s3.BucketOwnershipControls(
            purpose,
            bucket=bucket.bucket,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=child,
        )
        aws.s3.BucketVersioning(
            purpose,
            bucket=bucket.bucket,
            versioning_configuration={"status": "Enabled"},
            opts=child,
        )
        # S3 delivers access logs only to buckets with S3's own keys.
        by_default: aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgsDict = (
            {"sse_algorithm": "AES256"}
            if purpose == "logs"
            else {"sse_algorithm": "aws:kms", "kms_master_key_id": args.key}
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            purpose,
            bucket=bucket.bucket,
            opts=child,
            rules=[
                {
                    "apply_server_side_encryption_by_default": by_default,
                    "bucket_key_enabled": purpose != "logs",
                }
            ],
        )
        policy = (
            grants.access_logs(physical, args.account)
            if purpose == "logs"
            else grants.tls_only(physical)
        )
        guard = aws.s3.BucketPolicy(
            purpose,
            bucket=bucket.bucket,
            policy=json.dumps(policy),
            opts=child,
        )
        aws.s3.BucketLifecycleConfiguration(
            purpose, bucket=bucket.bucket, rules=self._lifecycle(purpose), opts=child
        )
        return bucket, guard

    def _lifecycle(self, purpose: str) -> list[aws.s3.BucketLifecycleConfigurationRuleArgsDict]:
        rules: list[aws.s3.BucketLifecycleConfigurationRuleArgsDict] = [
            {
                "id": "tidy",
                "status": "Enabled",
                "filter": {"prefix": ""},
                "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
                "noncurrent_version_expiration": {"noncurrent_days": _OLD_VERSION_DAYS},
            }
        ]
        if days := self._args.expire_days.get(purpose):
            rules.append(
                {
                    "id": "expire",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "expiration": {"days": days},
                }
            )
        return rules


@dataclass(frozen=True, kw_only=True)
class SharedFolderArgs:
    """Mount targets go into `subnets`; `clients` is the security group whose members may mount."""

    vpc: pulumi.Input[str]
    subnets: list[pulumi.Output[str]]
    zones: tuple[str, ...]
    clients: pulumi.Input[str]
    key: pulumi.Input[str]
    protect: bool
    tags: Tags


class SharedFolder(pulumi.ComponentResource):
    """An EFS file system: captured rows, the monitor's state and bundles, for the pods of both Ray clusters."""

    def __init__(
        self, name: str, args: SharedFolderArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:SharedFolder", name, {}, opts)
        child = pulumi.ResourceOptions(parent=self)
        kept = pulumi.ResourceOptions(
            parent=self, protect=args.protect, retain_on_delete=args.protect
        )
        self.files = aws.efs.FileSystem(
            name,
            encrypted=True,
            kms_key_id=args.key,
            throughput_mode="elastic",
            tags=args.tags.of(name),
            opts=kept,
            lifecycle_policies=[{"transition_to_ia": "AFTER_30_DAYS"}],
        )
        aws.efs.BackupPolicy(
            name, file_system_id=self.files.id, backup_policy={"status": "ENABLED"}, opts=child
        )
        group = aws.ec2.SecurityGroup(
            name,
            description="NFS from the nodes",
            vpc_id=args.vpc,
            egress=[],
            tags=args.tags.of(name),
            opts=child,
            ingress=[
                {
                    "description": "NFS from the nodes",
                    "protocol": "tcp",
                    "from_port": 2049,
                    "to_port": 2049,
                    "security_groups": [args.clients],
                }
            ],
        )
        targets = [
            aws.efs.MountTarget(
                f"{name}-{zone[-1]}",
                file_system_id=self.files.id,
                subnet_id=subnet,
                security_groups=[group.id],
                opts=child,
            )
            for zone, subnet in zip(args.zones, args.subnets, strict=True)
        ]
        # Only once the targets stand can a pod mount it.
        self.id = pulumi.Output.all(self.files.id, *(target.id for target in targets)).apply(
            lambda ids: str(ids[0])
        )
        self.register_outputs({"id": self.id})
