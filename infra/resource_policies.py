"""Policies of resources: who may come to a bucket, a key or a queue. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence

from infra.arns import AwsPlace, BucketName
from infra.grants import Document, Statement, policy_document

_KEY_USE_BY_LOGS = [
    "kms:Decrypt",
    "kms:DescribeKey",
    "kms:Encrypt",
    "kms:GenerateDataKey*",
    "kms:ReEncrypt*",
]


def tls_only(bucket: str) -> Document:
    """Refuse everyone who comes to a bucket without TLS."""
    return policy_document([_deny_plain_buckets(BucketName(bucket))])


def access_logs(bucket: str, account: str) -> Document:
    """A bucket that S3 itself may write the access logs of this account's buckets to."""
    name = BucketName(bucket)
    logs: Statement = {
        "Sid": "Logs",
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": name.objects(),
        "Condition": {"StringEquals": {"aws:SourceAccount": account}},
    }
    return policy_document([_deny_plain_buckets(name), logs])


def _deny_plain_buckets(bucket: BucketName) -> Statement:
    return _deny_plain("s3:*", [bucket.arn, bucket.objects()])


def _deny_plain(action: str, resource: str | list[str]) -> Statement:
    return {
        "Sid": "TlsOnly",
        "Effect": "Deny",
        "Principal": "*",
        "Action": action,
        "Resource": resource,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def key_policy(place: AwsPlace, logs: Sequence[str] = ()) -> Document:
    """The account administers the key through IAM.

    CloudWatch may encrypt the log groups below the prefixes `logs`.
    """
    account: Statement = {
        "Sid": "Account",
        "Effect": "Allow",
        "Principal": {"AWS": place.iam_arn("root")},
        "Action": "kms:*",
        "Resource": "*",
    }
    if not logs:
        return policy_document([account])
    return policy_document([account, _encrypt_logs(place, logs)])


def _encrypt_logs(place: AwsPlace, prefixes: Sequence[str]) -> Statement:
    groups = [place.arn("logs", f"log-group:{prefix}*") for prefix in prefixes]
    return {
        "Sid": "Logs",
        "Effect": "Allow",
        "Principal": {"Service": f"logs.{place.region}.amazonaws.com"},
        "Resource": "*",
        "Action": _KEY_USE_BY_LOGS,
        "Condition": {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": groups}},
    }


def queue_policy(queue_arn: str, rule_arns: Sequence[str]) -> Document:
    """A queue that these EventBridge rules may send to, over TLS."""
    events: Statement = {
        "Sid": "Events",
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": list(rule_arns)}},
    }
    return policy_document([events, _deny_plain("sqs:*", queue_arn)])
