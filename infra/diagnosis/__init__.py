"""Says what is wrong with a running platform, from what the API server tells of it. Pure."""

from __future__ import annotations

from infra.diagnosis import grounds, kuberay, pods, ray, storage, workloads
from infra.diagnosis.report import Diagnoses, Diagnosis, failure, worst_first
from infra.diagnosis.snapshot import ClusterSnapshot

NAMESPACES = ("vigil", "vigil-tracking", "vigil-operators")


def diagnose(snapshot: ClusterSnapshot, expected: tuple[str, ...] = NAMESPACES) -> list[Diagnosis]:
    """Return every diagnosis, the worst first; `expected`: namespaces that must be there."""
    if snapshot.has("Namespace") and not snapshot.of("Namespace"):
        return [_absent(expected)]
    return worst_first(list(_diagnoses(snapshot, expected)))


def _absent(namespaces: tuple[str, ...]) -> Diagnosis:
    why = f"is not in this cluster: no namespace {', '.join(namespaces)}"
    return failure("Vigil", why, "`pulumi up` brings it; or choose another --context")


def _diagnoses(snapshot: ClusterSnapshot, expected: tuple[str, ...]) -> Diagnoses:
    """Yield causes before what follows from them."""
    yield from grounds.diagnose_namespaces(snapshot, expected)
    yield from grounds.diagnose_nodes(snapshot)
    yield from kuberay.diagnose_operator(snapshot)
    yield from storage.diagnose_claims(snapshot)
    yield from workloads.diagnose_refusals(snapshot)
    yield from pods.diagnose_pods(snapshot)
    yield from workloads.diagnose_jobs(snapshot)
    yield from grounds.diagnose_network_policies(snapshot)
    yield from ray.diagnose_ray_services(snapshot)
    yield from ray.diagnose_ray_clusters(snapshot)
    yield from workloads.diagnose_services(snapshot)
    yield from workloads.diagnose_budgets(snapshot)
    yield from ray.diagnose_champion(snapshot)
