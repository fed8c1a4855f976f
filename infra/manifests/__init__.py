"""Kubernetes objects as plain dicts: pure functions of the settings, without Pulumi.

apply.py applies them, render.py writes them.
"""

from __future__ import annotations

from infra.manifests import base, delivery, monitoring, pools, ray, tracking
from infra.manifests.bindings import Bindings
from infra.manifests.parts import Manifests
from infra.settings import PlatformSettings


def all_objects(settings: PlatformSettings, bindings: Bindings) -> dict[str, Manifests]:
    """Every object by the folder that it is rendered into, in the order in which it is applied."""
    folders = _folders(settings, bindings)
    if not argocd(settings):
        return folders
    return {folder: delivery.with_sync_wave(folder, each) for folder, each in folders.items()}


def _folders(settings: PlatformSettings, bindings: Bindings) -> dict[str, Manifests]:
    return {
        "foundation": base.foundation_manifests(settings, bindings),
        "nodes": pools.node_pool_manifests(settings),
        "tracking": tracking.tracking_manifests(settings),
        "ray": ray.ray_manifests(settings, bindings),
        "delivery": delivery.ingress_manifests(settings),
        "monitoring": monitoring.monitoring_manifests(settings),
    }


def argocd(settings: PlatformSettings) -> bool:
    """Whether Argo CD owns the workloads, and Pulumi only what they stand on; never both."""
    return settings.delivery == "argocd"
