"""Managed node groups of EKS, and the launch template of their machines."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.component import SubnetIds
from infra.tags import Tags

DISK_GIB = 50
# Metadata by session token only, and not for pods.
_METADATA_OPTIONS: aws.ec2.LaunchTemplateMetadataOptionsArgsDict = {
    "http_endpoint": "enabled",
    "http_tokens": "required",
    "http_put_response_hop_limit": 1,
}
_DISK: aws.ec2.LaunchTemplateBlockDeviceMappingArgsDict = {
    "device_name": "/dev/xvda",
    "ebs": {
        "volume_size": DISK_GIB,
        "volume_type": "gp3",
        "encrypted": "true",
        "delete_on_termination": "true",
    },
}


@dataclass(frozen=True)
class PoolSize:
    """Nodes of a group: at least, at first, at most."""

    min: int
    desired: int
    max: int

    def scaling(self) -> aws.eks.NodeGroupScalingConfigArgsDict:
        return {
            "min_size": self.min,
            "desired_size": self.desired,
            "max_size": self.max,
        }


@dataclass(frozen=True, kw_only=True)
class NodeGroupArgs:
    """`role` is an ARN; `tainted`: only pods that tolerate the pool run there."""

    cluster: pulumi.Input[str]
    pool: str
    role: pulumi.Input[str]
    subnets: SubnetIds
    instance_types: tuple[str, ...]
    template: aws.ec2.LaunchTemplate
    size: PoolSize
    tags: Tags = field(repr=False)
    tainted: bool = False

    @property
    def labels(self) -> dict[str, str]:
        return {"vigil/pool": self.pool}

    @property
    def taints(self) -> Any:
        """The taint of the pool; None where everybody may run."""
        if not self.tainted:
            return None
        return [{"key": "vigil/pool", "value": self.pool, "effect": "NO_SCHEDULE"}]


def launch_template(
    name: str,
    tags: Tags,
    opts: pulumi.ResourceOptions,
) -> aws.ec2.LaunchTemplate:
    """Encrypted gp3 disk, metadata by session token only and not for pods."""
    tagged: list[aws.ec2.LaunchTemplateTagSpecificationArgsDict] = [
        {"resource_type": kind, "tags": tags.of(name)} for kind in ("instance", "volume")
    ]
    return aws.ec2.LaunchTemplate(
        name,
        update_default_version=True,
        tags=tags.of(name),
        opts=opts,
        metadata_options=_METADATA_OPTIONS,
        block_device_mappings=[_DISK],
        tag_specifications=tagged,
    )


def node_group(
    name: str,
    args: NodeGroupArgs,
    opts: pulumi.ResourceOptions,
) -> aws.eks.NodeGroup:
    """On-demand nodes in private subnets, without SSH."""
    version = args.template.latest_version.apply(str)
    return aws.eks.NodeGroup(
        name,
        cluster_name=args.cluster,
        node_role_arn=args.role,
        subnet_ids=args.subnets,
        instance_types=list(args.instance_types),
        capacity_type="ON_DEMAND",
        ami_type="AL2023_x86_64_STANDARD",
        launch_template={"id": args.template.id, "version": version},
        scaling_config=args.size.scaling(),
        update_config={"max_unavailable": 1},
        labels=args.labels,
        taints=args.taints,
        tags=args.tags.of(name),
        opts=opts,
    )
