"""What would cost more than anyone meant to spend."""

from __future__ import annotations

import re

from policies.pods import quantity
from policies.rule import Context, Found, Props, rule

NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"


@rule(
    NODE_GROUP,
    "aws:ec2/instance:Instance",
    "aws:ec2/launchTemplate:LaunchTemplate",
    "aws:rds/instance:Instance",
    "aws:elasticache/replicationGroup:ReplicationGroup",
    message="{} is not in the list of machine types: choose one that is, or extend the parameter `allowed`",
    fix="Choose a current, mid-sized type; large ones go into the list by a reviewed change.",
    severity="medium",
    params={
        "allowed": {
            "type": "array",
            "items": {"type": "string"},
            "default": [
                r"(db\.|cache\.)?(t3|t4|[mcr][5-8])[a-z]*\.(nano|micro|small|medium|large|xlarge|2xlarge|4xlarge)"
            ],
            "description": "allowed machine types, as regular expressions",
        }
    },
)
def machine_type_allowed(machine: Props, context: Context) -> Found:
    """Machines are of types that were chosen."""
    types = [
        *(machine.get("instanceTypes") or ()),
        machine.get("instanceType"),
        machine.get("instanceClass"),
        machine.get("nodeType"),
    ]
    allowed = list(context.params["allowed"])
    return ", ".join(
        each
        for each in types
        if each and not any(re.fullmatch(pattern, each) for pattern in allowed)
    )


@rule(
    NODE_GROUP,
    message="the group may grow to {} nodes: lower scalingConfig.maxSize",
    fix="Bound the group at what the budget bears.",
    severity="medium",
    params={
        "most": {
            "type": "integer",
            "minimum": 1,
            "default": 20,
            "description": "most nodes of one group",
        }
    },
)
def node_group_bounded(group: Props, context: Context) -> Found:
    """A node group has a ceiling that somebody can pay for."""
    highest = int((group.get("scalingConfig") or {}).get("maxSize") or 0)
    return str(highest) if highest > context.params["most"] else None


@rule(
    "kubernetes:karpenter.sh/*:NodePool",
    message="the pool may grow to {} CPUs: lower spec.limits.cpu",
    fix="Bound the pool at what the budget bears.",
    severity="medium",
    params={
        "most": {
            "type": "number",
            "minimum": 1,
            "default": 512,
            "description": "most CPUs of one pool",
        }
    },
)
def node_pool_bounded(pool: Props, context: Context) -> Found:
    """A node pool has a ceiling that somebody can pay for."""
    limit = quantity(((pool.get("spec") or {}).get("limits") or {}).get("cpu") or 0)
    return f"{limit:g}" if limit > context.params["most"] else None


@rule(
    "aws:ec2/vpc:Vpc",
    message="the stack has {} NAT gateways: share one, or raise the parameter `most`",
    fix="One NAT gateway is enough where nobody depends on the stack.",
    severity="low",
    stack=True,
    params={
        "most": {
            "type": "integer",
            "minimum": 0,
            "default": 3,
            "description": "most NAT gateways of one stack",
        }
    },
)
def nat_gateways_bounded(_: Props, context: Context) -> Found:
    """There are no more NAT gateways than the stack is worth."""
    count = len(context.stack.of("aws:ec2/natGateway:NatGateway"))
    return str(count) if count > context.params["most"] else None


@rule(
    "aws:ec2/vpc:Vpc",
    message="traffic to S3 is paid for at the NAT gateway: add a gateway VpcEndpoint for S3",
    fix="Add aws.ec2.VpcEndpoint of type Gateway for com.amazonaws.REGION.s3; it is free.",
    severity="medium",
    stack=True,
)
def s3_traffic_stays_inside(_: Props, context: Context) -> Found:
    """Models and tables reach S3 without passing a NAT gateway."""
    endpoints = context.stack.referring(
        "vpcId", context.resource, "aws:ec2/vpcEndpoint:VpcEndpoint"
    )
    return not any(
        str(each.props.get("serviceName")).endswith(".s3")
        and (each.props.get("vpcEndpointType") or "Gateway") == "Gateway"
        for each in endpoints
    )


@rule(
    "aws:eks/cluster:Cluster",
    message="nobody is told when costs run away: add an aws.budgets.Budget with a notification",
    fix="Add a monthly budget, filtered by the Project tag, that writes to the owner at 80 percent.",
    severity="medium",
    stack=True,
)
def budget_watched(_: Props, context: Context) -> Found:
    """Somebody is told when costs run away."""
    return not any(
        each.props.get("notifications") for each in context.stack.of("aws:budgets/budget:Budget")
    )


@rule(
    "aws:ebs/volume:Volume",
    "aws:rds/instance:Instance",
    "aws:ec2/launchTemplate:LaunchTemplate",
    message="{} is gp2: use gp3, which is cheaper and faster",
    fix="Set the volume type to gp3.",
    severity="low",
)
def volumes_gp3(owner: Props, _: Context) -> Found:
    """Volumes are of the current generation."""
    found = [("the volume", owner.get("type")), ("the storage", owner.get("storageType"))]
    for device in owner.get("blockDeviceMappings") or ():
        found.append(
            (f"device {device.get('deviceName')}", (device.get("ebs") or {}).get("volumeType"))
        )
    return ", ".join(name for name, kind in found if kind == "gp2")
