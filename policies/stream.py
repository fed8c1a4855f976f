"""Kinesis streams, queues and logs."""

from __future__ import annotations

from policies.rule import Context, Found, Props, rule


@rule(
    "aws:kinesis/stream:Stream",
    message="records are not encrypted: set encryptionType to KMS and a kmsKeyId",
    fix='Set encryption_type="KMS" and kms_key_id.',
    severity="high",
    standard="AWS FSBP Kinesis.1",
)
def kinesis_encrypted(stream: Props, _: Context) -> Found:
    """A stream encrypts its records."""
    return stream.get("encryptionType") != "KMS"


@rule(
    "aws:kinesis/stream:Stream",
    message="records are kept for {} hours: set retentionPeriod to the required number or more",
    fix="Raise retention_period: a consumer that was down over a weekend can then catch up.",
    severity="medium",
    standard="AWS FSBP Kinesis.3",
    params={
        "hours": {
            "type": "integer",
            "minimum": 24,
            "default": 168,
            "description": "hours that records are kept",
        }
    },
)
def kinesis_retained(stream: Props, context: Context) -> Found:
    """A stream keeps its records long enough to recover."""
    hours = int(stream.get("retentionPeriod") or 24)
    return str(hours) if hours < context.params["hours"] else None


@rule(
    "aws:sqs/queue:Queue",
    message="messages are not encrypted: set sqsManagedSseEnabled to true or a kmsMasterKeyId",
    fix="Set sqs_managed_sse_enabled=True.",
    severity="medium",
    standard="AWS FSBP SQS.1",
)
def sqs_encrypted(queue: Props, _: Context) -> Found:
    """A queue encrypts its messages."""
    return queue.get("sqsManagedSseEnabled") is not True and not queue.get("kmsMasterKeyId")


@rule(
    "aws:cloudwatch/logGroup:LogGroup",
    message="logs are kept {}: set retentionInDays to the required number of days or more",
    fix="Set retention_in_days; left out, logs are kept and paid for without end.",
    severity="medium",
    standard="AWS Security Hub CloudWatch.16",
    params={
        "days": {
            "type": "integer",
            "minimum": 1,
            "default": 365,
            "description": "days that logs are kept at least",
        }
    },
)
def logs_retained(group: Props, context: Context) -> Found:
    """Logs are kept for a stated and sufficient time."""
    days = int(group.get("retentionInDays") or 0)
    if days == 0:
        return "without end"
    return f"for {days} days" if days < context.params["days"] else None


@rule(
    "aws:eks/cluster:Cluster",
    "aws:rds/instance:Instance",
    message="{} is not of this stack: the service makes it without end and key, and leaves it:"
    " add an aws.cloudwatch.LogGroup of this name, and make this depend on it",
    fix="Make the log groups that EKS and RDS write to before them.",
    severity="medium",
    stack=True,
)
def service_logs_have_groups(source: Props, context: Context) -> Found:
    """What AWS services log goes to log groups that the stack makes, keeps and encrypts."""
    wanted = _log_groups(source, context.resource.kind)
    if not wanted:
        return None
    groups = context.stack.of("aws:cloudwatch/logGroup:LogGroup")
    made = {group.props.get("name") for group in groups}
    return ", ".join(name for name in wanted if name not in made)


def _log_groups(source: Props, kind: str) -> list[str]:
    """The names that the service gives them."""
    if kind == "Instance":
        logs = source.get("enabledCloudwatchLogsExports") or ()
        return [f"/aws/rds/instance/{source.get('identifier')}/{log}" for log in logs]
    if not source.get("enabledClusterLogTypes"):
        return []
    return [f"/aws/eks/{source.get('name')}/cluster"]


@rule(
    "aws:cloudwatch/logGroup:LogGroup",
    message="the log group has no key of its own: set kmsKeyId",
    fix="Encrypt the log group with a KMS key whose policy lets the logs service use it.",
    severity="low",
    stack=True,
)
def logs_encrypted(group: Props, context: Context) -> Found:
    """Logs are encrypted with a key of the account."""
    return not (context.resource.links.get("kmsKeyId") or group.get("kmsKeyId"))
