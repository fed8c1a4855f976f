"""Cases of the rules of policies/storage.py."""

from __future__ import annotations

from tests.policies.parts import TLS_ONLY, document
from tests.policies.table import REMOVED, Break, Case

EVERYONE = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}
NO_TLS = (
    "requests over plain HTTP are not denied: add a bucket policy that denies s3:* where"
    " aws:SecureTransport is false"
)
PUBLIC_POLICY = (
    "the policy allows everyone: name the principals, or add a condition on the account,"
    " organisation or VPC endpoint"
)
NO_VERSIONS = "versions are not kept: add a BucketVersioning with status Enabled"
NO_LIFECYCLE = "nothing ever expires: add a BucketLifecycleConfiguration with an enabled rule"
NO_KMS = "objects are not encrypted with a KMS key: set sseAlgorithm aws:kms and a kmsMasterKeyId"
ACLS = (
    "ACLs are still in force: add BucketOwnershipControls with objectOwnership BucketOwnerEnforced"
)
SSE = "rules.0.applyServerSideEncryptionByDefault"
BLOCK = (
    "is not true in a BucketPublicAccessBlock of this bucket: block all four kinds of public access"
)
FORCED = "forceDestroy is true: a destroy would delete every model and table in it; set it to false"

STORAGE_CASES = [
    Case(
        "s3-public-access-blocked",
        ("BucketPublicAccessBlock", "restrictPublicBuckets"),
        [
            Break(
                "BucketPublicAccessBlock",
                "blockPublicAcls",
                False,
                f"blockPublicAcls {BLOCK}",
                "models",
            ),
            Break(
                "BucketPublicAccessBlock",
                "blockPublicPolicy",
                False,
                f"blockPublicPolicy {BLOCK}",
                "models",
            ),
            Break(
                "BucketPublicAccessBlock",
                "ignorePublicAcls",
                REMOVED,
                f"ignorePublicAcls {BLOCK}",
                "models",
            ),
            Break(
                "BucketPublicAccessBlock",
                "restrictPublicBuckets",
                False,
                f"restrictPublicBuckets {BLOCK}",
                "models",
            ),
            Break(
                "BucketPublicAccessBlock",
                "",
                REMOVED,
                f"blockPublicAcls, blockPublicPolicy, ignorePublicAcls, restrictPublicBuckets"
                f" {BLOCK}",
                "models",
            ),
        ],
    ),
    Case(
        "s3-tls-only",
        ("BucketPolicy", "policy"),
        [
            Break("BucketPolicy", "", REMOVED, NO_TLS, "models"),
            Break(
                "BucketPolicy",
                "policy",
                document({**TLS_ONLY, "Effect": "Allow"}),
                NO_TLS,
                "models",
            ),
            Break(
                "BucketPolicy",
                "policy",
                document({**TLS_ONLY, "Action": "s3:GetObject"}),
                NO_TLS,
                "models",
            ),
            Break(
                "BucketPolicy",
                "policy",
                document({**TLS_ONLY, "Principal": {"AWS": "arn:x"}}),
                NO_TLS,
                "models",
            ),
            Break(
                "BucketPolicy",
                "policy",
                document({**TLS_ONLY, "Condition": {"Bool": {"aws:SecureTransport": "true"}}}),
                NO_TLS,
                "models",
            ),
        ],
    ),
    Case(
        "s3-policy-not-public",
        ("BucketPolicy", "policy"),
        [
            Break("BucketPolicy", "policy", document(EVERYONE), PUBLIC_POLICY),
            Break(
                "BucketPolicy",
                "policy",
                document({**EVERYONE, "Principal": {"AWS": ["*"]}}),
                PUBLIC_POLICY,
            ),
        ],
    ),
    Case(
        "s3-versioned",
        ("BucketVersioning", "versioningConfiguration.status"),
        [
            Break(
                "BucketVersioning",
                "versioningConfiguration.status",
                "Suspended",
                NO_VERSIONS,
                "models",
            ),
            Break("BucketVersioning", "", REMOVED, NO_VERSIONS, "models"),
        ],
    ),
    Case(
        "s3-lifecycle",
        ("BucketLifecycleConfiguration", "rules"),
        [
            Break(
                "BucketLifecycleConfiguration", "rules.0.status", "Disabled", NO_LIFECYCLE, "models"
            ),
            Break("BucketLifecycleConfiguration", "", REMOVED, NO_LIFECYCLE, "models"),
        ],
    ),
    Case(
        "s3-encrypted-with-kms",
        ("BucketServerSideEncryptionConfiguration", f"{SSE}.kmsMasterKeyId"),
        [
            Break(
                "BucketServerSideEncryptionConfiguration",
                f"{SSE}.sseAlgorithm",
                "AES256",
                NO_KMS,
                "models",
            ),
            Break(
                "BucketServerSideEncryptionConfiguration",
                f"{SSE}.kmsMasterKeyId",
                REMOVED,
                NO_KMS,
                "models",
            ),
            Break("BucketServerSideEncryptionConfiguration", "", REMOVED, NO_KMS, "models"),
        ],
    ),
    Case(
        "s3-acls-off",
        ("BucketOwnershipControls", "rule.objectOwnership"),
        [
            Break(
                "BucketOwnershipControls", "rule.objectOwnership", "ObjectWriter", ACLS, "models"
            ),
            Break("BucketOwnershipControls", "", REMOVED, ACLS, "models"),
        ],
    ),
    Case(
        "s3-access-logged",
        ("BucketLogging", "targetBucket"),
        [
            Break(
                "BucketLogging",
                "",
                REMOVED,
                "access is not logged: add a BucketLogging with a targetBucket",
                "models",
            )
        ],
    ),
    Case(
        "s3-not-force-destroyed",
        ("models", "forceDestroy"),
        [Break("models", "forceDestroy", True, FORCED)],
    ),
    Case(
        "ebs-volume-encrypted",
        ("volume", "encrypted"),
        [
            Break(
                "volume", "encrypted", False, "the volume is not encrypted: set encrypted to true"
            ),
            Break(
                "volume", "encrypted", REMOVED, "the volume is not encrypted: set encrypted to true"
            ),
        ],
    ),
    Case(
        "node-disks-encrypted",
        ("template", "blockDeviceMappings.0.ebs.encrypted"),
        [
            Break(
                "template",
                "blockDeviceMappings.0.ebs.encrypted",
                value,
                "device /dev/xvda is not encrypted: set ebs.encrypted to true",
            )
            for value in ("false", False, REMOVED)
        ],
    ),
    Case(
        "efs-encrypted",
        ("files", "encrypted"),
        [
            Break(
                "files",
                "encrypted",
                False,
                "the file system is not encrypted: set encrypted to true and a kmsKeyId",
            )
        ],
    ),
]
