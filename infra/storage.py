"""Buckets (models, data, captured rows, charts, access logs) and the pods' file system."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.component import Component, Options
from infra.grants import Document
from infra.resource_policies import access_logs, tls_only
from infra.security_groups import PlacementArgs, open_port
from infra.tags import Tags

NFS_PORT = 2049
LOGS_PURPOSE = "logs"
_TIDY_RULE: aws.s3.BucketLifecycleConfigurationRuleArgsDict = {
    "id": "tidy",
    "status": "Enabled",
    "filter": {"prefix": ""},
    "abort_incomplete_multipart_upload": {"days_after_initiation": 7},
    "noncurrent_version_expiration": {"noncurrent_days": 90},
}
_Encryption = aws.s3.BucketServerSideEncryptionConfigurationRuleArgsDict


@dataclass(frozen=True, kw_only=True)
class BucketsArgs:
    """`buckets`: purpose -> name in S3; `expire_days`: purpose -> days until objects go.

    `prefix` tells the buckets of one environment from those of another in the same program.
    """

    buckets: Mapping[str, str]
    expire_days: Mapping[str, int]
    account: str
    key: pulumi.Input[str]
    protect: bool
    tags: Tags
    prefix: str = ""

    def label(self, purpose: str) -> str:
        """What Pulumi calls a bucket, and all that belongs to it."""
        return f"{self.prefix}{purpose}"

    def policy(self, purpose: str) -> Document:
        """Who may come to a bucket."""
        name = self.buckets[purpose]
        return access_logs(name, self.account) if purpose == LOGS_PURPOSE else tls_only(name)

    def encryption(self, purpose: str) -> _Encryption:
        """S3 delivers access logs only to buckets with S3's own keys."""
        if purpose == LOGS_PURPOSE:
            return {
                "apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"},
                "bucket_key_enabled": False,
            }
        return {
            "apply_server_side_encryption_by_default": {
                "sse_algorithm": "aws:kms",
                "kms_master_key_id": self.key,
            },
            "bucket_key_enabled": True,
        }

    def lifecycle(self, purpose: str) -> list[aws.s3.BucketLifecycleConfigurationRuleArgsDict]:
        """What is deleted by itself: old versions, half uploads, objects of a certain age."""
        days = self.expire_days.get(purpose)
        if not days:
            return [_TIDY_RULE]
        expire: aws.s3.BucketLifecycleConfigurationRuleArgsDict = {
            "id": "expire",
            "status": "Enabled",
            "filter": {"prefix": ""},
            "expiration": {"days": days},
        }
        return [_TIDY_RULE, expire]


class Buckets(Component):
    """Private, versioned, encrypted, TLS only, logged buckets.

    `logs` receives the access logs of the others.
    """

    def __init__(
        self,
        name: str,
        args: BucketsArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:Buckets", name, {}, opts)
        self._args = args
        self.logs = self._bucket(LOGS_PURPOSE)
        may_write = self._policy(LOGS_PURPOSE, self.logs)
        self.buckets: dict[str, aws.s3.Bucket] = {}
        for purpose in args.buckets:
            if purpose != LOGS_PURPOSE:
                self.buckets[purpose] = self._data_bucket(purpose, may_write)
        self.register_outputs({purpose: bucket.bucket for purpose, bucket in self.buckets.items()})

    def _data_bucket(self, purpose: str, logs_policy: aws.s3.BucketPolicy) -> aws.s3.Bucket:
        """A bucket whose access is logged."""
        bucket = self._bucket(purpose)
        self._policy(purpose, bucket)
        aws.s3.BucketLogging(
            self._args.label(purpose),
            bucket=bucket.bucket,
            target_bucket=self.logs.bucket,
            target_prefix=f"{purpose}/",
            opts=self.after(logs_policy),
        )
        return bucket

    def _bucket(self, purpose: str) -> aws.s3.Bucket:
        """A bucket with its guards, but for the policy that says who may come."""
        args = self._args
        name = args.buckets[purpose]
        bucket = aws.s3.Bucket(
            self._args.label(purpose),
            bucket=name,
            force_destroy=False,
            tags=args.tags.of(name),
            opts=self.keeping(args.protect),
        )
        self._close_to_public(purpose, bucket)
        self._keep_versions(purpose, bucket)
        self._encrypt(purpose, bucket)
        self._expire(purpose, bucket)
        return bucket

    def _close_to_public(self, purpose: str, bucket: aws.s3.Bucket) -> None:
        aws.s3.BucketPublicAccessBlock(
            self._args.label(purpose),
            bucket=bucket.bucket,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self.child,
        )
        aws.s3.BucketOwnershipControls(
            self._args.label(purpose),
            bucket=bucket.bucket,
            rule={"object_ownership": "BucketOwnerEnforced"},
            opts=self.child,
        )

    def _keep_versions(self, purpose: str, bucket: aws.s3.Bucket) -> None:
        aws.s3.BucketVersioning(
            self._args.label(purpose),
            bucket=bucket.bucket,
            versioning_configuration={"status": "Enabled"},
            opts=self.child,
        )

    def _encrypt(self, purpose: str, bucket: aws.s3.Bucket) -> None:
        aws.s3.BucketServerSideEncryptionConfiguration(
            self._args.label(purpose),
            bucket=bucket.bucket,
            rules=[self._args.encryption(purpose)],
            opts=self.child,
        )

    def _expire(self, purpose: str, bucket: aws.s3.Bucket) -> None:
        aws.s3.BucketLifecycleConfiguration(
            self._args.label(purpose),
            bucket=bucket.bucket,
            rules=self._args.lifecycle(purpose),
            opts=self.child,
        )

    def _policy(self, purpose: str, bucket: aws.s3.Bucket) -> aws.s3.BucketPolicy:
        return aws.s3.BucketPolicy(
            self._args.label(purpose),
            bucket=bucket.bucket,
            policy=json.dumps(self._args.policy(purpose)),
            opts=self.child,
        )


@dataclass(frozen=True, kw_only=True)
class SharedFolderArgs:
    """`mounts`: zone -> the subnet that its mount target goes into."""

    mounts: Mapping[str, pulumi.Input[str]]
    protect: bool
    place: PlacementArgs


class SharedFolder(Component):
    """An EFS file system for the pods of both Ray clusters.

    Captured rows, the monitor's state and bundles are on it.
    """

    def __init__(
        self,
        name: str,
        args: SharedFolderArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:SharedFolder", name, {}, opts)
        self._args = args
        self.files = self._file_system(name)
        targets = self._mount_targets(name)
        # Only once the targets stand can a pod mount it.
        ids = pulumi.Output.all(self.files.id, *(target.id for target in targets))
        self.id = ids.apply(lambda values: str(values[0]))
        self.register_outputs({"id": self.id})

    def _file_system(self, name: str) -> aws.efs.FileSystem:
        args = self._args
        files = aws.efs.FileSystem(
            name,
            encrypted=True,
            kms_key_id=args.place.key,
            throughput_mode="elastic",
            lifecycle_policies=[{"transition_to_ia": "AFTER_30_DAYS"}],
            tags=args.place.tags.of(name),
            opts=self.keeping(args.protect),
        )
        backup: aws.efs.BackupPolicyBackupPolicyArgsDict = {"status": "ENABLED"}
        aws.efs.BackupPolicy(
            name,
            file_system_id=files.id,
            backup_policy=backup,
            opts=self.child,
        )
        return files

    def _mount_targets(self, name: str) -> list[aws.efs.MountTarget]:
        args = self._args
        group = open_port(
            name,
            "NFS",
            NFS_PORT,
            place=args.place,
            opts=self.child,
        )
        mounts = args.mounts.items()
        return [self._mount_target(f"{name}-{zone[-1]}", subnet, group) for zone, subnet in mounts]

    def _mount_target(
        self,
        label: str,
        subnet: pulumi.Input[str],
        group: aws.ec2.SecurityGroup,
    ) -> aws.efs.MountTarget:
        return aws.efs.MountTarget(
            label,
            file_system_id=self.files.id,
            subnet_id=subnet,
            security_groups=[group.id],
            opts=self.child,
        )
