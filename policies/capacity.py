"""Where the pods of Ray land, and whether there is room for them, twice where an upgrade makes a second cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policies.pods import RAY, Group, namespace_of, quantity, ray_groups
from policies.ray_cluster import SERVE, groups, heads
from policies.rule import Context, Found, Props, Resource, Stack, rule

POOL = "kubernetes:karpenter.sh/*:NodePool"
NODE_GROUP = "aws:eks/nodeGroup:NodeGroup"
CAPACITY = {
    "karpenter.sh/capacity-type": "on-demand",
    "eks.amazonaws.com/capacityType": "ON_DEMAND",
}


@rule(
    *RAY,
    each=heads,
    message="it may land on a spot node: select nodes that are on demand",
    fix='Set nodeSelector {"karpenter.sh/capacity-type": "on-demand"}, or a pool that is on demand only.',
    severity="high",
    stack=True,
)
def ray_head_on_demand(head: Group, context: Context) -> Found:
    """Ray's head, whose loss stops the cluster, runs on demand."""
    pod = head.template.get("spec") or {}
    selector = pod.get("nodeSelector") or {}
    if any(selector.get(key) == value for key, value in CAPACITY.items()) or _asks_on_demand(pod):
        return None
    pools = [pool for pool in context.stack.of(POOL) if selector and _takes(pool, selector)]
    if pools:
        return not all(_on_demand_only(pool) for pool in pools)
    matching = [
        each for each in context.stack.of(NODE_GROUP) if selector and _labelled(each, selector)
    ]
    return not matching or any(each.props.get("capacityType") == "SPOT" for each in matching)


def _asks_on_demand(pod: Props) -> bool:
    affinity = ((pod.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    terms = list(affinity.get("nodeSelectorTerms") or ())
    return bool(terms) and all(_demands(term.get("matchExpressions") or ()) for term in terms)


def _demands(requirements: Any) -> bool:
    return any(
        each.get("operator", "In") == "In"
        and list(each.get("values") or ()) == [CAPACITY.get(each["key"])]
        for each in requirements
        if each["key"] in CAPACITY
    )


def _pool_template(pool: Resource) -> Props:
    return (pool.props.get("spec") or {}).get("template") or {}


def _on_demand_only(pool: Resource) -> bool:
    return _demands((_pool_template(pool).get("spec") or {}).get("requirements") or ())


def _takes(pool: Resource, selector: Props) -> bool:
    """Whether the pool can make nodes that the selector accepts."""
    template = _pool_template(pool)
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    labels["karpenter.sh/nodepool"] = (pool.props.get("metadata") or {}).get("name") or pool.name
    offered = {
        each["key"]: list(each.get("values") or ())
        for each in (template.get("spec") or {}).get("requirements") or ()
    }
    return all(
        labels.get(key) == value or value in offered.get(key, ()) for key, value in selector.items()
    )


def _labelled(group: Resource, selector: Props) -> bool:
    labels = group.props.get("labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())


def _bounds(group: Group) -> tuple[int, int]:
    lowest = int(group.props.get("minReplicas") or 0)
    return lowest, int(group.props.get("maxReplicas") or group.props.get("replicas") or 0)


@rule(
    *RAY,
    each=groups,
    message="replica bounds {}: set minReplicas <= maxReplicas, and maxReplicas within the parameter `most`",
    fix="Set both bounds on every worker group.",
    severity="medium",
    params={
        "most": {
            "type": "integer",
            "minimum": 1,
            "default": 100,
            "description": "most workers of one group",
        }
    },
)
def ray_replicas_bounded(group: Group, context: Context) -> Found:
    """Every worker group has a floor and a ceiling that make sense."""
    if group.head:
        return None
    lowest, highest = _bounds(group)
    return (
        None
        if lowest <= highest and 0 < highest <= context.params["most"]
        else f"{lowest}..{highest} are wrong"
    )


def _cpus(group: Group) -> float:
    """CPUs that one pod of the group asks for."""
    asked = 0.0
    for container in (group.template.get("spec") or {}).get("containers") or ():
        resources = container.get("resources") or {}
        asked += quantity(
            (resources.get("requests") or {}).get("cpu")
            or (resources.get("limits") or {}).get("cpu")
            or 0
        )
    return asked


def _most_cpus(group: Group) -> float:
    return _cpus(group) * (1 if group.head else _bounds(group)[1])


@rule(
    *RAY,
    message="at its largest the cluster asks for {}: raise the quota, or lower maxReplicas",
    fix="Make room in the ResourceQuota for the largest cluster; a RayService upgrade needs it twice.",
    severity="medium",
    stack=True,
)
def ray_within_quota(_: Props, context: Context) -> Found:
    """The largest cluster fits into the quota of its namespace."""
    asked = sum(_most_cpus(group) for group in ray_groups(context.resource))
    for quota in context.stack.of("kubernetes:core/*:ResourceQuota"):
        if namespace_of(quota.props) != namespace_of(context.resource.props):
            continue
        hard = (quota.props.get("spec") or {}).get("hard") or {}
        allowed = [hard[key] for key in ("requests.cpu", "cpu") if hard.get(key) is not None]
        if allowed and asked > quantity(allowed[0]):
            return f"{asked:g} CPUs of a quota of {quantity(allowed[0]):g}"
    return None


@rule(
    SERVE,
    message="an upgrade needs {}, or set upgradeStrategy.type to None",
    fix="Any change of rayClusterConfig but replica counts starts a second cluster beside the first: leave room for both.",
    severity="high",
    stack=True,
    params={
        "nodeCpus": {
            "type": "number",
            "minimum": 0,
            "default": 0,
            "description": "CPUs that nodes outside Karpenter's pools offer; 0 counts NodePool limits alone",
        }
    },
)
def ray_upgrade_has_room(_: Props, context: Context) -> Found:
    """A second cluster is made on upgrade only where the nodes have room for two."""
    strategy = (context.resource.props.get("spec") or {}).get("upgradeStrategy") or {}
    kind = strategy.get("type") or "NewCluster"
    if kind == "None":
        return None
    surge = (
        (strategy.get("clusterUpgradeOptions") or {}).get("maxSurgePercent", 100)
        if kind != "NewCluster"
        else 100
    )
    asked: dict[frozenset[str], float] = {}
    for group in ray_groups(context.resource):
        pools = _pools_for(group, context.stack)
        asked[pools] = asked.get(pools, 0.0) + _most_cpus(group) * (1 + float(surge) / 100)
    return _short_of(asked, context)


def _short_of(asked: Mapping[frozenset[str], float], context: Context) -> Found:
    """What is asked for of pools (by name) that do not have it. Without any pool the nodes are made
    elsewhere, and only the parameter tells what they offer."""
    limits = {pool.name: _limit(pool) for pool in context.stack.of(POOL)}
    elsewhere = float(context.params["nodeCpus"])
    for pools, needed in asked.items():
        room = sum(limits[name] for name in pools) + elsewhere
        if needed > room and limits:
            where = " and ".join(sorted(pools)) or "no node pool"
            return f"{needed:g} CPUs where the limits ({where}) allow {room:g}: raise the limits"
        if needed > room and elsewhere:
            return f"{needed:g} CPUs where the nodes offer {room:g} (nodeCpus): add nodes"
        if needed > room:
            told = "say how many they offer in the parameter nodeCpus"
            return f"{needed:g} CPUs of nodes that this stack does not limit: {told}"
    return None


def _pools_for(group: Group, stack: Stack) -> frozenset[str]:
    selector = (group.template.get("spec") or {}).get("nodeSelector") or {}
    return frozenset(pool.name for pool in stack.of(POOL) if _takes(pool, selector))


def _limit(pool: Resource) -> float:
    return quantity(((pool.props.get("spec") or {}).get("limits") or {}).get("cpu") or 0)
