"""Kinesis streams, queues and logs."""

from __future__ import annotations

from policies.checks import below, missing_from
from policies.params import integer
from policies.resource_types import EKS_CLUSTER, KINESIS_STREAM, LOG_GROUP, RDS_INSTANCE, SQS_QUEUE
from policies.rule import Violation, requires, rule
from policies.subjects import Context, Props, list_at

kinesis_encrypted = requires(
    KINESIS_STREAM,
    "encryptionType",
    "KMS",
    name="kinesis-encrypted",
    description="A stream encrypts its records.",
    message="records are not encrypted: set encryptionType to KMS and a kmsKeyId",
    fix='Set encryption_type="KMS" and kms_key_id.',
    severity="high",
    standard="AWS FSBP Kinesis.1",
)


@rule(
    KINESIS_STREAM,
    message="records are kept for {} hours: set retentionPeriod to the required number or more",
    fix="Raise retention_period: a consumer that was down over a weekend can then catch up.",
    severity="medium",
    standard="AWS FSBP Kinesis.3",
    params={"hours": integer("hours that records are kept", 168, minimum=24)},
)
def kinesis_retained(stream: Props, context: Context) -> Violation:
    """A stream keeps its records long enough to recover."""
    hours = int(stream.get("retentionPeriod") or 24)
    return below(hours, context.params["hours"])


@rule(
    SQS_QUEUE,
    message="messages are not encrypted: set sqsManagedSseEnabled to true or a kmsMasterKeyId",
    fix="Set sqs_managed_sse_enabled=True.",
    severity="medium",
    standard="AWS FSBP SQS.1",
)
def sqs_encrypted(queue: Props, _: Context) -> Violation:
    """A queue encrypts its messages."""
    return queue.get("sqsManagedSseEnabled") is not True and not queue.get("kmsMasterKeyId")


@rule(
    LOG_GROUP,
    message="logs are kept {}: set retentionInDays to the required number of days or more",
    fix="Set retention_in_days; left out, logs are kept and paid for without end.",
    severity="medium",
    standard="AWS Security Hub CloudWatch.16",
    params={"days": integer("days that logs are kept at least", 365, minimum=1)},
)
def logs_retained(group: Props, context: Context) -> Violation:
    """Logs are kept for a stated and sufficient time."""
    days = int(group.get("retentionInDays") or 0)
    if days == 0:
        return "without end"
    return f"for {days} days" if days < context.params["days"] else None


@rule(
    LOG_GROUP,
    message="the log group has no key of its own: set kmsKeyId",
    fix="Encrypt the log group with a KMS key whose policy lets the logs service use it.",
    severity="low",
    stack=True,
)
def logs_encrypted(_: Props, context: Context) -> Violation:
    """Logs are encrypted with a key of the account."""
    return not context.resource.sets("kmsKeyId")


@rule(
    EKS_CLUSTER,
    RDS_INSTANCE,
    message="{} is not of this stack: the service makes it without end and key, and leaves it: add"
    " an aws.cloudwatch.LogGroup of this name, and make this depend on it",
    fix="Make the log groups that EKS and RDS write to before them.",
    severity="medium",
    stack=True,
)
def service_logs_have_groups(source: Props, context: Context) -> Violation:
    """What AWS services log goes to log groups that the stack makes, keeps and encrypts."""
    names = _log_groups(source, context.resource.kind)
    if not names:
        return None
    own = {group.props.get("name") for group in context.stack.of(LOG_GROUP)}
    return missing_from(own, names)


def _log_groups(source: Props, kind: str) -> list[str]:
    """Return the names that the service gives its log groups."""
    if kind == "Instance":
        prefix = f"/aws/rds/instance/{source.get('identifier')}"
        return [f"{prefix}/{log}" for log in list_at(source, "enabledCloudwatchLogsExports")]
    if not source.get("enabledClusterLogTypes"):
        return []
    return [f"/aws/eks/{source.get('name')}/cluster"]
