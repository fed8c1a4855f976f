"""IAM documents as pure functions: who may do what on which names. Nothing here knows Pulumi; everything is plain JSON values.

Least privilege is by name: every statement names its resources, and `*` stands only where AWS knows no resource for the action.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Statement = dict[str, Any]
Document = dict[str, Any]

GITHUB_ISSUER = "token.actions.githubusercontent.com"
BUCKET_READ = ("s3:GetBucketLocation", "s3:ListBucket")
OBJECT_READ = ("s3:GetObject",)
OBJECT_WRITE = (
    "s3:AbortMultipartUpload",
    "s3:DeleteObject",
    "s3:GetObject",
    "s3:ListMultipartUploadParts",
    "s3:PutObject",
)
# What a stack is made of, and the verbs by which it is made. Data has names (`boundary`); these have none before they exist.
STACK_VERBS = {
    "autoscaling": ("Create", "Delete", "Describe", "Update"),
    "budgets": ("Describe", "List", "Modify", "Tag", "Untag", "View"),
    "ec2": (
        "Allocate",
        "Associate",
        "Attach",
        "Authorize",
        "Create",
        "Delete",
        "Describe",
        "Detach",
        "Disassociate",
        "Get",
        "Modify",
        "Release",
        "Replace",
        "Revoke",
        "RunInstances",
        "TerminateInstances",
    ),
    "ecr": (
        "BatchGet",
        "Create",
        "Delete",
        "Describe",
        "Get",
        "List",
        "Put",
        "Set",
        "Tag",
        "Untag",
    ),
    "eks": (
        "Associate",
        "Create",
        "Delete",
        "Describe",
        "Disassociate",
        "List",
        "Tag",
        "Untag",
        "Update",
    ),
    "elasticache": (
        "AddTags",
        "Create",
        "Delete",
        "Describe",
        "Increase",
        "Decrease",
        "List",
        "Modify",
        "RemoveTags",
    ),
    "elasticfilesystem": (
        "Create",
        "Delete",
        "Describe",
        "List",
        "Modify",
        "Put",
        "Tag",
        "Untag",
        "Update",
    ),
    "events": ("Delete", "Describe", "List", "Put", "Remove", "Tag", "Untag"),
    "logs": (
        "Associate",
        "Create",
        "Delete",
        "Describe",
        "Disassociate",
        "List",
        "Put",
        "Tag",
        "Untag",
    ),
    "rds": ("AddTags", "Create", "Delete", "Describe", "List", "Modify", "RemoveTags"),
    "sqs": ("Add", "Create", "Delete", "Get", "List", "Remove", "Set", "Tag", "Untag"),
    "sts": ("Get",),  # not AssumeRole: a role that a deployment makes is not one it can become
}


def policy_document(statements: Iterable[Statement]) -> Document:
    """A policy document of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def allow(
    sid: str, actions: Sequence[str], resources: Sequence[str], **conditions: dict[str, Any]
) -> Statement:
    """One statement; `conditions` by operator."""
    found: Statement = {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": list(resources),
    }
    return {**found, "Condition": conditions} if conditions else found


# Who may assume a role.


def trust_service(
    service: str, actions: Sequence[str] = ("sts:AssumeRole",), account: str | None = None
) -> Document:
    """A role of an AWS service, of this account's resources alone where `account` is given."""
    found: Statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": list(actions),
    }
    if account is not None:
        found["Condition"] = {"StringEquals": {"aws:SourceAccount": account}}
    return policy_document([found])


def trust_pods(account: str, cluster_arn: str, namespace: str, service_account: str) -> Document:
    """A role for the pods of one service account in one cluster (EKS Pod Identity)."""
    tags = {"kubernetes-namespace": namespace, "kubernetes-service-account": service_account}
    return policy_document(
        [
            {
                "Effect": "Allow",
                "Principal": {"Service": "pods.eks.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Condition": {
                    "StringEquals": {
                        "aws:SourceAccount": account,
                        **{f"aws:RequestTag/{key}": value for key, value in tags.items()},
                    },
                    "ArnEquals": {"aws:SourceArn": cluster_arn},
                },
            }
        ]
    )


def trust_github(provider_arn: str, subject: str) -> Document:
    """A role for the workflows of exactly one `sub` claim: `repo:OWNER/NAME:environment:prod`, never a pattern."""
    return policy_document(
        [
            {
                "Effect": "Allow",
                "Principal": {"Federated": provider_arn},
                "Action": ["sts:AssumeRoleWithWebIdentity"],
                "Condition": {
                    "StringEquals": {
                        f"{GITHUB_ISSUER}:aud": "sts.amazonaws.com",
                        f"{GITHUB_ISSUER}:sub": subject,
                    }
                },
            }
        ]
    )


# What each workload may do.


def read_objects(bucket: str, prefix: str = "") -> list[Statement]:
    """Read a bucket, or the objects below `prefix`."""
    return _objects("Read", OBJECT_READ, bucket, prefix)


def write_objects(bucket: str, prefix: str = "") -> list[Statement]:
    """Read and write a bucket, or the objects below `prefix`."""
    return _objects("Write", OBJECT_WRITE, bucket, prefix)


def _objects(verb: str, actions: Sequence[str], bucket: str, prefix: str) -> list[Statement]:
    purpose = bucket.split("-")[2].capitalize() if bucket.count("-") > 2 else ""
    limit = {"StringLike": {"s3:prefix": [f"{prefix}*"]}} if prefix else {}
    return [
        allow(f"List{purpose}", BUCKET_READ[1:], [f"arn:aws:s3:::{bucket}"], **limit),
        allow(f"{verb}{purpose}", actions, [f"arn:aws:s3:::{bucket}/{prefix}*"]),
    ]


def use_key(key_arn: str, region: str, *services: str) -> Statement:
    """Use a KMS key through these services only."""
    via = {"kms:ViaService": [f"{service}.{region}.amazonaws.com" for service in services]}
    return allow(
        "UseKey",
        ("kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey"),
        [key_arn],
        StringEquals=via,
    )


def read_stream(stream_arn: str) -> Statement:
    """Consume a Kinesis stream."""
    actions = ("DescribeStreamSummary", "GetRecords", "GetShardIterator", "ListShards")
    return allow("ReadStream", [f"kinesis:{action}" for action in actions], [stream_arn])


def write_stream(stream_arn: str) -> Statement:
    """Put records into a Kinesis stream."""
    return allow("WriteStream", ("kinesis:PutRecord", "kinesis:PutRecords"), [stream_arn])


def share_leases(table_arn: str) -> Statement:
    """Take, keep and give back leases in a DynamoDB table."""
    actions = ("DeleteItem", "DescribeTable", "GetItem", "PutItem", "Scan", "UpdateItem")
    return allow("ShareLeases", [f"dynamodb:{action}" for action in actions], [table_arn])


def read_secret(secret_arn: str) -> Statement:
    """Read one secret of Secrets Manager."""
    return allow(
        "ReadSecret",
        ("secretsmanager:DescribeSecret", "secretsmanager:GetSecretValue"),
        [secret_arn],
    )


def mount_files(file_system_arn: str, access_point_tag: str) -> list[Statement]:
    """What the EFS CSI driver does: look, and make and drop its own access points in one file system."""
    mine = {"StringEquals": {"aws:ResourceTag/efs.csi.aws.com/cluster": access_point_tag}}
    asked = {"StringEquals": {"aws:RequestTag/efs.csi.aws.com/cluster": access_point_tag}}
    point = file_system_arn.split(":file-system/")[0] + ":access-point/*"
    return [
        allow(
            "Look",
            (
                "ec2:DescribeAvailabilityZones",
                "elasticfilesystem:DescribeAccessPoints",
                "elasticfilesystem:DescribeFileSystems",
                "elasticfilesystem:DescribeMountTargets",
            ),
            ["*"],
        ),
        allow(
            "Make",
            ("elasticfilesystem:CreateAccessPoint", "elasticfilesystem:TagResource"),
            [file_system_arn, point],
            **asked,
        ),
        allow("Drop", ("elasticfilesystem:DeleteAccessPoint",), [point], **mine),
    ]


# Resource policies.


def tls_only(bucket: str) -> Document:
    """Refuse everyone who comes without TLS."""
    return policy_document(
        [
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ]
    )


def access_logs(bucket: str, account: str) -> Document:
    """A bucket that S3 itself may write the access logs of this account's buckets to."""
    return policy_document(
        [
            *tls_only(bucket)["Statement"],
            {
                "Sid": "Logs",
                "Effect": "Allow",
                "Principal": {"Service": "logging.s3.amazonaws.com"},
                "Action": "s3:PutObject",
                "Resource": f"arn:aws:s3:::{bucket}/*",
                "Condition": {"StringEquals": {"aws:SourceAccount": account}},
            },
        ]
    )


def key_policy(account: str, region: str, logs: Sequence[str] = ()) -> Document:
    """The account administers the key through IAM; CloudWatch may encrypt the log groups below the prefixes `logs`."""
    statements: list[Statement] = [
        {
            "Sid": "Account",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{account}:root"},
            "Action": "kms:*",
            "Resource": "*",
        }
    ]
    if logs:
        scope = {
            "kms:EncryptionContext:aws:logs:arn": [
                f"arn:aws:logs:{region}:{account}:log-group:{prefix}*" for prefix in logs
            ]
        }
        statements.append(
            {
                "Sid": "Logs",
                "Effect": "Allow",
                "Principal": {"Service": f"logs.{region}.amazonaws.com"},
                "Resource": "*",
                "Action": [
                    "kms:Decrypt",
                    "kms:DescribeKey",
                    "kms:Encrypt",
                    "kms:GenerateDataKey*",
                    "kms:ReEncrypt*",
                ],
                "Condition": {"ArnLike": scope},
            }
        )
    return policy_document(statements)


def queue_policy(queue_arn: str, rule_arns: Sequence[str]) -> Document:
    """A queue that these EventBridge rules may send to, over TLS."""
    return policy_document(
        [
            {
                "Sid": "Events",
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": list(rule_arns)}},
            },
            {
                "Sid": "TlsOnly",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "sqs:*",
                "Resource": queue_arn,
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ]
    )


# The workflows that deliver.


def use_state(bucket: str, account: str, region: str) -> list[Statement]:
    """Read, write and lock Pulumi's state, and open its secrets with the key behind alias/pulumi-state."""
    keys = [f"arn:aws:kms:{region}:{account}:key/*"]
    alias = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/pulumi-state"}}
    return [
        allow("ListState", ("s3:ListBucket", "s3:GetBucketLocation"), [f"arn:aws:s3:::{bucket}"]),
        allow(
            "State",
            ("s3:DeleteObject", "s3:GetObject", "s3:PutObject"),
            [f"arn:aws:s3:::{bucket}/*"],
        ),
        allow(
            "StateKey",
            ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"),
            keys,
            **alias,
        ),
    ]


def lock_state(bucket: str, account: str, region: str) -> list[Statement]:
    """Read Pulumi's state and write its lock alone: what a preview needs."""
    listed, _, key = use_state(bucket, account, region)
    return [
        listed,
        key,
        allow("ReadState", ("s3:GetObject",), [f"arn:aws:s3:::{bucket}/*"]),
        allow(
            "LockState",
            ("s3:DeleteObject", "s3:PutObject"),
            [f"arn:aws:s3:::{bucket}/.pulumi/locks/*"],
        ),
    ]


def boundary(account: str, region: str, prefix: str, state_bucket: str) -> list[Statement]:
    """The outer limit of the role that deploys, whatever else is attached to it: this platform's services in its region,
    data and roles of its own names, the keys of its account; nothing of users."""
    here = {
        "aws:RequestedRegion": [region, "us-east-1"]
    }  # IAM's neighbours with one place for the world answer from there
    buckets = [
        f"arn:aws:s3:::{name}{rest}" for name in (f"{prefix}*", state_bucket) for rest in ("", "/*")
    ]
    keys = [f"arn:aws:kms:{region}:{account}:{kind}/*" for kind in ("key", "alias")]
    data = [
        f"arn:aws:kinesis:{region}:{account}:stream/{prefix}*",
        f"arn:aws:secretsmanager:{region}:{account}:secret:*",
    ]
    verbs = ("Create", "Delete", "Describe", "Get", "List", "Put", "Tag", "Untag", "Update")
    kms = (
        "Cancel",
        "Decrypt",
        "Enable",
        "Encrypt",
        "GenerateDataKey",
        "ReEncrypt",
        "ScheduleKeyDeletion",
    )
    stream = ("AddTags", "Decrease", "Disable", "Enable", "Increase", "RemoveTags", "Start", "Stop")
    made = [f"{service}:{verb}*" for service, names in STACK_VERBS.items() for verb in names]
    return [
        allow("MadeOf", [*made, "kms:CreateKey", "kms:ListAliases"], ["*"], StringEquals=here),
        allow(
            "Buckets",
            [f"s3:{verb}*" for verb in ("Abort", "Create", "Delete", "Get", "List", "Put")],
            buckets,
        ),
        allow(
            "Keys",
            [f"kms:{verb}*" for verb in (*verbs, *kms) if verb not in ("Tag", "Untag")],
            keys,
        ),
        allow("KeyTags", ("kms:TagResource", "kms:UntagResource"), keys[:1]),
        allow(
            "Data",
            [
                *(f"kinesis:{verb}*" for verb in (*verbs, *stream)),
                *(
                    f"secretsmanager:{verb}"
                    for verb in ("CreateSecret", "DescribeSecret", "RotateSecret", "TagResource")
                ),
            ],
            data,
        ),
        allow(
            "Tables",
            [
                f"dynamodb:{verb}*"
                for verb in ("Create", "Delete", "Describe", "List", "Tag", "Untag", "Update")
            ],
            [f"arn:aws:dynamodb:{region}:{account}:table/{prefix}*"],
        ),
        allow("Images", ("ssm:GetParameter*",), [f"arn:aws:ssm:{region}::parameter/aws/service/*"]),
        *manage_roles(account, prefix),
    ]


def manage_roles(account: str, prefix: str) -> list[Statement]:
    """Make, change and hand out the roles and profiles whose names begin with `prefix`, and GitHub's identity provider."""
    mine = [
        f"arn:aws:iam::{account}:{kind}/{prefix}*"
        for kind in ("role", "instance-profile", "policy")
    ]
    actions = (
        "AddRoleToInstanceProfile",
        "AttachRolePolicy",
        "CreateInstanceProfile",
        "CreateRole",
        "DeleteInstanceProfile",
        "DeleteRole",
        "DeleteRolePolicy",
        "DetachRolePolicy",
        "GetInstanceProfile",
        "GetPolicy",
        "GetPolicyVersion",
        "GetRole",
        "GetRolePolicy",
        "ListPolicyVersions",
        "ListAttachedRolePolicies",
        "ListInstanceProfilesForRole",
        "ListRolePolicies",
        "PassRole",
        "PutRolePolicy",
        "RemoveRoleFromInstanceProfile",
        "TagInstanceProfile",
        "TagRole",
        "UntagRole",
        "UpdateAssumeRolePolicy",
    )
    provider = (
        "CreateOpenIDConnectProvider",
        "DeleteOpenIDConnectProvider",
        "GetOpenIDConnectProvider",
        "TagOpenIDConnectProvider",
    )
    linked = f"arn:aws:iam::{account}:role/aws-service-role/*"  # a service's own role, which its first use in an account makes
    return [
        allow("ServiceLinked", ("iam:CreateServiceLinkedRole", "iam:GetRole"), [linked]),
        allow("Roles", [f"iam:{action}" for action in actions], mine),
        allow(
            "GitHub",
            [f"iam:{action}" for action in provider],
            [f"arn:aws:iam::{account}:oidc-provider/{GITHUB_ISSUER}"],
        ),
    ]
