"""Kubernetes objects as plain dicts: pure functions of the settings, without Pulumi. apply.py applies, render.py writes them."""

from __future__ import annotations

from infra.manifests import base, delivery, monitoring, pools, ray, tracking
from infra.manifests.bindings import Bindings
from infra.manifests.parts import Object
from infra.settings import PlatformSettings


def all_objects(settings: PlatformSettings, bindings: Bindings) -> dict[str, list[Object]]:
    """Every object by the folder that it is rendered into, in the order in which it is applied."""
    found = {
        "foundation": base.foundation(settings, bindings),
        "nodes": pools.objects(settings),
        "tracking": tracking.objects(settings),
        "ray": ray.objects(settings, bindings),
        "delivery": delivery.ingress(settings),
        "monitoring": monitoring.objects(settings),
    }
    return (
        {folder: delivery.in_wave(folder, objects) for folder, objects in found.items()}
        if argocd(settings)
        else found
    )


def argocd(settings: PlatformSettings) -> bool:
    """Whether Argo CD owns the workloads, and Pulumi only what they stand on; never both."""
    return settings.delivery == "argocd"
