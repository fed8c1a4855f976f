"""Who pays, and who to ask."""

from __future__ import annotations

from infra.tags import REQUIRED_TAGS
from policies.cel import Cel
from policies.checks import unset_in
from policies.params import strings
from policies.resource_types import (
    AWS_SECRETS,
    EBS_VOLUME,
    EC2_INSTANCE,
    ECR_REPOSITORY,
    EFS_FILE_SYSTEM,
    EKS_CLUSTER,
    EKS_NODE_GROUP,
    IAM_POLICY,
    IAM_ROLE,
    KINESIS_STREAM,
    KMS_KEY,
    LAUNCH_TEMPLATE,
    LOG_GROUP,
    NAT_GATEWAY,
    POD_TYPES,
    RDS_INSTANCE,
    RDS_PARAMETER_GROUP,
    REDIS_GROUP,
    S3_BUCKETS,
    SECURITY_GROUP,
    SQS_QUEUE,
    SUBNET,
    VPC,
    VPC_ENDPOINT,
)
from policies.rule import Violation, rule
from policies.subjects import Context, Props, props_at

_TAGGED = (
    *S3_BUCKETS,
    EKS_CLUSTER,
    EKS_NODE_GROUP,
    RDS_INSTANCE,
    RDS_PARAMETER_GROUP,
    "aws:rds/subnetGroup:SubnetGroup",
    KINESIS_STREAM,
    ECR_REPOSITORY,
    KMS_KEY,
    SQS_QUEUE,
    VPC,
    SUBNET,
    NAT_GATEWAY,
    "aws:ec2/eip:Eip",
    VPC_ENDPOINT,
    SECURITY_GROUP,
    LAUNCH_TEMPLATE,
    EC2_INSTANCE,
    EBS_VOLUME,
    EFS_FILE_SYSTEM,
    IAM_ROLE,
    IAM_POLICY,
    LOG_GROUP,
    AWS_SECRETS,
    REDIS_GROUP,
    "aws:lb/loadBalancer:LoadBalancer",
)


@rule(
    *_TAGGED,
    message="tags {} are missing or empty: add them",
    fix="Take the tags from infra.tags, which cannot leave one out.",
    severity="medium",
    params={"tags": strings("tags that every resource bears", REQUIRED_TAGS)},
)
def tags_complete(resource: Props, context: Context) -> Violation:
    """Every resource says to which project and environment it belongs, who owns it and who pays."""
    return unset_in(props_at(resource, "tags"), context.params["tags"])


@rule(
    *POD_TYPES,
    message="labels {} are missing: add them to metadata.labels",
    fix="Use Kubernetes' recommended labels; dashboards, network policies and costs are cut along"
    " them.",
    severity="low",
    params={
        "labels": strings(
            "labels that every workload bears",
            ["app.kubernetes.io/name", "app.kubernetes.io/part-of"],
        )
    },
    level="advisory",
    cel=Cel(
        found="variables.params.labels"
        '.filter(l, it.props.metadata.?labels[?l].orValue("") == "").join(", ")'
    ),
)
def labels_complete(workload: Props, context: Context) -> Violation:
    """Every workload bears Kubernetes' recommended labels."""
    return unset_in(props_at(workload, "metadata.labels"), context.params["labels"])
