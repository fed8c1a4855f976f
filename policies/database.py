"""RDS and ElastiCache."""

from __future__ import annotations

from typing import Any

from policies.checks import below
from policies.params import integer
from policies.resource_types import RDS_INSTANCE, RDS_PARAMETER_GROUP, REDIS_GROUP
from policies.rule import Violation, forbids, requires, rule
from policies.subjects import Context, Props, list_at

rds_not_public = forbids(
    RDS_INSTANCE,
    "publiclyAccessible",
    True,
    name="rds-not-public",
    description="A database has no public address.",
    message="publiclyAccessible is true: set it to false",
    fix="Put the database into private subnets and reach it from the cluster.",
    severity="critical",
    standard="AWS FSBP RDS.2",
)

rds_encrypted = requires(
    RDS_INSTANCE,
    "storageEncrypted",
    True,
    name="rds-encrypted",
    description="A database is encrypted at rest.",
    message="storage is not encrypted: set storageEncrypted to true",
    fix="Set storage_encrypted=True and a kms_key_id at creation; later it takes a restore from a"
    " snapshot.",
    severity="high",
    standard="AWS FSBP RDS.3",
)

rds_multi_az = requires(
    RDS_INSTANCE,
    "multiAz",
    True,
    name="rds-multi-az",
    description="A database has a standby in a second zone.",
    message="there is one zone only: set multiAz to true",
    fix="Set multi_az=True: MLflow then survives the loss of a zone.",
    severity="medium",
    standard="AWS FSBP RDS.5",
)

rds_deletion_protected = requires(
    RDS_INSTANCE,
    "deletionProtection",
    True,
    name="rds-deletion-protected",
    description="A database cannot be deleted by mistake.",
    message="deletionProtection is off: set it to true",
    fix="Set deletion_protection=True.",
    severity="medium",
    standard="AWS FSBP RDS.8",
)

rds_final_snapshot = forbids(
    RDS_INSTANCE,
    "skipFinalSnapshot",
    True,
    name="rds-final-snapshot",
    description="A deleted database leaves a snapshot.",
    message="a destroy would leave nothing behind: set skipFinalSnapshot to false and a"
    " finalSnapshotIdentifier",
    fix="Keep a final snapshot in stacks that people depend on.",
    severity="medium",
)
_ENCRYPTIONS = ("atRestEncryptionEnabled", "transitEncryptionEnabled")


@rule(
    RDS_INSTANCE,
    message="backups are kept for {} days: set backupRetentionPeriod to the required number or"
    " more",
    fix="Raise backup_retention_period; the registry and the promotion ledger live in this"
    " database.",
    severity="medium",
    standard="AWS FSBP RDS.11",
    params={
        "days": integer(
            "days that backups are kept",
            7,
            minimum=1,
            maximum=35,
        )
    },
)
def rds_backed_up(database: Props, context: Context) -> Violation:
    """A database is backed up for long enough."""
    days = int(database.get("backupRetentionPeriod") or 0)
    return below(days, context.params["days"])


@rule(
    RDS_INSTANCE,
    message="security patches wait for a person: set autoMinorVersionUpgrade to true",
    fix="Leave auto_minor_version_upgrade on and choose a maintenance window.",
    severity="medium",
    standard="AWS FSBP RDS.13",
)
def rds_minor_upgrades(database: Props, _: Context) -> Violation:
    """A database takes minor upgrades by itself."""
    return database.get("autoMinorVersionUpgrade", True) is not True


rds_iam_login = requires(
    RDS_INSTANCE,
    "iamDatabaseAuthenticationEnabled",
    True,
    name="rds-iam-login",
    description="People and programs can log in to a database by IAM.",
    message="users have passwords only: set iamDatabaseAuthenticationEnabled to true",
    fix="Set iam_database_authentication_enabled=True.",
    severity="low",
    standard="AWS FSBP RDS.10",
    level="advisory",
)


@rule(
    RDS_INSTANCE,
    message="the PostgreSQL log stays on the machine: add postgresql to"
    " enabledCloudwatchLogsExports",
    fix='Set enabled_cloudwatch_logs_exports=["postgresql", "upgrade"].',
    severity="medium",
    standard="AWS FSBP RDS.36",
)
def rds_logged(database: Props, _: Context) -> Violation:
    """A PostgreSQL database sends its log to CloudWatch."""
    if not _is_postgres(database.get("engine")):
        return None
    return "postgresql" not in list(list_at(database, "enabledCloudwatchLogsExports"))


@rule(
    RDS_PARAMETER_GROUP,
    message="connections without TLS are accepted: set the parameter rds.force_ssl to 1",
    fix="Add rds.force_ssl = 1 to the parameter group, and sslmode=verify-full to clients.",
    severity="high",
    standard="AWS Security Hub RDS.38",
)
def rds_tls_only(group: Props, _: Context) -> Violation:
    """A PostgreSQL database refuses connections without TLS."""
    if not _is_postgres(group.get("family")):
        return None
    return not any(map(_forces_tls, list_at(group, "parameters")))


def _forces_tls(parameter: Props) -> bool:
    return parameter["name"] == "rds.force_ssl" and str(parameter["value"]) == "1"


@rule(
    RDS_INSTANCE,
    message="the parameter group is the default one, which accepts connections without TLS: set"
    " parameterGroupName",
    fix="Make an aws.rds.ParameterGroup with rds.force_ssl = 1 and name it.",
    severity="high",
    standard="AWS Security Hub RDS.38",
    stack=True,
)
def rds_own_parameters(database: Props, context: Context) -> Violation:
    """A database has a parameter group of its own."""
    if context.resource.links.get("parameterGroupName"):
        return None
    return str(database.get("parameterGroupName") or "default.").startswith("default.")


rds_password_managed = requires(
    RDS_INSTANCE,
    "manageMasterUserPassword",
    True,
    name="rds-password-managed",
    description="RDS keeps the master password itself.",
    message="the master password passes through the program and its state: set"
    " manageMasterUserPassword to true, drop password",
    fix="Let RDS keep and rotate the password in Secrets Manager.",
    severity="high",
)


@rule(
    REDIS_GROUP,
    message="{} is off: set it to true",
    fix="Encrypt the group at rest and in transit; the GCS of Ray keeps tokens and job arguments"
    " there.",
    severity="high",
    standard=("AWS FSBP ElastiCache.4", "AWS FSBP ElastiCache.5"),
)
def redis_encrypted(group: Props, _: Context) -> Violation:
    """Redis, which keeps the state of Ray's head, is encrypted at rest and in transit."""
    return ", ".join(key for key in _ENCRYPTIONS if str(group.get(key)).lower() != "true")


@rule(
    REDIS_GROUP,
    message="anyone in the network may read it: set authToken or userGroupIds",
    fix="Set auth_token from a generated secret, or a user group.",
    severity="high",
    standard="AWS FSBP ElastiCache.6",
)
def redis_asks_for_a_password(group: Props, _: Context) -> Violation:
    """Redis asks who is there."""
    return not (group.get("authToken") or group.get("userGroupIds"))


def _is_postgres(name: Any) -> bool:
    """Whether an engine, or a family of parameters, is PostgreSQL's."""
    return str(name).startswith("postgres")
