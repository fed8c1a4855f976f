"""`pulumi destroy` leaves nothing behind."""

from __future__ import annotations

from infra.manifests.bindings import OPERATORS_NAMESPACE, RAY_NAMESPACE, TRACKING_NAMESPACE
from tests.cluster.kube import eventually
from tests.cluster.platform import Platform


def test_destroy_leaves_nothing(platform: Platform) -> None:
    platform.stop_client()
    with platform.timed("destroy"):
        platform.stack.destroy()
    assert not platform.stack.state()["deployment"].get("resources")
    for namespace in (RAY_NAMESPACE, TRACKING_NAMESPACE, OPERATORS_NAMESPACE):
        eventually(
            f"namespace {namespace} is gone",
            lambda name=namespace: not platform.cluster.exists("namespace", name),
            120,
        )
    for name in ("vigil-platform", "vigil-training"):
        assert not platform.cluster.exists("priorityclass", name)
    kinds = platform.cluster.kubectl("get", "crd", "-o", "name")
    assert "ray.io" not in kinds  # vigil:deleteCrds
