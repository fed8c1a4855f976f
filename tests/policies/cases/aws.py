"""Cases of storage, cluster, database, network, identity, images, stream and cost: what is made in AWS."""

from __future__ import annotations

from tests.policies.good import TLS_ONLY, allow, document, github, trust
from tests.policies.table import REMOVED, Break, Case

EVERYONE = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}
NO_TLS = "requests over plain HTTP are not denied: add a bucket policy that denies s3:* where aws:SecureTransport is false"
PUBLIC_POLICY = "the policy allows everyone: name the principals, or add a condition on the account, organisation or VPC endpoint"
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

STORAGE = [
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
                f"blockPublicAcls, blockPublicPolicy, ignorePublicAcls, restrictPublicBuckets {BLOCK}",
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

OPEN_API = "the API endpoint is open to {}: set endpointPublicAccess to false, or list networks in publicAccessCidrs"
NOT_PRIVATE = "the private endpoint is off, so nodes reach the API over the internet: set endpointPrivateAccess to true"
VERSION = "Kubernetes {} is not in the list of supported versions: set version to one that is"
EXTENDED = (
    "the cluster would slide into paid extended support: set upgradePolicy.supportType to STANDARD"
)
PLAIN_SECRETS = (
    "Kubernetes secrets are not encrypted with a KMS key: set encryptionConfig for secrets"
)
CONFIG_MAP = (
    "access is kept in the aws-auth ConfigMap: set authenticationMode to API and use access entries"
)
NO_PROTECTION = "deletionProtection is off: set it to true"
IMDS = (
    "the metadata service hands out credentials too freely: set metadataOptions.httpTokens to required and"
    " httpPutResponseHopLimit to 1"
)
HIDDEN = "whoever creates the cluster stays its administrator: set bootstrapClusterCreatorAdminPermissions to false"
PUBLIC_NODES = (
    "subnet private gives its machines public addresses: put the nodes into private subnets"
)

CLUSTER = [
    Case(
        "eks-endpoint-not-open",
        ("cluster", "vpcConfig.endpointPublicAccess"),
        [
            Break(
                "cluster",
                "vpcConfig.endpointPublicAccess",
                True,
                OPEN_API.replace("{}", "0.0.0.0/0"),
            ),
            Break(
                "cluster",
                "vpcConfig.endpointPublicAccess",
                REMOVED,
                OPEN_API.replace("{}", "0.0.0.0/0"),
            ),
            Break("cluster", "vpcConfig", REMOVED, OPEN_API.replace("{}", "0.0.0.0/0")),
            Break(
                "cluster",
                "vpcConfig",
                {"publicAccessCidrs": ["10.0.0.0/8", "::/0"]},
                OPEN_API.replace("{}", "::/0"),
            ),
        ],
    ),
    Case(
        "eks-endpoint-private",
        ("cluster", "vpcConfig.endpointPrivateAccess"),
        [
            Break("cluster", "vpcConfig.endpointPrivateAccess", False, NOT_PRIVATE),
            Break("cluster", "vpcConfig.endpointPrivateAccess", REMOVED, NOT_PRIVATE),
        ],
    ),
    Case(
        "eks-version-supported",
        ("cluster", "version"),
        [
            Break("cluster", "version", "1.29", VERSION.replace("{}", "1.29")),
            Break("cluster", "version", REMOVED, VERSION.replace("{}", "(the provider's choice)")),
        ],
    ),
    Case(
        "eks-standard-support",
        ("cluster", "upgradePolicy.supportType"),
        [
            Break("cluster", "upgradePolicy.supportType", "EXTENDED", EXTENDED),
            Break("cluster", "upgradePolicy", REMOVED, EXTENDED),
        ],
    ),
    Case(
        "eks-secrets-encrypted",
        ("cluster", "encryptionConfig"),
        [
            Break("cluster", "encryptionConfig.resources", [], PLAIN_SECRETS),
            Break("cluster", "encryptionConfig", REMOVED, PLAIN_SECRETS),
        ],
    ),
    Case(
        "eks-control-plane-logged",
        ("cluster", "enabledClusterLogTypes"),
        [
            Break(
                "cluster",
                "enabledClusterLogTypes",
                ["api"],
                "control-plane logs audit, authenticator are off: add them to enabledClusterLogTypes",
            ),
            Break(
                "cluster",
                "enabledClusterLogTypes",
                REMOVED,
                "control-plane logs api, audit, authenticator are off: add them to enabledClusterLogTypes",
            ),
        ],
    ),
    Case(
        "eks-access-by-api",
        ("cluster", "accessConfig.authenticationMode"),
        [
            Break("cluster", "accessConfig.authenticationMode", "API_AND_CONFIG_MAP", CONFIG_MAP),
            Break("cluster", "accessConfig.authenticationMode", REMOVED, CONFIG_MAP),
        ],
    ),
    Case(
        "eks-no-hidden-admin",
        ("cluster", "accessConfig.bootstrapClusterCreatorAdminPermissions"),
        [
            Break("cluster", "accessConfig.bootstrapClusterCreatorAdminPermissions", True, HIDDEN),
            Break(
                "cluster", "accessConfig.bootstrapClusterCreatorAdminPermissions", REMOVED, HIDDEN
            ),
        ],
    ),
    Case(
        "eks-deletion-protected",
        ("cluster", "deletionProtection"),
        [
            Break("cluster", "deletionProtection", False, NO_PROTECTION),
            Break("cluster", "deletionProtection", REMOVED, NO_PROTECTION),
        ],
    ),
    Case(
        "eks-nodes-private",
        ("nodes", "subnetIds"),
        [Break("private", "mapPublicIpOnLaunch", True, PUBLIC_NODES, "nodes")],
    ),
    Case(
        "eks-no-ssh",
        ("nodes", "remoteAccess"),
        [
            Break(
                "nodes",
                "remoteAccess",
                {"ec2SshKey": "me"},
                "remoteAccess opens SSH to the nodes: remove it and use Session Manager",
            )
        ],
    ),
    Case(
        "imds-v2-only",
        ("template", "metadataOptions.httpTokens"),
        [
            Break("template", "metadataOptions.httpTokens", "optional", IMDS),
            Break("template", "metadataOptions.httpPutResponseHopLimit", 2.0, IMDS),
            Break("template", "metadataOptions", REMOVED, IMDS),
        ],
    ),
    Case(
        "karpenter-imds-v2-only",
        ("node-class", "spec.metadataOptions.httpTokens"),
        [
            Break("node-class", "spec.metadataOptions.httpTokens", "optional", IMDS),
            Break("node-class", "spec.metadataOptions.httpPutResponseHopLimit", 2.0, IMDS),
        ],
    ),
    Case(
        "node-pool-limited",
        ("ray-head", "spec.limits.cpu"),
        [
            Break(
                "ray-head",
                path,
                REMOVED,
                "the pool may grow without end: set spec.limits.cpu and spec.limits.memory",
            )
            for path in ("spec.limits", "spec.limits.cpu", "spec.limits.memory")
        ],
    ),
    Case(
        "guardduty-watches",
        ("RUNTIME_MONITORING", "status"),
        [
            Break("detector", "enable", False, "the detector is off: turn it on"),
            Break(
                "EKS_AUDIT_LOGS",
                "status",
                "DISABLED",
                "EKS_AUDIT_LOGS is off: turn it on",
                "detector",
            ),
            Break(
                "RUNTIME_MONITORING",
                "",
                REMOVED,
                "RUNTIME_MONITORING is off: turn it on",
                "detector",
            ),
        ],
    ),
]

DEFAULT_GROUP = "the parameter group is the default one, which accepts connections without TLS: set parameterGroupName"
PASSWORD = "the master password passes through the program and its state: set manageMasterUserPassword to true, drop password"
NO_SSL = "connections without TLS are accepted: set the parameter rds.force_ssl to 1"
SNAPSHOT = "a destroy would leave nothing behind: set skipFinalSnapshot to false and a finalSnapshotIdentifier"
BACKUPS = "backups are kept for {} days: set backupRetentionPeriod to the required number or more"
REDIS_OPEN = "anyone in the network may read it: set authToken or userGroupIds"


def of_database(rule: str, key: str, value: object, message: str, *more: object) -> Case:
    """A case of one property of the database."""
    return Case(
        rule, ("database", key), [Break("database", key, each, message) for each in (value, *more)]
    )


DATABASE = [
    of_database(
        "rds-not-public", "publiclyAccessible", True, "publiclyAccessible is true: set it to false"
    ),
    of_database(
        "rds-encrypted",
        "storageEncrypted",
        False,
        "storage is not encrypted: set storageEncrypted to true",
        REMOVED,
    ),
    of_database(
        "rds-multi-az", "multiAz", False, "there is one zone only: set multiAz to true", REMOVED
    ),
    of_database("rds-deletion-protected", "deletionProtection", False, NO_PROTECTION, REMOVED),
    of_database("rds-final-snapshot", "skipFinalSnapshot", True, SNAPSHOT),
    Case(
        "rds-backed-up",
        ("database", "backupRetentionPeriod"),
        [
            Break("database", "backupRetentionPeriod", 6.0, BACKUPS.replace("{}", "6")),
            Break("database", "backupRetentionPeriod", REMOVED, BACKUPS.replace("{}", "0")),
        ],
    ),
    of_database(
        "rds-minor-upgrades",
        "autoMinorVersionUpgrade",
        False,
        "security patches wait for a person: set autoMinorVersionUpgrade to true",
    ),
    of_database(
        "rds-iam-login",
        "iamDatabaseAuthenticationEnabled",
        False,
        "users have passwords only: set iamDatabaseAuthenticationEnabled to true",
        REMOVED,
    ),
    of_database(
        "rds-logged",
        "enabledCloudwatchLogsExports",
        ["upgrade"],
        "the PostgreSQL log stays on the machine: add postgresql to enabledCloudwatchLogsExports",
        REMOVED,
    ),
    of_database(
        "rds-own-parameters", "parameterGroupName", "default.postgres17", DEFAULT_GROUP, REMOVED
    ),
    of_database("rds-password-managed", "manageMasterUserPassword", False, PASSWORD, REMOVED),
    Case(
        "rds-tls-only",
        ("parameters", "parameters.0.value"),
        [
            Break("parameters", "parameters.0.value", "0", NO_SSL),
            Break("parameters", "parameters.0.name", "other", NO_SSL),
            Break("parameters", "parameters", REMOVED, NO_SSL),
        ],
    ),
    Case(
        "redis-encrypted",
        ("redis", "transitEncryptionEnabled"),
        [
            Break(
                "redis",
                "atRestEncryptionEnabled",
                False,
                "atRestEncryptionEnabled is off: set it to true",
            ),
            Break(
                "redis",
                "transitEncryptionEnabled",
                REMOVED,
                "transitEncryptionEnabled is off: set it to true",
            ),
        ],
    ),
    Case(
        "redis-asks-for-a-password",
        ("redis", "authToken"),
        [Break("redis", "authToken", REMOVED, REDIS_OPEN)],
    ),
]

WORLD = "the whole internet may reach port {}: name the networks or security groups that need it"
NO_DEFAULT_SG = "the default security group is left as AWS makes it: add an aws.ec2.DefaultSecurityGroup without rules"

NETWORK = [
    Case(
        "sg-ports-not-open",
        ("sg-rule", "cidrIpv4"),
        [
            Break("sg-rule", "cidrIpv4", "0.0.0.0/0", WORLD.replace("{}", "5432")),
            Break("sg-rule", "cidrIpv6", "::/0", WORLD.replace("{}", "5432")),
            Break("sg", "ingress.0.fromPort", 22.0, f"ingress 0: {WORLD.replace('{}', '22')}"),
            Break(
                "sg",
                "ingress.0",
                {
                    "protocol": "tcp",
                    "fromPort": 8000.0,
                    "toPort": 9000.0,
                    "ipv6CidrBlocks": ["::/0"],
                },
                f"ingress 0: {WORLD.replace('{}', '8265, 8404')}",
            ),
            Break(
                "sg-rule",
                "",
                {"type": "egress", "ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"},
                WORLD.replace("{}", "0-65535"),
            ),
            Break(
                "sg",
                "ingress.0",
                {"cidrBlocks": ["0.0.0.0/0"], "toPort": 22.0},
                f"ingress 0: {WORLD.replace('{}', '22')}",
            ),
            Break(
                "sg",
                "ingress.0",
                {"cidrBlocks": ["0.0.0.0/0"], "fromPort": 10001.0},
                f"ingress 0: {WORLD.replace('{}', '10001')}",
            ),
            Break("sg", "ingress.0.protocol", "-1", f"ingress 0: {WORLD.replace('{}', '0-65535')}"),
        ],
    ),
    Case(
        "default-sg-closed",
        ("default-sg", "ingress"),
        [
            Break(
                "default-sg",
                key,
                [{"protocol": "-1"}],
                "the default security group has rules: remove ingress and egress",
            )
            for key in ("ingress", "egress")
        ],
    ),
    Case(
        "vpc-flow-logged",
        None,
        [
            Break(
                "flow-log",
                "",
                REMOVED,
                "traffic is not logged: add an aws.ec2.FlowLog for the VPC",
                "vpc",
            )
        ],
    ),
    Case("vpc-default-sg-managed", None, [Break("default-sg", "", REMOVED, NO_DEFAULT_SG, "vpc")]),
    Case(
        "subnet-no-public-addresses",
        ("private", "mapPublicIpOnLaunch"),
        [
            Break(
                "private",
                "mapPublicIpOnLaunch",
                True,
                "machines get public addresses by themselves: set mapPublicIpOnLaunch to false",
            )
        ],
    ),
]

ADMIN = (
    "it allows every action on everything: list the actions and resources that the workload needs"
)
EVERYWHERE = "{} is allowed on every resource: name the ARNs, or add a condition"
DECRYPT = "it may decrypt with every key: name the key's ARN"
ANYONE = "anyone may assume the role: name the principals in assumeRolePolicy"
PINNED = "{} is not pinned: pin aud and sub with StringEquals to the repository and its environment or branch"
KEY_PUBLIC = "the key policy lets everyone use the key: name the principals, or add a condition on the account"
KEY_GONE = "the key, and all that it encrypts, is gone after {} days: set deletionWindowInDays to the required number or more"

IDENTITY = [
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
                f"{name} is attached: write a policy with the actions that are needed, or set the role's permissionsBoundary",
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

MOVABLE = "a tag can be moved to another image: set imageTagMutability to IMMUTABLE"
NO_ECR_KEY = (
    "images are not encrypted with a KMS key: set encryptionConfigurations to encryptionType KMS"
)

REGISTRY = [
    Case(
        "ecr-scanned",
        ("repository", "imageScanningConfiguration.scanOnPush"),
        [
            Break(
                "repository",
                path,
                value,
                "images are not scanned: set imageScanningConfiguration.scanOnPush to true",
            )
            for path, value in (
                ("imageScanningConfiguration.scanOnPush", False),
                ("imageScanningConfiguration", REMOVED),
            )
        ],
    ),
    Case(
        "ecr-immutable",
        ("repository", "imageTagMutability"),
        [
            Break("repository", "imageTagMutability", "MUTABLE", MOVABLE),
            Break("repository", "imageTagMutability", REMOVED, MOVABLE),
        ],
    ),
    Case(
        "ecr-lifecycle",
        None,
        [
            Break(
                "ecr-lifecycle",
                "",
                REMOVED,
                "images pile up: add an aws.ecr.LifecyclePolicy",
                "repository",
            )
        ],
    ),
    Case(
        "ecr-encrypted",
        ("repository", "encryptionConfigurations"),
        [
            Break("repository", "encryptionConfigurations.0.encryptionType", "AES256", NO_ECR_KEY),
            Break("repository", "encryptionConfigurations", REMOVED, NO_ECR_KEY),
        ],
    ),
    Case(
        "ecr-not-force-deleted",
        ("repository", "forceDelete"),
        [
            Break(
                "repository",
                "forceDelete",
                True,
                "forceDelete is true: a destroy would delete every image; set it to false",
            )
        ],
    ),
]

LOGS = "logs are kept {}: set retentionInDays to the required number of days or more"
HOURS = "records are kept for {} hours: set retentionPeriod to the required number or more"
NO_GROUP = (
    "{} is not of this stack: the service makes it without end and key, and leaves it:"
    " add an aws.cloudwatch.LogGroup of this name, and make this depend on it"
)
EKS, RDS = "/aws/eks/vigil/cluster", "/aws/rds/instance/mlflow/postgresql"
NO_STREAM_KEY = "records are not encrypted: set encryptionType to KMS and a kmsKeyId"

STREAM = [
    Case(
        "kinesis-encrypted",
        ("stream", "encryptionType"),
        [
            Break("stream", "encryptionType", "NONE", NO_STREAM_KEY),
            Break("stream", "encryptionType", REMOVED, NO_STREAM_KEY),
        ],
    ),
    Case(
        "kinesis-retained",
        ("stream", "retentionPeriod"),
        [
            Break("stream", "retentionPeriod", 48.0, HOURS.replace("{}", "48")),
            Break("stream", "retentionPeriod", REMOVED, HOURS.replace("{}", "24")),
        ],
    ),
    Case(
        "sqs-encrypted",
        ("queue", "sqsManagedSseEnabled"),
        [
            Break(
                "queue",
                "sqsManagedSseEnabled",
                False,
                "messages are not encrypted: set sqsManagedSseEnabled to true or a kmsMasterKeyId",
            )
        ],
    ),
    Case(
        "logs-retained",
        ("logs", "retentionInDays"),
        [
            Break("logs", "retentionInDays", 30.0, LOGS.replace("{}", "for 30 days")),
            Break("logs", "retentionInDays", REMOVED, LOGS.replace("{}", "without end")),
        ],
    ),
    Case(
        "logs-encrypted",
        ("logs", "kmsKeyId"),
        [Break("logs", "kmsKeyId", REMOVED, "the log group has no key of its own: set kmsKeyId")],
    ),
    Case(
        "service-logs-have-groups",
        ("logs", "name"),
        [
            Break("logs", "", REMOVED, NO_GROUP.replace("{}", EKS), "cluster"),
            Break("logs", "name", "/aws/eks/other", NO_GROUP.replace("{}", EKS), "cluster"),
            Break("database-logs", "", REMOVED, NO_GROUP.replace("{}", RDS), "database"),
            Break(
                "database",
                "enabledCloudwatchLogsExports",
                ["postgresql", "upgrade"],
                NO_GROUP.replace("{}", "/aws/rds/instance/mlflow/upgrade"),
            ),
        ],
    ),
]

MACHINE = (
    "{} is not in the list of machine types: choose one that is, or extend the parameter `allowed`"
)
NAT_S3 = "traffic to S3 is paid for at the NAT gateway: add a gateway VpcEndpoint for S3"
BUDGET = "nobody is told when costs run away: add an aws.budgets.Budget with a notification"
GP2 = "{} is gp2: use gp3, which is cheaper and faster"

COST = [
    Case(
        "tags-complete",
        ("models", "tags.Owner"),
        [
            Break("models", "tags.Owner", REMOVED, "tags Owner are missing or empty: add them"),
            Break(
                "stream",
                "tags",
                {"Project": "x", "Owner": ""},
                "tags Environment, Owner, CostCenter are missing or empty: add them",
            ),
        ],
    ),
    Case(
        "machine-type-allowed",
        ("nodes", "instanceTypes"),
        [
            Break(
                "nodes",
                "instanceTypes",
                ["m7g.large", "p5.48xlarge"],
                MACHINE.replace("{}", "p5.48xlarge"),
            ),
            Break(
                "database",
                "instanceClass",
                "db.r7g.16xlarge",
                MACHINE.replace("{}", "db.r7g.16xlarge"),
            ),
            Break(
                "template", "instanceType", "u-6tb1.metal", MACHINE.replace("{}", "u-6tb1.metal")
            ),
        ],
    ),
    Case(
        "node-group-bounded",
        ("nodes", "scalingConfig.maxSize"),
        [
            Break(
                "nodes",
                "scalingConfig.maxSize",
                100.0,
                "the group may grow to 100 nodes: lower scalingConfig.maxSize",
            )
        ],
    ),
    Case(
        "node-pool-bounded",
        ("ray-serve", "spec.limits.cpu"),
        [
            Break(
                "ray-serve",
                "spec.limits.cpu",
                "2000",
                "the pool may grow to 2000 CPUs: lower spec.limits.cpu",
            )
        ],
    ),
    Case(
        "s3-traffic-stays-inside",
        ("s3-endpoint", "serviceName"),
        [
            Break("s3-endpoint", "", REMOVED, NAT_S3, "vpc"),
            Break("s3-endpoint", "serviceName", "com.amazonaws.eu-west-1.ecr.api", NAT_S3, "vpc"),
            Break("s3-endpoint", "vpcEndpointType", "Interface", NAT_S3, "vpc"),
        ],
    ),
    Case(
        "volumes-gp3",
        ("volume", "type"),
        [
            Break("volume", "type", "gp2", GP2.replace("{}", "the volume")),
            Break("database", "storageType", "gp2", GP2.replace("{}", "the storage")),
            Break(
                "template",
                "blockDeviceMappings.0.ebs.volumeType",
                "gp2",
                GP2.replace("{}", "device /dev/xvda"),
            ),
        ],
    ),
]

AWS_CASES = [*STORAGE, *CLUSTER, *DATABASE, *NETWORK, *IDENTITY, *REGISTRY, *STREAM, *COST]
