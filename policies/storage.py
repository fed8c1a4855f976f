"""S3 buckets and block storage. Bucket settings are resources of their own, so most rules look at the whole stack."""

from __future__ import annotations

from policies.documents import any_principal, denies_plain_http, statements
from policies.rule import Context, Found, Props, Resource, rule

BUCKET = ("aws:s3/bucket:Bucket", "aws:s3/bucketV2:BucketV2")
KMS = ("aws:kms", "aws:kms:dsse")
FLAGS = ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")


def _settings(context: Context, kind: str) -> list[Resource]:
    """The stack's resources of this kind that belong to the bucket."""
    return context.stack.referring(
        "bucket", context.resource, f"aws:s3/{kind}:*", f"aws:s3/{kind}V2:*"
    )


@rule(
    *BUCKET,
    message="{} is not true in a BucketPublicAccessBlock of this bucket: block all four kinds of public access",
    fix="Add aws.s3.BucketPublicAccessBlock with all four flags true.",
    severity="critical",
    standard="AWS FSBP S3.8",
    stack=True,
)
def s3_public_access_blocked(_: Props, context: Context) -> Found:
    """No bucket can be made public by an ACL or a policy."""
    blocks = _settings(context, "bucketPublicAccessBlock")
    return ", ".join(
        flag for flag in FLAGS if not any(block.props.get(flag) is True for block in blocks)
    )


@rule(
    *BUCKET,
    message="requests over plain HTTP are not denied: add a bucket policy that denies s3:* where aws:SecureTransport is false",
    fix="Add aws.s3.BucketPolicy with Effect Deny, Principal *, Action s3:* and the condition Bool aws:SecureTransport false.",
    severity="high",
    standard="AWS FSBP S3.5",
    stack=True,
)
def s3_tls_only(_: Props, context: Context) -> Found:
    """A bucket refuses requests without TLS."""
    policies = _settings(context, "bucketPolicy")
    return not any(
        denies_plain_http(statement)
        for policy in policies
        for statement in statements(policy.props.get("policy"))
    )


@rule(
    "aws:s3/bucketPolicy:BucketPolicy",
    message="the policy allows everyone: name the principals, or add a condition on the account, organisation or VPC endpoint",
    fix="Replace Principal * by the ARNs of the roles that need the bucket.",
    severity="critical",
    standard="AWS FSBP S3.2",
)
def s3_policy_not_public(policy: Props, _: Context) -> Found:
    """A bucket policy allows nobody outside the account without a condition."""
    return any(
        statement["Effect"] == "Allow"
        and any_principal(statement)
        and not statement.get("Condition")
        for statement in statements(policy.get("policy"))
    )


@rule(
    *BUCKET,
    message="versions are not kept: add a BucketVersioning with status Enabled",
    fix="Add aws.s3.BucketVersioning: an overwritten model or table can then be restored.",
    severity="medium",
    standard="AWS Security Hub S3.14",
    stack=True,
)
def s3_versioned(_: Props, context: Context) -> Found:
    """A bucket keeps the versions of its objects."""
    found = _settings(context, "bucketVersioning")
    return not any(
        (each.props.get("versioningConfiguration") or {}).get("status") == "Enabled"
        for each in found
    )


@rule(
    *BUCKET,
    message="nothing ever expires: add a BucketLifecycleConfiguration with an enabled rule",
    fix="Add aws.s3.BucketLifecycleConfiguration that expires noncurrent versions and aborts unfinished uploads.",
    severity="low",
    standard="AWS FSBP S3.13",
    stack=True,
)
def s3_lifecycle(_: Props, context: Context) -> Found:
    """A bucket has a lifecycle, so that old versions and captured rows do not pile up for ever."""
    found = _settings(context, "bucketLifecycleConfiguration")
    return not any(
        each.get("status") == "Enabled"
        for config in found
        for each in config.props.get("rules") or ()
    )


@rule(
    *BUCKET,
    message="objects are not encrypted with a KMS key: set sseAlgorithm aws:kms and a kmsMasterKeyId",
    fix="Add aws.s3.BucketServerSideEncryptionConfiguration with sse_algorithm aws:kms, a key, and bucket_key_enabled.",
    severity="high",
    standard="AWS Security Hub S3.17",
    stack=True,
)
def s3_encrypted_with_kms(_: Props, context: Context) -> Found:
    """A bucket encrypts its objects with a key whose use can be withdrawn; one that takes access logs cannot."""
    if _takes_logs(context):
        return None
    return not any(
        _uses_kms(config)
        for config in _settings(context, "bucketServerSideEncryptionConfiguration")
    )


def _takes_logs(context: Context) -> bool:
    return bool(context.stack.referring("targetBucket", context.resource, "aws:s3/bucketLogging*"))


def _uses_kms(config: Resource) -> bool:
    linked = any(
        "aws:kms/key:Key" in urn for urn in config.links.get("rules") or ()
    )  # the key's id is unknown until it exists
    defaults = [
        each.get("applyServerSideEncryptionByDefault") or {}
        for each in config.props.get("rules") or ()
    ]
    return any(
        each.get("sseAlgorithm") in KMS and (linked or each.get("kmsMasterKeyId"))
        for each in defaults
    )


@rule(
    *BUCKET,
    message="ACLs are still in force: add BucketOwnershipControls with objectOwnership BucketOwnerEnforced",
    fix="Add aws.s3.BucketOwnershipControls with the rule BucketOwnerEnforced.",
    severity="medium",
    standard="AWS FSBP S3.12",
    stack=True,
)
def s3_acls_off(_: Props, context: Context) -> Found:
    """Access to a bucket is decided by policies alone."""
    found = _settings(context, "bucketOwnershipControls")
    return not any(
        (each.props.get("rule") or {}).get("objectOwnership") == "BucketOwnerEnforced"
        for each in found
    )


@rule(
    *BUCKET,
    message="access is not logged: add a BucketLogging with a targetBucket",
    fix="Add aws.s3.BucketLogging, or record data events in CloudTrail and turn this rule off.",
    severity="low",
    standard="AWS FSBP S3.9",
    stack=True,
)
def s3_access_logged(_: Props, context: Context) -> Found:
    """Access to a bucket is logged."""
    logged = any(
        each.links.get("targetBucket") or each.props.get("targetBucket")
        for each in _settings(context, "bucketLogging")
    )
    return not logged and not _takes_logs(context)


@rule(
    *BUCKET,
    message="forceDestroy is true: a destroy would delete every model and table in it; set it to false",
    fix="Leave force_destroy out; empty a bucket by hand when it has to go.",
    severity="high",
)
def s3_not_force_destroyed(bucket: Props, _: Context) -> Found:
    """A bucket with objects in it cannot be destroyed."""
    return bucket.get("forceDestroy") is True


@rule(
    "aws:ebs/volume:Volume",
    message="the volume is not encrypted: set encrypted to true",
    fix="Set encrypted=True, and turn on EBS encryption by default in the account.",
    severity="high",
    standard="AWS FSBP EC2.3",
)
def ebs_volume_encrypted(volume: Props, _: Context) -> Found:
    """A volume is encrypted."""
    return volume.get("encrypted") is not True


@rule(
    "aws:ec2/launchTemplate:LaunchTemplate",
    message="device {} is not encrypted: set ebs.encrypted to true",
    fix="Set encrypted on every block device of the launch template.",
    severity="high",
    standard="AWS FSBP EC2.181",
)
def node_disks_encrypted(template: Props, _: Context) -> Found:
    """Nodes start with encrypted disks."""
    devices = template.get("blockDeviceMappings") or ()
    return ", ".join(
        str(device.get("deviceName"))
        for device in devices
        if str((device.get("ebs") or {}).get("encrypted")).lower() != "true"
    )


@rule(
    "aws:efs/fileSystem:FileSystem",
    message="the file system is not encrypted: set encrypted to true and a kmsKeyId",
    fix="Set encrypted=True at creation; it cannot be changed later.",
    severity="high",
    standard="AWS FSBP EFS.8",
)
def efs_encrypted(system: Props, _: Context) -> Found:
    """A shared file system is encrypted."""
    return system.get("encrypted") is not True
