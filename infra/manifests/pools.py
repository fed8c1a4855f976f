"""Where Ray's pods find nodes: three NodePools of Karpenter or of EKS Auto Mode.

Each has a limit that caps what it can cost.
"""

from __future__ import annotations

from infra.manifests.parts import Manifest, kube_manifest
from infra.settings import PlatformSettings

_NODE_CLASS = "vigil"
POOLS = ("ray-head", "ray-serve", "ray-train")


def node_pool_manifests(settings: PlatformSettings) -> list[Manifest]:
    """None where nodes are static or the cluster is not ours."""
    if not settings.on_aws or settings.nodes == "static":
        return []
    return [_node_class(settings), *(_pool(settings, name) for name in POOLS)]


def _pool(settings: PlatformSettings, name: str) -> Manifest:
    """One pool of nodes.

    Heads on demand and left alone; serving mixed and consolidated slowly; training on spot and gone
    when empty.
    """
    auto = settings.nodes == "auto"
    capacity = {
        "ray-head": ["on-demand"],
        "ray-serve": ["on-demand", "spot"] if settings.spot_serving else ["on-demand"],
        "ray-train": ["spot", "on-demand"],
    }[name]
    policy, after = {
        "ray-head": ("WhenEmpty", "30m"),
        "ray-serve": ("WhenEmptyOrUnderutilized", "10m"),
        "ray-train": ("WhenEmpty", "2m"),
    }[name]
    prefix = "eks.amazonaws.com" if auto else "karpenter.k8s.aws"
    requirements = [
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": capacity},
        {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
        {"key": f"{prefix}/instance-category", "operator": "In", "values": ["c", "m", "r"]},
        {"key": f"{prefix}/instance-generation", "operator": "Gt", "values": ["5"]},
        {"key": f"{prefix}/instance-cpu", "operator": "In", "values": ["4", "8", "16", "32"]},
    ]
    reference = {
        "group": prefix,
        "kind": "NodeClass" if auto else "EC2NodeClass",
        "name": _NODE_CLASS,
    }
    return kube_manifest(
        "karpenter.sh/v1",
        "NodePool",
        name,
        None,
        spec={
            "template": {
                "metadata": {"labels": {"vigil/pool": name}},
                "spec": {
                    "nodeClassRef": reference,
                    "requirements": requirements,
                    "expireAfter": "480h",
                    "taints": [{"key": "vigil/pool", "value": name, "effect": "NoSchedule"}],
                },
            },
            "disruption": {
                "consolidationPolicy": policy,
                "consolidateAfter": after,
                "budgets": [{"nodes": "1"}],
            },
            "limits": {
                "cpu": str(settings.ray_node_cpu_limit),
                "memory": f"{settings.ray_node_cpu_limit * 8}Gi",
            },
        },
    )


def _node_class(settings: PlatformSettings) -> Manifest:
    found = [{"tags": {"karpenter.sh/discovery": settings.name}}]
    group = [{"tags": {"aws:eks:cluster-name": settings.name}}]
    if settings.nodes == "auto":
        return kube_manifest(
            "eks.amazonaws.com/v1",
            "NodeClass",
            _NODE_CLASS,
            None,
            spec={
                "subnetSelectorTerms": found,
                "securityGroupSelectorTerms": group,
                "networkPolicy": "DefaultAllow",
                "networkPolicyEventLogs": "Disabled",
                "ephemeralStorage": {"size": "80Gi"},
                "tags": settings.tags.common(),
            },
        )
    disk = {
        "volumeSize": "80Gi",
        "volumeType": "gp3",
        "encrypted": True,
        "deleteOnTermination": True,
    }
    return kube_manifest(
        "karpenter.k8s.aws/v1",
        "EC2NodeClass",
        _NODE_CLASS,
        None,
        spec={
            "amiSelectorTerms": [{"alias": "al2023@latest"}],
            "instanceProfile": f"{settings.name}-karpenter",
            "subnetSelectorTerms": found,
            "securityGroupSelectorTerms": group,
            "metadataOptions": {
                "httpEndpoint": "enabled",
                "httpTokens": "required",
                "httpPutResponseHopLimit": 1,
            },
            "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": disk}],
            "tags": settings.tags.of(f"{settings.name}-ray"),
        },
    )
