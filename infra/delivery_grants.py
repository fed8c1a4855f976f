"""What the workflows that deliver may do: look at a preview, apply within an outer limit.

Pure functions of names; tests hold the documents to AWS' own grammar and list of actions.
"""

from __future__ import annotations

from infra.arns import AwsPlace, BucketName
from infra.grants import Statement, Statements, allow, service_actions
from infra.trust import GITHUB_ISSUER

# What a stack is made of, and the verbs by which it is made. Data has names (`boundary`); these
# have none before they exist.
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
_BUCKET_VERBS = ("Abort*", "Create*", "Delete*", "Get*", "List*", "Put*")
_VERBS = ("Create*", "Delete*", "Describe*", "Get*", "List*", "Put*")
_KEY_VERBS = (
    *_VERBS,
    "Update*",
    "Cancel*",
    "Decrypt*",
    "Enable*",
    "Encrypt*",
    "GenerateDataKey*",
    "ReEncrypt*",
    "ScheduleKeyDeletion*",
)
_STREAM_VERBS = (
    *_VERBS,
    "Tag*",
    "Untag*",
    "Update*",
    "AddTags*",
    "Decrease*",
    "Disable*",
    "Enable*",
    "Increase*",
    "RemoveTags*",
    "Start*",
    "Stop*",
)
_SECRET_VERBS = ("CreateSecret", "DescribeSecret", "RotateSecret", "TagResource")
_TABLE_VERBS = ("Create*", "Delete*", "Describe*", "List*", "Tag*", "Untag*", "Update*")
_ROLE_ACTIONS = (
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
_PROVIDER_ACTIONS = (
    "CreateOpenIDConnectProvider",
    "DeleteOpenIDConnectProvider",
    "GetOpenIDConnectProvider",
    "TagOpenIDConnectProvider",
)


def use_state(state_bucket: str, place: AwsPlace) -> Statements:
    """Read, write and lock Pulumi's state, and open its secrets.

    The key is that behind alias/pulumi-state.
    """
    return [
        _list_state(state_bucket),
        allow(
            "State",
            ("s3:DeleteObject", "s3:GetObject", "s3:PutObject"),
            [BucketName(state_bucket).objects()],
        ),
        _use_state_key(place),
    ]


def lock_state(state_bucket: str, place: AwsPlace) -> Statements:
    """Read Pulumi's state and write its lock alone: what a preview needs."""
    bucket = BucketName(state_bucket)
    read = allow("ReadState", ("s3:GetObject",), [bucket.objects()])
    lock = allow(
        "LockState",
        ("s3:DeleteObject", "s3:PutObject"),
        [bucket.objects(".pulumi/locks/")],
    )
    return [_list_state(state_bucket), _use_state_key(place), read, lock]


def _list_state(state_bucket: str) -> Statement:
    actions = ("s3:ListBucket", "s3:GetBucketLocation")
    return allow("ListState", actions, [BucketName(state_bucket).arn])


def _use_state_key(place: AwsPlace) -> Statement:
    behind_alias = {"ForAnyValue:StringEquals": {"kms:ResourceAliases": "alias/pulumi-state"}}
    return allow(
        "StateKey",
        ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey"),
        [place.arn("kms", "key/*")],
        **behind_alias,
    )


def boundary(
    place: AwsPlace,
    prefix: str,
    state_bucket: str,
) -> Statements:
    """The outer limit of the role that deploys, whatever else is attached to it.

    This platform's services in its region, data and roles of its own names, the keys of its
    account; nothing of users.
    """
    return [
        _make_stack(place.region),
        _manage_buckets(prefix, state_bucket),
        *_manage_keys(place),
        _manage_data(place, prefix),
        _manage_tables(place, prefix),
        _read_machine_images(place.region),
        *manage_roles(place, prefix),
    ]


def _make_stack(region: str) -> Statement:
    # IAM's neighbours with one place for the world answer from us-east-1.
    regions = {"aws:RequestedRegion": [region, "us-east-1"]}
    return allow(
        "MadeOf",
        [*_stack_actions(), "kms:CreateKey", "kms:ListAliases"],
        ["*"],
        StringEquals=regions,
    )


def _stack_actions() -> list[str]:
    return [f"{service}:{verb}*" for service, verbs in STACK_VERBS.items() for verb in verbs]


def _manage_buckets(prefix: str, state_bucket: str) -> Statement:
    own = f"arn:aws:s3:::{prefix}*"
    state = f"arn:aws:s3:::{state_bucket}"
    return allow(
        "Buckets",
        service_actions("s3", _BUCKET_VERBS),
        [own, f"{own}/*", state, f"{state}/*"],
    )


def _manage_keys(place: AwsPlace) -> Statements:
    keys = place.arn("kms", "key/*")
    aliases = place.arn("kms", "alias/*")
    return [
        allow("Keys", service_actions("kms", _KEY_VERBS), [keys, aliases]),
        allow("KeyTags", ("kms:TagResource", "kms:UntagResource"), [keys]),
    ]


def _manage_data(place: AwsPlace, prefix: str) -> Statement:
    streams = place.arn("kinesis", f"stream/{prefix}*")
    secrets = place.arn("secretsmanager", "secret:*")
    actions = [
        *service_actions("kinesis", _STREAM_VERBS),
        *service_actions("secretsmanager", _SECRET_VERBS),
    ]
    return allow("Data", actions, [streams, secrets])


def _manage_tables(place: AwsPlace, prefix: str) -> Statement:
    tables = place.arn("dynamodb", f"table/{prefix}*")
    return allow("Tables", service_actions("dynamodb", _TABLE_VERBS), [tables])


def _read_machine_images(region: str) -> Statement:
    parameters = f"arn:aws:ssm:{region}::parameter/aws/service/*"
    return allow("Images", ("ssm:GetParameter*",), [parameters])


def manage_roles(place: AwsPlace, prefix: str) -> Statements:
    """Make, change and hand out roles and profiles whose names begin with `prefix`.

    And GitHub's identity provider.
    """
    own = [place.iam_arn(f"{kind}/{prefix}*") for kind in ("role", "instance-profile", "policy")]
    # A service's own role, which its first use in an account makes.
    linked = place.iam_arn("role/aws-service-role/*")
    provider = place.iam_arn(f"oidc-provider/{GITHUB_ISSUER}")
    return [
        allow("ServiceLinked", ("iam:CreateServiceLinkedRole", "iam:GetRole"), [linked]),
        allow("Roles", service_actions("iam", _ROLE_ACTIONS), own),
        allow("GitHub", service_actions("iam", _PROVIDER_ACTIONS), [provider]),
    ]
