"""Where the pods of Ray land, and whether there is room for them.

An upgrade makes a second cluster, which needs the same room again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from policies.cel import Cel
from policies.params import integer, number
from policies.pods import Group, namespace_of, quantity_to_number, ray_groups
from policies.ray_cluster import each_group, each_head
from policies.resource_types import EKS_NODE_GROUP, KARPENTER_NODE_POOL, RAY_SERVICE_TYPE, RAY_TYPES
from policies.rule import Violation, rule
from policies.subjects import Context, Props, Resource, Stack, list_at, props_at, value_at

_ON_DEMAND = {
    "karpenter.sh/capacity-type": "on-demand",
    "eks.amazonaws.com/capacityType": "ON_DEMAND",
}
_LOWEST = "int(it.props.?minReplicas.orValue(0))"
# The API server puts the highest number where nothing is said.
_UNSTATED = 2**31 - 1
_HIGHEST = (
    f"int(it.props.?maxReplicas.orValue({_UNSTATED}) in [0, {_UNSTATED}]"
    " ? it.props.?replicas.orValue(0) : it.props.maxReplicas)"
)
_REQUIRED_AFFINITY = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"


@rule(
    *RAY_TYPES,
    each=each_head,
    message="it may land on a spot node: select nodes that are on demand",
    fix='Set nodeSelector {"karpenter.sh/capacity-type": "on-demand"}, or a pool that is on demand'
    " only.",
    severity="high",
    stack=True,
)
def ray_head_on_demand(head: Group, context: Context) -> Violation:
    """Ray's head, whose loss stops the cluster, runs on demand."""
    selector = head.node_selector
    if _selects_on_demand(selector) or _demands_affinity(head.pod):
        return None
    if not selector:
        return True
    if pools := _pools_for(selector, context.stack):
        return not all(map(_is_on_demand, pools))
    node_groups = _node_groups_for(selector, context.stack)
    return not node_groups or any(map(_is_spot, node_groups))


def _selects_on_demand(selector: Props) -> bool:
    return any(selector.get(key) == value for key, value in _ON_DEMAND.items())


def _demands_affinity(pod: Props) -> bool:
    terms = list(list_at(pod, f"{_REQUIRED_AFFINITY}.nodeSelectorTerms"))
    return bool(terms) and all(_demand(list_at(term, "matchExpressions")) for term in terms)


def _demand(requirements: Sequence[Props]) -> bool:
    """Return whether one of the requirements admits nodes on demand alone."""
    return any(map(_demands, requirements))


def _demands(requirement: Props) -> bool:
    capacity = _ON_DEMAND.get(requirement["key"])
    if capacity is None or requirement.get("operator", "In") != "In":
        return False
    return list(list_at(requirement, "values")) == [capacity]


def _requirements(pool: Resource) -> Sequence[Props]:
    return list_at(pool.props, "spec.template.spec.requirements")


def _is_on_demand(pool: Resource) -> bool:
    return _demand(_requirements(pool))


def _is_spot(node_group: Resource) -> bool:
    return node_group.props.get("capacityType") == "SPOT"


def _pools_for(selector: Props, stack: Stack) -> list[Resource]:
    """Return the pools that can make nodes which the selector accepts."""
    return [pool for pool in stack.of(KARPENTER_NODE_POOL) if _can_match(pool, selector)]


def _can_match(pool: Resource, selector: Props) -> bool:
    labels = dict(props_at(pool.props, "spec.template.metadata.labels"))
    labels["karpenter.sh/nodepool"] = pool.value("metadata.name") or pool.name
    offered = {each["key"]: list(list_at(each, "values")) for each in _requirements(pool)}

    def matches(key: str, value: Any) -> bool:
        return labels.get(key) == value or value in offered.get(key, ())

    return all(matches(key, value) for key, value in selector.items())


def _node_groups_for(selector: Props, stack: Stack) -> list[Resource]:
    node_groups = stack.of(EKS_NODE_GROUP)
    return [group for group in node_groups if _has_labels(group, selector)]


def _has_labels(node_group: Resource, selector: Props) -> bool:
    labels = props_at(node_group.props, "labels")
    return all(labels.get(key) == value for key, value in selector.items())


def _min_replicas(group: Group) -> int:
    return int(group.props.get("minReplicas") or 0)


def _max_replicas(group: Group) -> int:
    props = group.props
    highest = props.get("maxReplicas") or props.get("replicas") or 0
    return int(highest)


@rule(
    *RAY_TYPES,
    each=each_group,
    message="replica bounds {}: set minReplicas <= maxReplicas, and maxReplicas within the"
    " parameter `most`",
    fix="Set both bounds on every worker group.",
    severity="medium",
    params={"most": integer("most workers of one group", 100, minimum=1)},
    cel=Cel(
        f"!it.head && !({_LOWEST} <= {_HIGHEST} && {_HIGHEST} > 0"
        f" && {_HIGHEST} <= variables.params.most)",
        found=f'string({_LOWEST}) + ".." + string({_HIGHEST}) + " are wrong"',
    ),
)
def ray_replicas_bounded(group: Group, context: Context) -> Violation:
    """Every worker group has a floor and a ceiling that make sense."""
    if group.is_head:
        return None
    lowest = _min_replicas(group)
    highest = _max_replicas(group)
    is_bounded = lowest <= highest and 0 < highest <= context.params["most"]
    return None if is_bounded else f"{lowest}..{highest} are wrong"


def _requested_cpus(container: Props) -> float:
    requested = value_at(container, "resources.requests.cpu")
    return quantity_to_number(requested or value_at(container, "resources.limits.cpu") or 0)


def _max_cpus(group: Group) -> float:
    """Return the CPUs that a group asks for at its largest."""
    containers = list_at(group.pod, "containers")
    cpus = sum(map(_requested_cpus, containers))
    return cpus if group.is_head else cpus * _max_replicas(group)


@rule(
    *RAY_TYPES,
    message="at its largest the cluster asks for {}: raise the quota, or lower maxReplicas",
    fix="Make room in the ResourceQuota for the largest cluster; a RayService upgrade needs it"
    " twice.",
    severity="medium",
    stack=True,
)
def ray_within_quota(_: Props, context: Context) -> Violation:
    """The largest cluster fits into the quota of its namespace."""
    needed = sum(map(_max_cpus, ray_groups(context.resource)))
    namespace = namespace_of(context.resource.props)
    quotas = context.stack.of("kubernetes:core/*:ResourceQuota")
    own = [quota for quota in quotas if namespace_of(quota.props) == namespace]
    exceeded = [limit for limit in map(_cpu_limit, own) if limit is not None and needed > limit]
    return f"{needed:g} CPUs of a quota of {exceeded[0]:g}" if exceeded else None


def _cpu_limit(quota: Resource) -> float | None:
    """Return the CPUs that a quota allows; None where it does not limit them."""
    hard = props_at(quota.props, "spec.hard")
    limits = [hard[key] for key in ("requests.cpu", "cpu") if hard.get(key) is not None]
    return quantity_to_number(limits[0]) if limits else None


@rule(
    RAY_SERVICE_TYPE,
    message="an upgrade needs {}, or set upgradeStrategy.type to None",
    fix="Any change of rayClusterConfig but replica counts starts a second cluster beside the"
    " first: leave room for both.",
    severity="high",
    stack=True,
    params={
        "nodeCpus": number(
            "CPUs that nodes outside Karpenter's pools offer; 0 counts NodePool limits alone",
            0,
            minimum=0,
        )
    },
)
def ray_upgrade_has_room(_: Props, context: Context) -> Violation:
    """A second cluster is made on upgrade only where the nodes have room for two."""
    share = _second_cluster_share(props_at(context.resource.props, "spec.upgradeStrategy"))
    if share is None:
        return None
    needed: defaultdict[Pools, float] = defaultdict(float)
    for group in ray_groups(context.resource):
        pools = frozenset(pool.name for pool in _pools_for(group.node_selector, context.stack))
        needed[pools] += _max_cpus(group) * (1 + share)
    return _shortage(needed, context)


def _second_cluster_share(strategy: Props) -> float | None:
    """Return the share of a second cluster that runs beside the first; None: there is none."""
    kind = strategy.get("type") or "NewCluster"
    if kind == "None":
        return None
    if kind == "NewCluster":
        return 1.0
    options = props_at(strategy, "clusterUpgradeOptions")
    percent = float(options.get("maxSurgePercent", 100))
    return percent / 100


Pools = frozenset[str]
"""Names of node pools on any of which a pod may land."""


@dataclass(frozen=True)
class NodeRoom:
    """CPUs that nodes offer: `limits` of pools by name, and those `elsewhere`.

    Without any pool the nodes are made elsewhere, and only the parameter says what they offer.
    """

    limits: Mapping[str, float]
    elsewhere: float

    def cpus(self, pools: Pools) -> float:
        """Return the CPUs of these pools and of the nodes elsewhere."""
        limits = [self.limits[name] for name in pools]
        return sum(limits) + self.elsewhere

    def describe_shortage(self, pools: Pools, needed: float) -> str:
        """Return what is needed of these pools, and what there is."""
        if self.limits:
            where = " and ".join(sorted(pools)) or "no node pool"
            room = f"the limits ({where}) allow {self.cpus(pools):g}: raise the limits"
            return f"{needed:g} CPUs where {room}"
        if self.elsewhere:
            return f"{needed:g} CPUs where the nodes offer {self.elsewhere:g} (nodeCpus): add nodes"
        hint = "say how many they offer in the parameter nodeCpus"
        return f"{needed:g} CPUs of nodes that this stack does not limit: {hint}"


def _shortage(needed: Mapping[Pools, float], context: Context) -> Violation:
    """Return what is needed of pools (by name) that do not have it."""
    pools = context.stack.of(KARPENTER_NODE_POOL)
    limits = {pool.name: _cpus_of(pool) for pool in pools}
    elsewhere = float(context.params["nodeCpus"])
    room = NodeRoom(limits, elsewhere)
    for names, cpus in needed.items():
        if cpus > room.cpus(names):
            return room.describe_shortage(names, cpus)
    return None


def _cpus_of(pool: Resource) -> float:
    return quantity_to_number(pool.value("spec.limits.cpu") or 0)
