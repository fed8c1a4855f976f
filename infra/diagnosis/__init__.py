"""Says what is wrong with a running platform, from what the API server tells of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from infra.diagnosis import grounds, pods, ray, workloads
from infra.diagnosis.finding import Finding, Snapshot, worst_first

NAMESPACES = ("vigil", "vigil-tracking", "vigil-operators")


def diagnose(seen: Snapshot, expected: tuple[str, ...] = NAMESPACES) -> list[Finding]:
    """Every finding, the worst first; `expected`: namespaces that must be there."""
    if "Namespace" in seen.objects and not seen.of("Namespace"):
        why = f"is not in this cluster: no namespace {', '.join(expected)}"
        return [Finding("Vigil", why, "`pulumi up` brings it; or choose another --context")]
    return worst_first(list(_all(seen, expected)))


def _all(seen: Snapshot, expected: tuple[str, ...]) -> Iterator[Finding]:
    """Causes before what follows from them."""
    yield from grounds.namespaces(seen, expected)
    yield from grounds.nodes(seen)
    yield from ray.operator(seen)
    yield from workloads.claims(seen)
    yield from workloads.refusals(seen)
    yield from pods.pods(seen)
    yield from workloads.jobs(seen)
    yield from grounds.network_policies(seen)
    yield from ray.services(seen)
    yield from ray.clusters(seen)
    yield from workloads.services(seen)
    yield from workloads.budgets(seen)
    yield from ray.champion(seen)
