"""IAM documents as pure functions: what each workload may do on which names. Plain JSON values.

Least privilege is by name: every statement names its resources, and `*` stands only where AWS knows
no resource for the action.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from infra.arns import BucketName
from vigil.json_types import JsonObject

Statement = dict[str, Any]
Statements = list[Statement]
Document = dict[str, Any]

_OBJECT_WRITE = (
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
)
_STREAM_READ = ("DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards")
_LEASE_USE = ("DeleteItem", "DescribeTable", "GetItem", "PutItem", "Scan", "UpdateItem")
_KEY_USE = ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey")
_SECRET_READ = ("secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue")
_FILE_SYSTEM_LOOK = (
    "ec2:DescribeAvailabilityZones",
    "elasticfilesystem:DescribeAccessPoints",
    "elasticfilesystem:DescribeFileSystems",
    "elasticfilesystem:DescribeMountTargets",
)


def policy_document(statements: Iterable[Statement]) -> Document:
    """Return a policy document of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(
    sid: str,
    actions: Sequence[str],
    resources: Sequence[str],
    **conditions: JsonObject,
) -> Statement:
    """Return one statement; `conditions` by operator."""
    statement: Statement = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources),
    }
    if conditions:
        statement["Condition"] = conditions
    return statement


def service_actions(service: str, names: Iterable[str]) -> list[str]:
    """Return actions of one service: `s3:GetObject`."""
    return [f"{service}:{name}" for name in names]


def read_objects(bucket: BucketName, prefix: str = "") -> Statements:
    """Read a bucket, or the objects below `prefix`."""
    return _reach_objects(
        "Read",
        ("s3:GetObject",),
        bucket,
        prefix=prefix,
    )


def write_objects(bucket: BucketName, prefix: str = "") -> Statements:
    """Read and write a bucket, or the objects below `prefix`."""
    return _reach_objects(
        "Write",
        _OBJECT_WRITE,
        bucket,
        prefix=prefix,
    )


def _reach_objects(
    verb: str,
    actions: Sequence[str],
    bucket: BucketName,
    *,
    prefix: str,
) -> Statements:
    return [
        _list_bucket(bucket, prefix),
        allow(f"{verb}{_label(bucket)}", actions, [bucket.objects(prefix)]),
    ]


def _list_bucket(bucket: BucketName, prefix: str) -> Statement:
    sid = f"List{_label(bucket)}"
    below = {"StringLike": {"s3:prefix": [f"{prefix}*"]}} if prefix else {}
    return allow(
        sid,
        ("s3:ListBucket",),
        [bucket.arn],
        **below,
    )


def _label(bucket: BucketName) -> str:
    """Return the end of a Sid: letters and digits alone, and another one for each bucket."""
    if bucket.purpose:
        return bucket.purpose.capitalize()
    return "".join(filter(str.isalnum, bucket.name.title()))


def use_key(
    key_arn: str,
    region: str,
    *services: str,
) -> Statement:
    """Use a KMS key through these services only."""
    hosts = [f"{service}.{region}.amazonaws.com" for service in services]
    return allow(
        "UseKey",
        _KEY_USE,
        [key_arn],
        StringEquals={"kms:ViaService": hosts},
    )


def read_stream(stream_arn: str) -> Statement:
    """Consume a Kinesis stream."""
    return allow("ReadStream", service_actions("kinesis", _STREAM_READ), [stream_arn])


def write_stream(stream_arn: str) -> Statement:
    """Put records into a Kinesis stream."""
    return allow("WriteStream", ("kinesis:PutRecord", "kinesis:PutRecords"), [stream_arn])


def share_leases(table_arn: str) -> Statement:
    """Take, keep and give back leases in a DynamoDB table."""
    return allow("ShareLeases", service_actions("dynamodb", _LEASE_USE), [table_arn])


def read_secret(secret_arn: str) -> Statement:
    """Read one secret of Secrets Manager."""
    return allow("ReadSecret", _SECRET_READ, [secret_arn])


def mount_files(file_system_arn: str, access_point_tag: str) -> Statements:
    """Let the EFS CSI driver look, and make and drop its own access points in one file system."""
    points = file_system_arn.split(":file-system/")[0] + ":access-point/*"
    create = allow(
        "Make",
        ("elasticfilesystem:CreateAccessPoint", "elasticfilesystem:TagResource"),
        [file_system_arn, points],
        StringEquals={"aws:RequestTag/efs.csi.aws.com/cluster": access_point_tag},
    )
    delete = allow(
        "Drop",
        ("elasticfilesystem:DeleteAccessPoint",),
        [points],
        StringEquals={"aws:ResourceTag/efs.csi.aws.com/cluster": access_point_tag},
    )
    return [allow("Look", _FILE_SYSTEM_LOOK, ["*"]), create, delete]
