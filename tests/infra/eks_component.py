"""What `pulumi_eks.Cluster` makes of its arguments, which mocks never show: the cluster itself.

As pulumi-eks 4 does it (nodejs/eks/cluster/cluster.ts): it says that whoever makes the cluster
stays its administrator, and hands protection down. Transforms of the component see its children,
as in the engine. What EKS adds is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi

CLUSTER = "aws:eks/cluster:Cluster"


def cluster(
    name: str,
    asked: dict[str, Any],
    transforms: Sequence[pulumi.ResourceTransform],
) -> tuple[str, dict[str, Any]]:
    """Name and inputs of the child."""
    child = f"{name}-eksCluster"
    props = _inputs(child, asked)
    for transform in transforms:
        given = pulumi.ResourceTransformArgs(
            custom=True,
            type_=CLUSTER,
            name=child,
            props=props,
            opts=pulumi.ResourceOptions(),
        )
        answer = transform(given)
        if isinstance(answer, pulumi.ResourceTransformResult):
            props = dict(answer.props)
    return child, props


def _inputs(child: str, asked: dict[str, Any]) -> dict[str, Any]:
    same = ("name", "version", "enabledClusterLogTypes", "upgradePolicy", "deletionProtection")
    network = ("endpointPrivateAccess", "endpointPublicAccess", "publicAccessCidrs")
    props: dict[str, Any] = {
        **{key: asked[key] for key in same if key in asked},
        "roleArn": asked.get("serviceRole"),
        "bootstrapSelfManagedAddons": asked.get("bootstrapSelfManagedAddons", True),
        "vpcConfig": {
            "subnetIds": [*asked.get("publicSubnetIds", ()), *asked.get("privateSubnetIds", ())],
            **{key: asked[key] for key in network if key in asked},
        },
        "tags": {"Name": child, **asked.get("tags", {})},
    }
    if key := asked.get("encryptionConfigKeyArn"):
        props["encryptionConfig"] = {"provider": {"keyArn": key}, "resources": ["secrets"]}
    if mode := asked.get("authenticationMode"):
        props["accessConfig"] = {
            "authenticationMode": mode,
            "bootstrapClusterCreatorAdminPermissions": True,
        }
    return props
