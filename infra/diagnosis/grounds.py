"""What is wrong beneath the workloads: namespaces, nodes, network policies."""

from __future__ import annotations

from collections.abc import Iterator

from infra.diagnosis.objects import KubeObject
from infra.diagnosis.report import Diagnoses, Diagnosis, failure, quote, risk
from infra.diagnosis.snapshot import ClusterSnapshot, SeenObject

# Without the first of each anything may talk to anything; without another something cannot talk.
NETWORK_POLICIES = {
    "vigil": ("deny-all", "dns", "ray", "ray-autoscaler", "ray-to-mlflow", "operator-to-ray"),
    "vigil-tracking": ("deny-all", "dns", "mlflow"),
}
_FINALIZERS_GO = "an object with a finalizer of ray.io goes once the operator runs"
_PRESSURE_FIX = "pods will be evicted: give it room"
_MAKE_ANEW = "`pulumi up --refresh` makes it anew"
_PRESSURES = ("MemoryPressure", "DiskPressure", "PIDPressure")
_REMAINING_CONTENT = (
    "NamespaceContentRemaining",
    "NamespaceFinalizersRemaining",
    "NamespaceDeletionContentFailure",
)


def diagnose_namespaces(snapshot: ClusterSnapshot, expected: tuple[str, ...]) -> Diagnoses:
    """Yield namespaces that are missing, or that cannot go."""
    if not snapshot.has("Namespace"):
        return
    present = snapshot.by_name("Namespace")
    for name in expected:
        if name not in present:
            yield failure(f"namespace {name}", "is not there", "`pulumi up` makes it")
    for namespace in present.values():
        if namespace.phase == "Terminating":
            yield _terminating(namespace)


def _terminating(namespace: SeenObject) -> Diagnosis:
    since = namespace.duration_since(namespace.deleted_at)
    why = f"is being deleted for {since}, nothing new can be made in it: {_remains(namespace)}"
    look = f"`kubectl -n {namespace.name} get rayservices,rayclusters,pods,pvc`"
    return failure(namespace, why, f"wait, or see what is left: {look}; {_FINALIZERS_GO}")


def _remains(namespace: KubeObject) -> str:
    """Return what keeps a namespace from going."""
    conditions = map(namespace.condition, _REMAINING_CONTENT)
    messages = [quote(each.message) for each in conditions if each.is_true]
    return "; ".join(messages) or "its objects go"


def diagnose_nodes(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield nodes that take no pods, or will soon throw some out."""
    for node in snapshot.of("Node"):
        ready = node.condition("Ready")
        if not ready.is_true:
            yield _not_ready(node, quote(ready.message))
        yield from _pressures(node)


def _not_ready(node: KubeObject, message: str) -> Diagnosis:
    why = f"is not ready: {message or 'it has not reported'}"
    return failure(node, why, f"`kubectl describe node {node.name}`")


def _pressures(node: KubeObject) -> Diagnoses:
    for type_ in _PRESSURES:
        pressure = node.condition(type_)
        if pressure.is_true:
            yield risk(node, f"{type_}: {quote(pressure.message)}", _PRESSURE_FIX)


def diagnose_network_policies(snapshot: ClusterSnapshot) -> Diagnoses:
    """Yield policies of the platform that somebody has taken away."""
    if not snapshot.has("NetworkPolicy"):
        return
    present = {policy.qualified_name for policy in snapshot.of("NetworkPolicy")}
    for name in _expected_policies(snapshot):
        if name not in present:
            yield _missing_policy(name)


def _expected_policies(snapshot: ClusterSnapshot) -> Iterator[str]:
    """Yield NAMESPACE/NAME of the policies of those namespaces that are there."""
    namespaces = snapshot.by_name("Namespace").keys() & NETWORK_POLICIES.keys()
    for namespace in sorted(namespaces):
        for name in NETWORK_POLICIES[namespace]:
            yield f"{namespace}/{name}"


def _missing_policy(name: str) -> Diagnosis:
    what = f"NetworkPolicy {name}"
    if name.endswith("/deny-all"):
        return risk(what, "is not there: any pod may talk to these pods", _MAKE_ANEW)
    return failure(what, "is not there: what it allows is refused", _MAKE_ANEW)
