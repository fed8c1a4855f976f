"""Security groups that open one port to the members of another one."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.component import SubnetIds
from infra.tags import Tags


@dataclass(frozen=True, kw_only=True)
class PlacementArgs:
    """Where a store lives: in `subnets` of `vpc`, open to the members of `clients` alone.

    `key` encrypts it.
    """

    vpc: pulumi.Input[str]
    subnets: SubnetIds
    clients: pulumi.Input[str]
    key: pulumi.Input[str]
    tags: Tags


def open_port(
    name: str,
    protocol: str,
    port: int,
    *,
    place: PlacementArgs,
    opts: pulumi.ResourceOptions,
) -> aws.ec2.SecurityGroup:
    """A group that nodes reach by TCP on one port; `protocol` is what they speak."""
    description = f"{protocol} from the nodes"
    rule: aws.ec2.SecurityGroupIngressArgsDict = {
        "description": description,
        "protocol": "tcp",
        "from_port": port,
        "to_port": port,
        "security_groups": [place.clients],
    }
    return aws.ec2.SecurityGroup(
        name,
        description=description,
        vpc_id=place.vpc,
        ingress=[rule],
        egress=[],
        tags=place.tags.of(name),
        opts=opts,
    )
