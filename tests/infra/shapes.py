"""What AWS answers: the values that it adds to each kind of resource, if the program uses them."""

from __future__ import annotations

import json
from typing import Any

ACCOUNT = "111122223333"
REGION = "eu-west-1"
CLUSTER_GROUP = "sg-0123456789abcdef0"


def state(typ: str, name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """The inputs with what AWS would add, as far as the program uses it."""
    found = {**inputs}
    if typ.startswith("aws:"):
        service = typ.split(":")[1].split("/")[0]
        found |= {
            "arn": f"arn:aws:{service}:{REGION}:{ACCOUNT}:{typ.split(':')[-1].lower()}/{name}"
        }
        found.setdefault("name", f"{name}-0a1b2c3")
    shapes: dict[str, dict[str, Any]] = {
        "aws:iam/role:Role": {"arn": f"arn:aws:iam::{ACCOUNT}:role/{found.get('name')}"},
        "aws:iam/instanceProfile:InstanceProfile": {
            "arn": f"arn:aws:iam::{ACCOUNT}:instance-profile/{found.get('name')}"
        },
        "aws:iam/openIdConnectProvider:OpenIdConnectProvider": {
            "arn": f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
        },
        "aws:s3/bucket:Bucket": {"arn": f"arn:aws:s3:::{inputs.get('bucket')}"},
        "aws:kms/key:Key": {
            "arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{name}",
            "keyId": f"{name}",
        },
        "aws:sqs/queue:Queue": {
            "arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}",
            "url": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}",
        },
        "aws:dynamodb/table:Table": {"arn": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{name}"},
        "aws:kinesis/stream:Stream": {"arn": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{name}"},
        "aws:ecr/repository:Repository": {
            "repositoryUrl": f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{name}"
        },
        "aws:cloudwatch/logGroup:LogGroup": {
            "arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{inputs.get('name')}"
        },
        "aws:cloudwatch/eventRule:EventRule": {
            "arn": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{name}"
        },
        "aws:ec2/launchTemplate:LaunchTemplate": {"latestVersion": 1},
        "aws:rds/instance:Instance": {
            "address": f"{name}.abc123.{REGION}.rds.amazonaws.com",
            "masterUserSecrets": [
                {
                    "secretArn": (
                        f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-1a2b-AbCdEf"
                    )
                }
            ],
        },
        "aws:elasticache/replicationGroup:ReplicationGroup": {
            "primaryEndpointAddress": f"master.{name}.abc123.cache.amazonaws.com"
        },
        "aws:eks/cluster:Cluster": {
            "arn": f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{inputs.get('name')}",
            "certificateAuthority": {"data": "LS0tLS1CRUdJTg=="},
            "endpoint": f"https://0123456789abcdef.gr7.{REGION}.eks.amazonaws.com",
            "identities": [{"oidcs": [{"issuer": "https://oidc.example"}]}],
            "vpcConfig": {**inputs.get("vpcConfig", {}), "clusterSecurityGroupId": CLUSTER_GROUP},
        },
        "eks:index:Cluster": {
            "kubeconfigJson": json.dumps({"apiVersion": "v1", "clusters": []}),
            "clusterSecurityGroupId": CLUSTER_GROUP,
            "oidcIssuer": "https://oidc.example",
            "kubeconfig": {"apiVersion": "v1"},
        },
    }
    return found | shapes.get(typ, {})
