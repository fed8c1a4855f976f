"""Who pays, and who to ask."""

from __future__ import annotations

from infra.tags import REQUIRED_TAGS
from policies.pods import PODS
from policies.rule import Context, Found, Props, rule

TAGGED = (
    "aws:s3/bucket:Bucket",
    "aws:s3/bucketV2:BucketV2",
    "aws:eks/cluster:Cluster",
    "aws:eks/nodeGroup:NodeGroup",
    "aws:rds/instance:Instance",
    "aws:rds/parameterGroup:ParameterGroup",
    "aws:rds/subnetGroup:SubnetGroup",
    "aws:kinesis/stream:Stream",
    "aws:ecr/repository:Repository",
    "aws:kms/key:Key",
    "aws:sqs/queue:Queue",
    "aws:ec2/vpc:Vpc",
    "aws:ec2/subnet:Subnet",
    "aws:ec2/natGateway:NatGateway",
    "aws:ec2/eip:Eip",
    "aws:ec2/vpcEndpoint:VpcEndpoint",
    "aws:ec2/securityGroup:SecurityGroup",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:ec2/instance:Instance",
    "aws:ebs/volume:Volume",
    "aws:efs/fileSystem:FileSystem",
    "aws:iam/role:Role",
    "aws:iam/policy:Policy",
    "aws:cloudwatch/logGroup:LogGroup",
    "aws:secretsmanager/secret:Secret",
    "aws:elasticache/replicationGroup:ReplicationGroup",
    "aws:lb/loadBalancer:LoadBalancer",
)


@rule(
    *TAGGED,
    message="tags {} are missing or empty: add them",
    fix="Take the tags from infra.tags, which cannot leave one out.",
    severity="medium",
    params={
        "tags": {
            "type": "array",
            "items": {"type": "string"},
            "default": list(REQUIRED_TAGS),
            "description": "tags that every resource bears",
        }
    },
)
def tags_complete(resource: Props, context: Context) -> Found:
    """Every resource says to which project and environment it belongs, who owns it and who pays."""
    tags = resource.get("tags") or {}
    return ", ".join(tag for tag in context.params["tags"] if not tags.get(tag))


@rule(
    *PODS,
    message="labels {} are missing: add them to metadata.labels",
    fix="Use Kubernetes' recommended labels; dashboards, network policies and costs are cut along them.",
    severity="low",
    params={
        "labels": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["app.kubernetes.io/name", "app.kubernetes.io/part-of"],
            "description": "labels that every workload bears",
        }
    },
)
def labels_complete(workload: Props, context: Context) -> Found:
    """Every workload bears Kubernetes' recommended labels."""
    labels = (workload.get("metadata") or {}).get("labels") or {}
    return ", ".join(label for label in context.params["labels"] if not labels.get(label))
