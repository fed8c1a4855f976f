"""Where Ray's pods find nodes: three NodePools of Karpenter or of EKS Auto Mode.

Each has a limit that caps what it can cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from infra.manifests.parts import Manifest, Manifests, kube_manifest
from infra.settings import PlatformSettings

_NODE_CLASS = "vigil"
_AUTO_PREFIX = "eks.amazonaws.com"
_KARPENTER_PREFIX = "karpenter.k8s.aws"
_MEMORY_GIB_A_CPU = 8


@dataclass(frozen=True)
class PoolPolicy:
    """How a pool buys nodes, and when it gives them back."""

    capacity: tuple[str, ...]
    consolidation: str
    after: str


# Heads on demand and left alone; serving mixed and consolidated slowly; training on spot and gone
# when empty.
_POLICIES = {
    "ray-head": PoolPolicy(("on-demand",), "WhenEmpty", "30m"),
    "ray-serve": PoolPolicy(("on-demand", "spot"), "WhenEmptyOrUnderutilized", "10m"),
    "ray-train": PoolPolicy(("spot", "on-demand"), "WhenEmpty", "2m"),
}
POOLS = tuple(_POLICIES)
_DISK = {
    "volumeSize": "80Gi",
    "volumeType": "gp3",
    "encrypted": True,
    "deleteOnTermination": True,
}
_METADATA_OPTIONS = {
    "httpEndpoint": "enabled",
    "httpTokens": "required",
    "httpPutResponseHopLimit": 1,
}
_MACHINE = {
    "amiSelectorTerms": [{"alias": "al2023@latest"}],
    "metadataOptions": _METADATA_OPTIONS,
    "blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": _DISK}],
}


def node_pool_manifests(settings: PlatformSettings) -> Manifests:
    """None where nodes are static or the cluster is not ours."""
    if not settings.on_aws or settings.nodes == "static":
        return []
    pools = [_pool(settings, name) for name in POOLS]
    return [_node_class(settings), *pools]


def _pool(settings: PlatformSettings, name: str) -> Manifest:
    policy = _policy(settings, name)
    spec = {
        "template": _node_template(settings, name, policy),
        "disruption": _disruption(policy),
        "limits": _limits(settings.ray_node_cpu_limit),
    }
    return kube_manifest(
        "karpenter.sh/v1",
        "NodePool",
        name,
        None,
        spec=spec,
    )


def _policy(settings: PlatformSettings, name: str) -> PoolPolicy:
    policy = _POLICIES[name]
    if name == "ray-serve" and not settings.spot_serving:
        return replace(policy, capacity=("on-demand",))
    return policy


def _node_template(
    settings: PlatformSettings,
    pool: str,
    policy: PoolPolicy,
) -> Manifest:
    spec = {
        "nodeClassRef": _class_reference(settings),
        "requirements": [*_machine_kinds(_prefix(settings), policy)],
        "expireAfter": "480h",
        "taints": [{"key": "vigil/pool", "value": pool, "effect": "NoSchedule"}],
    }
    return {"metadata": {"labels": {"vigil/pool": pool}}, "spec": spec}


def _prefix(settings: PlatformSettings) -> str:
    return _AUTO_PREFIX if settings.nodes == "auto" else _KARPENTER_PREFIX


def _class_reference(settings: PlatformSettings) -> Manifest:
    kind = "NodeClass" if settings.nodes == "auto" else "EC2NodeClass"
    return {"group": _prefix(settings), "kind": kind, "name": _NODE_CLASS}


def _machine_kinds(prefix: str, policy: PoolPolicy) -> Iterator[Manifest]:
    yield _requirement("karpenter.sh/capacity-type", *policy.capacity)
    yield _requirement("kubernetes.io/arch", "amd64")
    yield _requirement(f"{prefix}/instance-category", "c", "m", "r")
    yield _requirement(f"{prefix}/instance-generation", "5", operator="Gt")
    yield _requirement(
        f"{prefix}/instance-cpu",
        "4",
        "8",
        "16",
        "32",
    )


def _requirement(
    key: str,
    *values: str,
    operator: str = "In",
) -> Manifest:
    return {"key": key, "operator": operator, "values": list(values)}


def _disruption(policy: PoolPolicy) -> Manifest:
    return {
        "consolidationPolicy": policy.consolidation,
        "consolidateAfter": policy.after,
        "budgets": [{"nodes": "1"}],
    }


def _limits(cpus: int) -> Manifest:
    return {"cpu": str(cpus), "memory": f"{cpus * _MEMORY_GIB_A_CPU}Gi"}


# --- what a node is ---


def _node_class(settings: PlatformSettings) -> Manifest:
    place = {
        "subnetSelectorTerms": [{"tags": {"karpenter.sh/discovery": settings.name}}],
        "securityGroupSelectorTerms": [{"tags": {"aws:eks:cluster-name": settings.name}}],
    }
    if settings.nodes == "auto":
        return _auto_class({**place, "tags": settings.tags.common()})
    tags = settings.tags.of(f"{settings.name}-ray")
    return _karpenter_class(f"{settings.name}-karpenter", {**place, "tags": tags})


def _auto_class(place: Manifest) -> Manifest:
    spec = {
        **place,
        "networkPolicy": "DefaultAllow",
        "networkPolicyEventLogs": "Disabled",
        "ephemeralStorage": {"size": "80Gi"},
    }
    return kube_manifest(
        f"{_AUTO_PREFIX}/v1",
        "NodeClass",
        _NODE_CLASS,
        None,
        spec=spec,
    )


def _karpenter_class(profile: str, place: Manifest) -> Manifest:
    spec = {**place, **_MACHINE, "instanceProfile": profile}
    return kube_manifest(
        f"{_KARPENTER_PREFIX}/v1",
        "EC2NodeClass",
        _NODE_CLASS,
        None,
        spec=spec,
    )
