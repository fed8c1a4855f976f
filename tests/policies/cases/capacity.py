"""Cases of the rules of policies/capacity.py."""

from __future__ import annotations

from tests.policies.cases.paths import HEAD, WORKER
from tests.policies.table import REMOVED, Break, Case

SPOT = "head: it may land on a spot node: select nodes that are on demand"
BOUNDS = (
    "worker group serve: replica bounds {} are wrong: set minReplicas <= maxReplicas, and"
    " maxReplicas within the parameter `most`"
)
ROOM = "an upgrade needs {}: raise the limits, or set upgradeStrategy.type to None"
POOL = "spec.template.spec.requirements.0"
POOL_CAPACITY = f"{POOL}.values"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
CAPACITY_TERM = {
    "matchExpressions": [
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}
    ]
}
SPOT_OR_NOT = {
    "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [CAPACITY_TERM, {"matchExpressions": []}]}}
}

CAPACITY_CASES = [
    Case(
        "ray-head-on-demand",
        ("ray-head", POOL_CAPACITY),
        [
            Break("ray-head", POOL_CAPACITY, ["spot"], SPOT, "serve"),
            Break("ray-head", POOL_CAPACITY, ["spot", "on-demand"], SPOT, "serve"),
            Break("ray-head", f"{POOL}.operator", "NotIn", SPOT, "serve"),
            Break("ray-head", "", REMOVED, SPOT, "serve"),
            Break(
                "serve", f"{HEAD}.template.spec.nodeSelector", {"kubernetes.io/arch": "arm64"}, SPOT
            ),
            Break("serve", f"{HEAD}.template.spec", {"affinity": SPOT_OR_NOT}, SPOT),
            Break("serve", f"{HEAD}.template.spec.nodeSelector", REMOVED, SPOT),
        ],
    ),
    Case(
        "ray-replicas-bounded",
        ("serve", f"{WORKER}.maxReplicas"),
        [
            Break("serve", f"{WORKER}.maxReplicas", 1.0, BOUNDS.replace("{}", "2..1")),
            Break("serve", f"{WORKER}.maxReplicas", 500.0, BOUNDS.replace("{}", "2..500")),
            Break("serve", f"{WORKER}.maxReplicas", REMOVED, BOUNDS.replace("{}", "2..0")),
            Break(
                "serve",
                WORKER,
                {"groupName": "serve", "maxReplicas": 0.0},
                BOUNDS.replace("{}", "0..0"),
            ),
        ],
    ),
    Case(
        "ray-within-quota",
        ("quota", "spec.hard"),
        [
            Break(
                "quota",
                "spec.hard",
                {"requests.cpu": "9500m"},
                "at its largest the cluster asks for 10 CPUs of a quota of 9.5: raise the quota,"
                " or lower maxReplicas",
                "serve",
            )
        ],
    ),
    Case(
        "ray-upgrade-has-room",
        ("ray-serve", "spec.limits.cpu"),
        [
            Break(
                "ray-serve",
                "spec.limits.cpu",
                "12",
                ROOM.replace("{}", "16 CPUs where the limits (ray-serve) allow 12"),
                "serve",
            ),
            Break(
                "ray-head",
                "spec.limits.cpu",
                "2",
                ROOM.replace("{}", "4 CPUs where the limits (ray-head) allow 2"),
                "serve",
            ),
            Break(
                "ray-head",
                "",
                REMOVED,
                ROOM.replace("{}", "4 CPUs where the limits (no node pool) allow 0"),
                "serve",
            ),
        ],
    ),
]
