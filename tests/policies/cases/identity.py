"""Cases of the rules of policies/identity.py."""

from __future__ import annotations

from tests.policies.parts import allow, document, github, trust
from tests.policies.table import REMOVED, Break, Case

ADMIN = (
    "it allows every action on everything: list the actions and resources that the workload needs"
)
EVERYWHERE = "{} is allowed on every resource: name the ARNs, or add a condition"
DECRYPT = "it may decrypt with every key: name the key's ARN"
ANYONE = "anyone may assume the role: name the principals in assumeRolePolicy"
PINNED = (
    "{} is not pinned: pin aud and sub with StringEquals to the repository and its environment or"
    " branch"
)
KEY_PUBLIC = (
    "the key policy lets everyone use the key: name the principals, or add a condition on the"
    " account"
)
KEY_GONE = (
    "the key, and all that it encrypts, is gone after {} days: set deletionWindowInDays to the"
    " required number or more"
)

IDENTITY_CASES = [
    Case(
        "iam-no-admin",
        ("policy", "policy"),
        [
            Break("policy", "policy", document(allow("*", "*")), ADMIN),
            Break(
                "serve-role",
                "inlinePolicies.0.policy",
                document(allow(["*"], ["*"])),
                f"inline policy read: {ADMIN}",
            ),
        ],
    ),
    Case(
        "iam-no-service-wildcard",
        ("policy", "policy"),
        [
            Break(
                "policy",
                "policy",
                document(allow(["s3:*", "kinesis:PutRecord"], "arn:aws:s3:::vigil-models/*")),
                "s3:* allows every action of a service: list the actions",
            )
        ],
    ),
    Case(
        "iam-no-data-wildcard",
        ("serve-role", "inlinePolicies.0.policy"),
        [
            Break(
                "policy",
                "policy",
                document(allow("s3:GetObject", "*")),
                EVERYWHERE.replace("{}", "s3:GetObject"),
            ),
            Break(
                "policy",
                "policy",
                document(allow("s3:ListBucket", "*")),
                EVERYWHERE.replace("{}", "s3:ListBucket"),
            ),
            Break(
                "policy",
                "policy",
                document(allow("ec2:RunInstances", "*")),
                EVERYWHERE.replace("{}", "ec2:RunInstances"),
            ),
        ],
    ),
    Case(
        "iam-no-decrypt-everywhere",
        ("policy", "policy"),
        [
            Break("policy", "policy", document(allow("kms:Decrypt", "*")), DECRYPT),
            Break(
                "policy",
                "policy",
                document(allow("kms:*", "arn:aws:kms:eu-west-1:1:key/*")),
                DECRYPT,
            ),
        ],
    ),
    Case(
        "iam-no-wide-managed-policy",
        ("attachment", "policyArn"),
        [
            Break(
                "attachment",
                "policyArn",
                f"arn:aws:iam::aws:policy/{name}",
                f"{name} is attached: write a policy with the actions that are needed, or set the"
                f" role's permissionsBoundary",
            )
            for name in ("AdministratorAccess", "AmazonS3FullAccess", "PowerUserAccess")
        ],
    ),
    Case(
        "iam-trust-named",
        ("serve-role", "assumeRolePolicy"),
        [
            Break("serve-role", "assumeRolePolicy", document(trust(AWS="*")), ANYONE),
            Break(
                "serve-role", "assumeRolePolicy", document({**trust(), "Principal": "*"}), ANYONE
            ),
        ],
    ),
    Case(
        "oidc-trust-pinned",
        ("apply-role", "assumeRolePolicy"),
        [
            Break(
                "apply-role",
                "assumeRolePolicy",
                github("repo:acme/*"),
                PINNED.replace("{}", "the subject"),
            ),
            Break(
                "apply-role",
                "assumeRolePolicy",
                github("repo:acme/vigil:*"),
                PINNED.replace("{}", "the subject"),
            ),
            Break(
                "apply-role",
                "assumeRolePolicy",
                github("repo:acme/vigil"),
                PINNED.replace("{}", "the subject"),
            ),
            Break(
                "apply-role", "assumeRolePolicy", github([]), PINNED.replace("{}", "the subject")
            ),
            Break(
                "apply-role",
                "assumeRolePolicy",
                github(audience="any"),
                PINNED.replace("{}", "the audience"),
            ),
            Break(
                "apply-role",
                "assumeRolePolicy",
                github(operator="StringLike"),
                PINNED.replace("{}", "the audience"),
            ),
        ],
    ),
    Case(
        "kms-rotated",
        ("key", "enableKeyRotation"),
        [
            Break(
                "key",
                "enableKeyRotation",
                False,
                "the key never changes: set enableKeyRotation to true",
            ),
            Break(
                "key",
                "enableKeyRotation",
                REMOVED,
                "the key never changes: set enableKeyRotation to true",
            ),
        ],
    ),
    Case(
        "kms-not-public",
        ("key", "policy"),
        [Break("key", "policy", document(allow("kms:*", "*", Principal={"AWS": "*"})), KEY_PUBLIC)],
    ),
    Case(
        "kms-deleted-slowly",
        ("key", "deletionWindowInDays"),
        [Break("key", "deletionWindowInDays", 7.0, KEY_GONE.replace("{}", "7"))],
    ),
    Case(
        "secret-recoverable",
        ("secret", "recoveryWindowInDays"),
        [
            Break(
                "secret",
                "recoveryWindowInDays",
                0.0,
                "a deleted secret is gone at once: set recoveryWindowInDays to 7 or more",
            )
        ],
    ),
]
