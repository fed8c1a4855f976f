"""What is wrong beneath the workloads: namespaces, nodes, network policies."""

from __future__ import annotations

from collections.abc import Iterator

from infra.diagnosis.finding import Finding, Object, Snapshot, condition, name_of, span, words

PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")
CONTENT = (
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
    "NamespaceDeletionContentFailure",
)
# Without the first of each anything may talk to anything; without another something cannot talk.
POLICIES = {
    "vigil": ("deny-all", "dns", "ray", "ray-autoscaler", "ray-to-mlflow", "operator-to-ray"),
    "vigil-tracking": ("deny-all", "dns", "mlflow"),
}


def namespaces(seen: Snapshot, expected: tuple[str, ...]) -> Iterator[Finding]:
    """Namespaces that are missing, or that cannot go."""
    there = {one["metadata"]["name"]: one for one in seen.of("Namespace")}
    for name in expected:
        if "Namespace" in seen.objects and name not in there:
            yield Finding(f"namespace {name}", "is not there", "`pulumi up` makes it")
    for name, one in there.items():
        if (one.get("status") or {}).get("phase") == "Terminating":
            yield _terminating(seen, name, one)


def _terminating(seen: Snapshot, name: str, namespace: Object) -> Finding:
    since = seen.age(namespace["metadata"].get("deletionTimestamp"))
    held = [condition(namespace, kind) for kind in CONTENT]
    true = [one for one in held if one and one.get("status") == "True"]
    said = "; ".join(words(one.get("message")) for one in true) or "its objects go"
    why = f"is being deleted for {span(since)}, nothing new can be made in it: {said}"
    fix = (
        f"wait, or see what is left: `kubectl -n {name} get rayservices,rayclusters,pods,pvc`;"
        " an object with a finalizer of ray.io goes once the operator runs"
    )
    return Finding(f"namespace {name}", why, fix)


def nodes(seen: Snapshot) -> Iterator[Finding]:
    """Nodes that take no pods, or will soon throw some out."""
    for node in seen.of("Node"):
        name = node["metadata"]["name"]
        ready = condition(node, "Ready") or {}
        if ready.get("status") != "True":
            why = f"is not ready: {words(ready.get('message')) or 'it has not reported'}"
            yield Finding(f"node {name}", why, f"`kubectl describe node {name}`")
        for kind in PRESSURES:
            pressed = condition(node, kind)
            if pressed and pressed.get("status") == "True":
                why = f"{kind}: {words(pressed.get('message'))}"
                yield Finding(f"node {name}", why, "pods will be evicted: give it room", "risk")


def network_policies(seen: Snapshot) -> Iterator[Finding]:
    """Policies of the platform that somebody has taken away."""
    if "NetworkPolicy" not in seen.objects:
        return
    there = {name_of(one) for one in seen.of("NetworkPolicy")}
    present = {one["metadata"]["name"] for one in seen.of("Namespace")}
    for namespace, names in POLICIES.items():
        for name in names if namespace in present else ():
            if f"{namespace}/{name}" not in there:
                yield _missing(namespace, name)


def _missing(namespace: str, name: str) -> Finding:
    what, fix = f"NetworkPolicy {namespace}/{name}", "`pulumi up --refresh` makes it anew"
    if name == "deny-all":
        return Finding(what, "is not there: any pod may talk to these pods", fix, "risk")
    return Finding(what, "is not there: what it allows is refused", fix)
