"""S3 buckets and block storage.

Settings of a bucket are resources of their own, so most rules look at the whole stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from policies.documents import statements
from policies.resource_types import (
    EBS_VOLUME,
    EFS_FILE_SYSTEM,
    KMS_KEY,
    LAUNCH_TEMPLATE,
    S3_BUCKETS,
)
from policies.rule import Violation, forbids, requires, rule
from policies.subjects import Context, Props, Resource, list_at, props_at, value_at

_KMS_ALGORITHMS = ("aws:kms", "aws:kms:dsse")
_PUBLIC_ACCESS_FLAGS = (
    "blockPublicAcls",
    "blockPublicPolicy",
    "ignorePublicAcls",
    "restrictPublicBuckets",
)


def _settings(context: Context, kind: str) -> list[Resource]:
    """Return the stack's resources of this kind that belong to the bucket."""
    bucket = context.resource
    return context.stack.referring("bucket", bucket, f"aws:s3/{kind}:*", f"aws:s3/{kind}V2:*")


def _setting_values(
    context: Context,
    kind: str,
    path: str,
) -> Iterator[Any]:
    """Yield one property of every setting of this kind."""
    for setting in _settings(context, kind):
        yield setting.value(path)


@rule(
    *S3_BUCKETS,
    message="{} is not true in a BucketPublicAccessBlock of this bucket: block all four kinds of"
    " public access",
    fix="Add aws.s3.BucketPublicAccessBlock with all four flags true.",
    severity="critical",
    standard="AWS FSBP S3.8",
    stack=True,
)
def s3_public_access_blocked(_: Props, context: Context) -> Violation:
    """No bucket can be made public by an ACL or a policy."""
    blocks = _settings(context, "bucketPublicAccessBlock")
    return ", ".join(flag for flag in _PUBLIC_ACCESS_FLAGS if not _is_blocked(flag, blocks))


def _is_blocked(flag: str, blocks: list[Resource]) -> bool:
    return any(block.props.get(flag) is True for block in blocks)


@rule(
    *S3_BUCKETS,
    message="requests over plain HTTP are not denied: add a bucket policy that denies s3:* where"
    " aws:SecureTransport is false",
    fix="Add aws.s3.BucketPolicy with Effect Deny, Principal *, Action s3:* and the condition Bool"
    " aws:SecureTransport false.",
    severity="high",
    standard="AWS FSBP S3.5",
    stack=True,
)
def s3_tls_only(_: Props, context: Context) -> Violation:
    """A bucket refuses requests without TLS."""
    documents = _setting_values(context, "bucketPolicy", "policy")
    return not any(map(_denies_plain_http, documents))


def _denies_plain_http(document: Any) -> bool:
    return any(statement.denies_plain_http for statement in statements(document))


@rule(
    "aws:s3/bucketPolicy:BucketPolicy",
    message="the policy allows everyone: name the principals, or add a condition on the account,"
    " organisation or VPC endpoint",
    fix="Replace Principal * by the ARNs of the roles that need the bucket.",
    severity="critical",
    standard="AWS FSBP S3.2",
)
def s3_policy_not_public(policy: Props, _: Context) -> Violation:
    """A bucket policy allows nobody outside the account without a condition."""
    return any(statement.is_public for statement in statements(policy.get("policy")))


@rule(
    *S3_BUCKETS,
    message="versions are not kept: add a BucketVersioning with status Enabled",
    fix="Add aws.s3.BucketVersioning: an overwritten model or table can then be restored.",
    severity="medium",
    standard="AWS Security Hub S3.14",
    stack=True,
)
def s3_versioned(_: Props, context: Context) -> Violation:
    """A bucket keeps the versions of its objects."""
    path = "versioningConfiguration.status"
    return "Enabled" not in _setting_values(context, "bucketVersioning", path)


@rule(
    *S3_BUCKETS,
    message="nothing ever expires: add a BucketLifecycleConfiguration with an enabled rule",
    fix="Add aws.s3.BucketLifecycleConfiguration that expires noncurrent versions and aborts"
    " unfinished uploads.",
    severity="low",
    standard="AWS FSBP S3.13",
    stack=True,
)
def s3_lifecycle(_: Props, context: Context) -> Violation:
    """A bucket has a lifecycle, so that old versions and captured rows do not pile up for ever."""
    return not any(map(_has_enabled_rule, _settings(context, "bucketLifecycleConfiguration")))


def _has_enabled_rule(lifecycle: Resource) -> bool:
    return any(rule.get("status") == "Enabled" for rule in list_at(lifecycle.props, "rules"))


@rule(
    *S3_BUCKETS,
    message="objects are not encrypted with a KMS key: set sseAlgorithm aws:kms and a"
    " kmsMasterKeyId",
    fix="Add aws.s3.BucketServerSideEncryptionConfiguration with sse_algorithm aws:kms, a key, and"
    " bucket_key_enabled.",
    severity="high",
    standard="AWS Security Hub S3.17",
    stack=True,
)
def s3_encrypted_with_kms(_: Props, context: Context) -> Violation:
    """A bucket encrypts its objects with a key whose use can be withdrawn; one that takes access
    logs cannot."""
    if _takes_logs(context):
        return None
    return not any(map(_uses_kms, _settings(context, "bucketServerSideEncryptionConfiguration")))


def _takes_logs(context: Context) -> bool:
    return bool(context.stack.referring("targetBucket", context.resource, "aws:s3/bucketLogging*"))


def _uses_kms(encryption: Resource) -> bool:
    links = encryption.links.get("rules") or ()
    is_linked = any(KMS_KEY in urn for urn in links)  # the key's id is unknown until it exists
    return any(_names_key(rule, is_linked) for rule in list_at(encryption.props, "rules"))


def _names_key(rule: Props, is_linked: bool) -> bool:
    default = props_at(rule, "applyServerSideEncryptionByDefault")
    is_kms = default.get("sseAlgorithm") in _KMS_ALGORITHMS
    return is_kms and bool(is_linked or default.get("kmsMasterKeyId"))


@rule(
    *S3_BUCKETS,
    message="ACLs are still in force: add BucketOwnershipControls with objectOwnership"
    " BucketOwnerEnforced",
    fix="Add aws.s3.BucketOwnershipControls with the rule BucketOwnerEnforced.",
    severity="medium",
    standard="AWS FSBP S3.12",
    stack=True,
)
def s3_acls_off(_: Props, context: Context) -> Violation:
    """Access to a bucket is decided by policies alone."""
    ownership = _setting_values(context, "bucketOwnershipControls", "rule.objectOwnership")
    return "BucketOwnerEnforced" not in ownership


@rule(
    *S3_BUCKETS,
    message="access is not logged: add a BucketLogging with a targetBucket",
    fix="Add aws.s3.BucketLogging, or record data events in CloudTrail and turn this rule off.",
    severity="low",
    standard="AWS FSBP S3.9",
    stack=True,
    level="advisory",
)
def s3_access_logged(_: Props, context: Context) -> Violation:
    """Access to a bucket is logged."""
    logging = _settings(context, "bucketLogging")
    is_logged = any(setting.sets("targetBucket") for setting in logging)
    return not is_logged and not _takes_logs(context)


s3_not_force_destroyed = forbids(
    S3_BUCKETS,
    "forceDestroy",
    True,
    name="s3-not-force-destroyed",
    description="A bucket with objects in it cannot be destroyed.",
    message="forceDestroy is true: a destroy would delete every model and table in it; set it to"
    " false",
    fix="Leave force_destroy out; empty a bucket by hand when it has to go.",
    severity="high",
)

ebs_volume_encrypted = requires(
    EBS_VOLUME,
    "encrypted",
    True,
    name="ebs-volume-encrypted",
    description="A volume is encrypted.",
    message="the volume is not encrypted: set encrypted to true",
    fix="Set encrypted=True, and turn on EBS encryption by default in the account.",
    severity="high",
    standard="AWS FSBP EC2.3",
)


@rule(
    LAUNCH_TEMPLATE,
    message="device {} is not encrypted: set ebs.encrypted to true",
    fix="Set encrypted on every block device of the launch template.",
    severity="high",
    standard="AWS FSBP EC2.181",
)
def node_disks_encrypted(template: Props, _: Context) -> Violation:
    """Nodes start with encrypted disks."""
    devices = list_at(template, "blockDeviceMappings")
    plain = [device for device in devices if not _is_encrypted(device)]
    return ", ".join(str(device.get("deviceName")) for device in plain)


def _is_encrypted(device: Props) -> bool:
    return str(value_at(device, "ebs.encrypted")).lower() == "true"


efs_encrypted = requires(
    EFS_FILE_SYSTEM,
    "encrypted",
    True,
    name="efs-encrypted",
    description="A shared file system is encrypted.",
    message="the file system is not encrypted: set encrypted to true and a kmsKeyId",
    fix="Set encrypted=True at creation; it cannot be changed later.",
    severity="high",
    standard="AWS FSBP EFS.8",
)
