"""What is wrong beneath the workloads: namespaces, nodes, network policies."""

from __future__ import annotations

from collections.abc import Iterator

from infra.diagnosis.objects import KubeObject
from infra.diagnosis.report import Diagnosis, failure, format_duration, quote, risk
from infra.diagnosis.snapshot import ClusterSnapshot, SeenObject

# Without the first of each anything may talk to anything; without another something cannot talk.
NETWORK_POLICIES = {
    "vigil": ("deny-all", "dns", "ray", "ray-autoscaler", "ray-to-mlflow", "operator-to-ray"),
    "vigil-tracking": ("deny-all", "dns", "mlflow"),
}
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")
_REMAINING_CONTENT = (
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
    "NamespaceDeletionContentFailure",
)


def diagnose_namespaces(
    snapshot: ClusterSnapshot, expected: tuple[str, ...]
) -> Iterator[Diagnosis]:
    """Yield namespaces that are missing, or that cannot go."""
    present = snapshot.by_name("Namespace")
    for name in expected:
        if snapshot.has("Namespace") and name not in present:
            yield failure(f"namespace {name}", "is not there", "`pulumi up` makes it")
    for namespace in present.values():
        if namespace.phase == "Terminating":
            yield _terminating(namespace)


def _terminating(namespace: SeenObject) -> Diagnosis:
    since = format_duration(namespace.age(namespace.deleted_at))
    why = f"is being deleted for {since}, nothing new can be made in it: {_remains(namespace)}"
    look = f"`kubectl -n {namespace.name} get rayservices,rayclusters,pods,pvc`"
    fix = (
        f"wait, or see what is left: {look};"
        " an object with a finalizer of ray.io goes once the operator runs"
    )
    return failure(namespace, why, fix)


def _remains(namespace: KubeObject) -> str:
    """Return what keeps a namespace from going."""
    conditions = [namespace.condition(type_) for type_ in _REMAINING_CONTENT]
    messages = [quote(condition.message) for condition in conditions if condition.is_true]
    return "; ".join(messages) or "its objects go"


def diagnose_nodes(snapshot: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Yield nodes that take no pods, or will soon throw some out."""
    for node in snapshot.of("Node"):
        ready = node.condition("Ready")
        if not ready.is_true:
            why = f"is not ready: {quote(ready.message) or 'it has not reported'}"
            yield failure(node, why, f"`kubectl describe node {node.name}`")
        yield from _pressures(node)


def _pressures(node: KubeObject) -> Iterator[Diagnosis]:
    for type_ in _PRESSURES:
        pressure = node.condition(type_)
        if pressure.is_true:
            why = f"{type_}: {quote(pressure.message)}"
            yield risk(node, why, "pods will be evicted: give it room")


def diagnose_network_policies(snapshot: ClusterSnapshot) -> Iterator[Diagnosis]:
    """Yield policies of the platform that somebody has taken away."""
    if not snapshot.has("NetworkPolicy"):
        return
    present = {policy.qualified_name for policy in snapshot.of("NetworkPolicy")}
    namespaces = snapshot.by_name("Namespace").keys() & NETWORK_POLICIES.keys()
    for namespace in sorted(namespaces):
        for name in NETWORK_POLICIES[namespace]:
            if f"{namespace}/{name}" not in present:
                yield _missing_policy(namespace, name)


def _missing_policy(namespace: str, name: str) -> Diagnosis:
    what = f"NetworkPolicy {namespace}/{name}"
    fix = "`pulumi up --refresh` makes it anew"
    if name == "deny-all":
        return risk(what, "is not there: any pod may talk to these pods", fix)
    return failure(what, "is not there: what it allows is refused", fix)
