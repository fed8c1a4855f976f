"""Cases of the rules of policies/stream.py."""

from __future__ import annotations

from tests.policies.table import REMOVED, Break, Case

LOGS = "logs are kept {}: set retentionInDays to the required number of days or more"
HOURS = "records are kept for {} hours: set retentionPeriod to the required number or more"
NO_GROUP = (
    "{} is not of this stack: the service makes it without end and key, and leaves it:"
    " add an aws.cloudwatch.LogGroup of this name, and make this depend on it"
)
EKS, RDS = "/aws/eks/vigil/cluster", "/aws/rds/instance/mlflow/postgresql"
NO_STREAM_KEY = "records are not encrypted: set encryptionType to KMS and a kmsKeyId"

STREAM_CASES = [
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
