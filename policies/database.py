"""RDS and ElastiCache."""

from __future__ import annotations

from policies.rule import Context, Found, Props, rule

INSTANCE = "aws:rds/instance:Instance"
REDIS = "aws:elasticache/replicationGroup:ReplicationGroup"


@rule(
    INSTANCE,
    message="publiclyAccessible is true: set it to false",
    fix="Put the database into private subnets and reach it from the cluster.",
    severity="critical",
    standard="AWS FSBP RDS.2",
)
def rds_not_public(database: Props, _: Context) -> Found:
    """A database has no public address."""
    return database.get("publiclyAccessible") is True


@rule(
    INSTANCE,
    message="storage is not encrypted: set storageEncrypted to true",
    fix="Set storage_encrypted=True and a kms_key_id at creation; later it takes a restore from a snapshot.",
    severity="high",
    standard="AWS FSBP RDS.3",
)
def rds_encrypted(database: Props, _: Context) -> Found:
    """A database is encrypted at rest."""
    return database.get("storageEncrypted") is not True


@rule(
    INSTANCE,
    message="there is one zone only: set multiAz to true",
    fix="Set multi_az=True: MLflow then survives the loss of a zone.",
    severity="medium",
    standard="AWS FSBP RDS.5",
)
def rds_multi_az(database: Props, _: Context) -> Found:
    """A database has a standby in a second zone."""
    return database.get("multiAz") is not True


@rule(
    INSTANCE,
    message="deletionProtection is off: set it to true",
    fix="Set deletion_protection=True.",
    severity="medium",
    standard="AWS FSBP RDS.8",
)
def rds_deletion_protected(database: Props, _: Context) -> Found:
    """A database cannot be deleted by mistake."""
    return database.get("deletionProtection") is not True


@rule(
    INSTANCE,
    message="a destroy would leave nothing behind: set skipFinalSnapshot to false and a finalSnapshotIdentifier",
    fix="Keep a final snapshot in stacks that people depend on.",
    severity="medium",
)
def rds_final_snapshot(database: Props, _: Context) -> Found:
    """A deleted database leaves a snapshot."""
    return database.get("skipFinalSnapshot") is True


@rule(
    INSTANCE,
    message="backups are kept for {} days: set backupRetentionPeriod to the required number or more",
    fix="Raise backup_retention_period; the registry and the promotion ledger live in this database.",
    severity="medium",
    standard="AWS FSBP RDS.11",
    params={
        "days": {
            "type": "integer",
            "minimum": 1,
            "maximum": 35,
            "default": 7,
            "description": "days that backups are kept",
        }
    },
)
def rds_backed_up(database: Props, context: Context) -> Found:
    """A database is backed up for long enough."""
    days = int(database.get("backupRetentionPeriod") or 0)
    return str(days) if days < context.params["days"] else None


@rule(
    INSTANCE,
    message="security patches wait for a person: set autoMinorVersionUpgrade to true",
    fix="Leave auto_minor_version_upgrade on and choose a maintenance window.",
    severity="medium",
    standard="AWS FSBP RDS.13",
)
def rds_minor_upgrades(database: Props, _: Context) -> Found:
    """A database takes minor upgrades by itself."""
    return database.get("autoMinorVersionUpgrade", True) is not True


@rule(
    INSTANCE,
    message="users have passwords only: set iamDatabaseAuthenticationEnabled to true",
    fix="Set iam_database_authentication_enabled=True.",
    severity="low",
    standard="AWS FSBP RDS.10",
)
def rds_iam_login(database: Props, _: Context) -> Found:
    """People and programs can log in to a database by IAM."""
    return database.get("iamDatabaseAuthenticationEnabled") is not True


@rule(
    INSTANCE,
    message="the PostgreSQL log stays on the machine: add postgresql to enabledCloudwatchLogsExports",
    fix='Set enabled_cloudwatch_logs_exports=["postgresql", "upgrade"].',
    severity="medium",
    standard="AWS FSBP RDS.36",
)
def rds_logged(database: Props, _: Context) -> Found:
    """A PostgreSQL database sends its log to CloudWatch."""
    is_postgres = str(database.get("engine") or "").startswith("postgres")
    return is_postgres and "postgresql" not in list(
        database.get("enabledCloudwatchLogsExports") or ()
    )


@rule(
    "aws:rds/parameterGroup:ParameterGroup",
    message="connections without TLS are accepted: set the parameter rds.force_ssl to 1",
    fix="Add rds.force_ssl = 1 to the parameter group, and sslmode=verify-full to clients.",
    severity="high",
    standard="AWS Security Hub RDS.38",
)
def rds_tls_only(group: Props, _: Context) -> Found:
    """A PostgreSQL database refuses connections without TLS."""
    if not str(group.get("family")).startswith("postgres"):
        return None
    return not any(
        each["name"] == "rds.force_ssl" and str(each["value"]) == "1"
        for each in group.get("parameters") or ()
    )


@rule(
    INSTANCE,
    message="the parameter group is the default one, which accepts connections without TLS: set parameterGroupName",
    fix="Make an aws.rds.ParameterGroup with rds.force_ssl = 1 and name it.",
    severity="high",
    standard="AWS Security Hub RDS.38",
    stack=True,
)
def rds_own_parameters(database: Props, context: Context) -> Found:
    """A database has a parameter group of its own."""
    if context.resource.links.get("parameterGroupName"):
        return None
    return str(database.get("parameterGroupName") or "default.").startswith("default.")


@rule(
    INSTANCE,
    message="the master password passes through the program and its state: set manageMasterUserPassword to true, drop password",
    fix="Let RDS keep and rotate the password in Secrets Manager.",
    severity="high",
)
def rds_password_managed(database: Props, _: Context) -> Found:
    """RDS keeps the master password itself."""
    return database.get("manageMasterUserPassword") is not True


@rule(
    REDIS,
    message="{} is off: set it to true",
    fix="Encrypt the group at rest and in transit; the GCS of Ray keeps tokens and job arguments there.",
    severity="high",
    standard=("AWS FSBP ElastiCache.4", "AWS FSBP ElastiCache.5"),
)
def redis_encrypted(group: Props, _: Context) -> Found:
    """Redis, which keeps the state of Ray's head, is encrypted at rest and in transit."""
    keys = ("atRestEncryptionEnabled", "transitEncryptionEnabled")
    return ", ".join(key for key in keys if str(group.get(key)).lower() != "true")


@rule(
    REDIS,
    message="anyone in the network may read it: set authToken or userGroupIds",
    fix="Set auth_token from a generated secret, or a user group.",
    severity="high",
    standard="AWS FSBP ElastiCache.6",
)
def redis_asks_for_a_password(group: Props, _: Context) -> Found:
    """Redis asks who is there."""
    return not (group.get("authToken") or group.get("userGroupIds"))
