"""Cases of the rules of policies/database.py."""

from __future__ import annotations

from tests.policies.table import REMOVED, Break, Case

NO_PROTECTION = "deletionProtection is off: set it to true"
DEFAULT_GROUP = (
    "the parameter group is the default one, which accepts connections without TLS: set"
    " parameterGroupName"
)
PASSWORD = (
    "the master password passes through the program and its state: set manageMasterUserPassword to"
    " true, drop password"
)
NO_SSL = "connections without TLS are accepted: set the parameter rds.force_ssl to 1"
SNAPSHOT = (
    "a destroy would leave nothing behind: set skipFinalSnapshot to false and a"
    " finalSnapshotIdentifier"
)
BACKUPS = "backups are kept for {} days: set backupRetentionPeriod to the required number or more"
REDIS_OPEN = "anyone in the network may read it: set authToken or userGroupIds"


def of_database(rule: str, key: str, value: object, message: str, *more: object) -> Case:
    """A case of one property of the database."""
    return Case(
        rule, ("database", key), [Break("database", key, each, message) for each in (value, *more)]
    )


DATABASE_CASES = [
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
