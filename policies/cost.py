"""What would cost more than anyone meant to spend."""

from __future__ import annotations

import re

from policies.cel import Cel
from policies.checks import above
from policies.params import integer, number, strings
from policies.pods import quantity_to_number
from policies.resource_types import (
    EBS_VOLUME,
    EC2_INSTANCE,
    EKS_CLUSTER,
    EKS_NODE_GROUP,
    KARPENTER_NODE_POOL,
    LAUNCH_TEMPLATE,
    NAT_GATEWAY,
    RDS_INSTANCE,
    REDIS_GROUP,
    VPC,
    VPC_ENDPOINT,
)
from policies.rule import Violation, rule
from policies.subjects import Context, Props, Resource, is_default, list_at, value_at

_MACHINE_TYPES = (
    r"(db\.|cache\.)?(t3|t4|[mcr][5-8])[a-z]*"
    r"\.(nano|micro|small|medium|large|xlarge|2xlarge|4xlarge)"
)
_POOL_CPUS = 'quantity(string(it.props.?spec.?limits.?cpu.orValue("0")))'


@rule(
    EKS_NODE_GROUP,
    EC2_INSTANCE,
    LAUNCH_TEMPLATE,
    RDS_INSTANCE,
    REDIS_GROUP,
    message="{} is not in the list of machine types: choose one that is, or extend the parameter"
    " `allowed`",
    fix="Choose a current, mid-sized type; large ones go into the list by a reviewed change.",
    severity="medium",
    params={
        "allowed": strings("allowed machine types, as regular expressions", [_MACHINE_TYPES]),
    },
)
def machine_type_allowed(machine: Props, context: Context) -> Violation:
    """Machines are of types that were chosen."""
    allowed = list(context.params["allowed"])
    types = [type_ for type_ in _machine_types(machine) if type_]
    return ", ".join(type_ for type_ in types if not _matches_any(allowed, type_))


def _matches_any(patterns: list[str], text: str) -> bool:
    return any(re.fullmatch(pattern, text) for pattern in patterns)


def _machine_types(machine: Props) -> list[str | None]:
    keys = ("instanceType", "instanceClass", "nodeType")
    return [*list_at(machine, "instanceTypes"), *(machine.get(key) for key in keys)]


@rule(
    EKS_NODE_GROUP,
    message="the group may grow to {} nodes: lower scalingConfig.maxSize",
    fix="Bound the group at what the budget bears.",
    severity="medium",
    params={"most": integer("most nodes of one group", 20, minimum=1)},
)
def node_group_bounded(group: Props, context: Context) -> Violation:
    """A node group has a ceiling that somebody can pay for."""
    size = int(value_at(group, "scalingConfig.maxSize") or 0)
    return above(size, context.params["most"])


@rule(
    KARPENTER_NODE_POOL,
    message="the pool may grow to {} CPUs: lower spec.limits.cpu",
    fix="Bound the pool at what the budget bears.",
    severity="medium",
    params={"most": number("most CPUs of one pool", 512, minimum=1)},
    cel=Cel(
        f"{_POOL_CPUS}.compareTo(quantity(string(variables.params.most))) > 0",
        found=f"string({_POOL_CPUS}.asApproximateFloat())",
    ),
)
def node_pool_bounded(pool: Props, context: Context) -> Violation:
    """A node pool has a ceiling that somebody can pay for."""
    limit = quantity_to_number(value_at(pool, "spec.limits.cpu") or 0)
    return f"{limit:g}" if limit > context.params["most"] else None


@rule(
    EKS_CLUSTER,
    message="nobody is told when costs run away: add an aws.budgets.Budget with a notification",
    fix="Add a monthly budget, filtered by the Project tag, that writes to the owner at 80"
    " percent.",
    severity="medium",
    stack=True,
)
def budget_watched(_: Props, context: Context) -> Violation:
    """Somebody is told when costs run away."""
    budgets = context.stack.of("aws:budgets/budget:Budget")
    return not any(budget.props.get("notifications") for budget in budgets)


@rule(
    VPC,
    message="the stack has {} NAT gateways: share one, or raise the parameter `most`",
    fix="One NAT gateway is enough where nobody depends on the stack.",
    severity="low",
    stack=True,
    params={"most": integer("most NAT gateways of one stack", 3, minimum=0)},
    level="advisory",
)
def nat_gateways_bounded(_: Props, context: Context) -> Violation:
    """There are no more NAT gateways than the stack is worth."""
    count = len(context.stack.of(NAT_GATEWAY))
    return above(count, context.params["most"])


@rule(
    VPC,
    message="traffic to S3 is paid for at the NAT gateway: add a gateway VpcEndpoint for S3",
    fix="Add aws.ec2.VpcEndpoint of type Gateway for com.amazonaws.REGION.s3; it is free.",
    severity="medium",
    stack=True,
    level="advisory",
)
def s3_traffic_stays_inside(_: Props, context: Context) -> Violation:
    """Models and tables reach S3 without passing a NAT gateway."""
    endpoints = context.stack.referring("vpcId", context.resource, VPC_ENDPOINT)
    return not any(map(_is_s3_gateway, endpoints))


def _is_s3_gateway(endpoint: Resource) -> bool:
    is_of_s3 = str(endpoint.props.get("serviceName")).endswith(".s3")
    return is_of_s3 and is_default(endpoint.props, "vpcEndpointType", "Gateway")


@rule(
    EBS_VOLUME,
    RDS_INSTANCE,
    LAUNCH_TEMPLATE,
    message="{} is gp2: use gp3, which is cheaper and faster",
    fix="Set the volume type to gp3.",
    severity="low",
    level="advisory",
)
def volumes_gp3(owner: Props, _: Context) -> Violation:
    """Volumes are of the current generation."""
    types = [("the volume", owner.get("type")), ("the storage", owner.get("storageType"))]
    for device in list_at(owner, "blockDeviceMappings"):
        types.append((f"device {device.get('deviceName')}", value_at(device, "ebs.volumeType")))
    return ", ".join(name for name, type_ in types if type_ == "gp2")
