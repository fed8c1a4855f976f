"""Says what is wrong with a running platform, from what the API server tells of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infra.diagnosis import grounds, pods, ray, workloads
from infra.diagnosis.finding import ClusterSnapshot, Diagnosis, worst_first

NAMESPACES = ("vigil", "vigil-tracking", "vigil-operators")


def diagnose(seen: ClusterSnapshot, expected: tuple[str, ...] = NAMESPACES) -> list[Diagnosis]:
    """Every finding, the worst first; `expected`: namespaces that must be there."""
    if "Namespace" in seen.objects and not seen.of("Namespace"):
        why = f"is not in this cluster: no namespace {', '.join(expected)}"
        return [Diagnosis("Vigil", why, "`pulumi up` brings it; or choose another --context")]
    return worst_first(list(_all(seen, expected)))


def _all(seen: ClusterSnapshot, expected: tuple[str, ...]) -> Iterator[Diagnosis]:
    """Causes before what follows from them."""
    yield from grounds.diagnose_namespaces(seen, expected)
    yield from grounds.diagnose_nodes(seen)
    yield from ray.diagnose_operator(seen)
    yield from workloads.diagnose_claims(seen)
    yield from workloads.diagnose_refusals(seen)
    yield from pods.diagnose_pods(seen)
    yield from workloads.diagnose_jobs(seen)
    yield from grounds.diagnose_network_policies(seen)
    yield from ray.diagnose_ray_services(seen)
    yield from ray.diagnose_ray_clusters(seen)
    yield from workloads.diagnose_services(seen)
    yield from workloads.diagnose_budgets(seen)
    yield from ray.diagnose_champion(seen)
