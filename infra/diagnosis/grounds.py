"""What is wrong beneath the workloads: namespaces, nodes, network policies."""

from __future__ import annotations

from collections.abc import Iterator

from infra.diagnosis.finding import (
    ClusterSnapshot,
    Diagnosis,
    KubeObject,
    format_duration,
    get_condition,
    qualified_name,
    quote,
)

_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")
_REMAINING_CONTENT = (
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
    "NamespaceDeletionContentFailure",
)
# Without the first of each anything may talk to anything; without another something cannot talk.
NETWORK_POLICIES = {
    "vigil": ("deny-all", "dns", "ray", "ray-autoscaler", "ray-to-mlflow", "operator-to-ray"),
    "vigil-tracking": ("deny-all", "dns", "mlflow"),
}


def diagnose_namespaces(seen: ClusterSnapshot, expected: tuple[str, ...]) -> Iterator[Diagnosis]:
    """Namespaces that are missing, or that cannot go."""
    there = {one["metadata"]["name"]: one for one in seen.of("Namespace")}
    for name in expected:
        if "Namespace" in seen.objects and name not in there:
            yield Diagnosis(f"namespace {name}", "is not there", "`pulumi up` makes it")
    for name, one in there.items():
        if (one.get("status") or {}).get("phase") == "Terminating":
            yield _terminating(seen, name, one)


def _terminating(seen: ClusterSnapshot, name: str, namespace: KubeObject) -> Diagnosis:
    since = seen.age(namespace["metadata"].get("deletionTimestamp"))
    held = [get_condition(namespace, kind) for kind in _REMAINING_CONTENT]
    true = [one for one in held if one and one.get("status") == "True"]
    said = "; ".join(quote(one.get("message")) for one in true) or "its objects go"
    why = f"is being deleted for {format_duration(since)}, nothing new can be made in it: {said}"
    fix = (
        f"wait, or see what is left: `kubectl -n {name} get rayservices,rayclusters,pods,pvc`;"
        " an object with a finalizer of ray.io goes once the operator runs"
    )
    return Diagnosis(f"namespace {name}", why, fix)


def diagnose_nodes(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Nodes that take no pods, or will soon throw some out."""
    for node in seen.of("Node"):
        name = node["metadata"]["name"]
        ready = get_condition(node, "Ready") or {}
        if ready.get("status") != "True":
            why = f"is not ready: {quote(ready.get('message')) or 'it has not reported'}"
            yield Diagnosis(f"node {name}", why, f"`kubectl describe node {name}`")
        for kind in _PRESSURES:
            pressed = get_condition(node, kind)
            if pressed and pressed.get("status") == "True":
                why = f"{kind}: {quote(pressed.get('message'))}"
                yield Diagnosis(f"node {name}", why, "pods will be evicted: give it room", "risk")


def diagnose_network_policies(seen: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Policies of the platform that somebody has taken away."""
    if "NetworkPolicy" not in seen.objects:
        return
    there = {qualified_name(one) for one in seen.of("NetworkPolicy")}
    present = {one["metadata"]["name"] for one in seen.of("Namespace")}
    for namespace, names in NETWORK_POLICIES.items():
        for name in names if namespace in present else ():
            if f"{namespace}/{name}" not in there:
                yield _missing(namespace, name)


def _missing(namespace: str, name: str) -> Diagnosis:
    what, fix = f"NetworkPolicy {namespace}/{name}", "`pulumi up --refresh` makes it anew"
    if name == "deny-all":
        return Diagnosis(what, "is not there: any pod may talk to these pods", fix, "risk")
    return Diagnosis(what, "is not there: what it allows is refused", fix)
