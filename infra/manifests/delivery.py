"""The ways in and on: how port 8000 is reached from outside, and what Argo CD follows."""

from __future__ import annotations

from typing import Any

from infra.manifests.bindings import ARGOCD_NAMESPACE, RAY_NAMESPACE
from infra.manifests.parts import Manifest, Manifests, kube_manifest
from infra.manifests.ray_config import RAY_SERVICE, SERVE_PORT
from infra.manifests.signed_images import api_of_image_admission
from infra.settings import PlatformSettings
from vigil.json_types import JsonObject

SERVE_SERVICE = f"{RAY_SERVICE}-serve-svc"  # KubeRay keeps it on the cluster that serves
_GATEWAY_API = "gateway.networking.k8s.io/v1"
# Less than the 90 s for which Serve keeps a connection: the balancer closes first.
BALANCER_IDLE_S = 60
# CRDs and operators are Helm releases of Pulumi's: they are there before Argo CD's first sync.
SYNC_WAVES = {
    "foundation": -3,
    "nodes": -2,
    "tracking": -1,
    "ray": 0,
    "delivery": 1,
    "monitoring": 1,
}
_SUBSCRIPTIONS = {
    "notifications.argoproj.io/subscribe.on-health-degraded.vigil": "",
    "notifications.argoproj.io/subscribe.on-sync-failed.vigil": "",
}
_DELIVERED_NAMESPACES = ("vigil", "vigil-tracking", "vigil-monitoring")
_CLUSTER_KINDS = [
    {"group": "karpenter.sh", "kind": "NodePool"},
    {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass"},
    {"group": "eks.amazonaws.com", "kind": "NodeClass"},
]
# The autoscaler writes these; a sync must not take workers away.
_AUTOSCALED_COUNTS = [
    {
        "group": "ray.io",
        "kind": "RayService",
        "jqPathExpressions": [".spec.rayClusterConfig.workerGroupSpecs[]?.replicas"],
    },
    {
        "group": "ray.io",
        "kind": "RayCluster",
        "jqPathExpressions": [".spec.workerGroupSpecs[]?.replicas"],
    },
]
_SYNC_POLICY = {
    "automated": {"prune": True, "selfHeal": True},
    "syncOptions": ["ServerSideApply=true", "RespectIgnoreDifferences=true"],
}
_ALB = "alb.ingress.kubernetes.io"
_BALANCER_OPTIONS = {
    "scheme": "internal",
    "target-type": "ip",
    "listen-ports": '[{"HTTPS": 443}]',
    "ssl-policy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
    "healthcheck-path": "/-/healthz",
    "load-balancer-attributes": (
        f"idle_timeout.timeout_seconds={BALANCER_IDLE_S},"
        "routing.http.drop_invalid_header_fields.enabled=true"
    ),
    "target-group-attributes": "deregistration_delay.timeout_seconds=30",
}
_SERVE_PATH = {
    "path": "/",
    "pathType": "Prefix",
    "backend": {"service": {"name": SERVE_SERVICE, "port": {"number": SERVE_PORT}}},
}
_LISTENER = {
    "name": "http",
    "protocol": "HTTP",
    "port": 80,
    "allowedRoutes": {"namespaces": {"from": "Same"}},
}
_GATEWAY_ROUTE = {
    "parentRefs": [{"name": RAY_SERVICE}],
    "rules": [{"backendRefs": [{"name": SERVE_SERVICE, "port": SERVE_PORT}]}],
}


def with_sync_wave(folder: str, objects: Manifests) -> Manifests:
    """The objects with the wave of their folder: a wave waits until the one before is healthy."""
    wave = {"argocd.argoproj.io/sync-wave": str(SYNC_WAVES[folder])}
    return [_with_annotations(manifest, wave) for manifest in objects]


def _with_annotations(manifest: Manifest, more: dict[str, str]) -> Manifest:
    metadata = manifest["metadata"]
    annotations = {**metadata.get("annotations", {}), **more}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


def needed_apis(settings: PlatformSettings) -> dict[str, str]:
    """GROUP/VERSION of what others have installed in a cluster, with the setting that needs it."""
    apis = dict(api_of_image_admission(settings))
    return {**apis, _GATEWAY_API: "ingress"} if settings.ingress == "gateway" else apis


def ingress_manifests(settings: PlatformSettings) -> Manifests:
    """Port 8000 and nothing else; the Ray dashboard is for `kubectl port-forward`."""
    if settings.ingress == "alb":
        return _alb(settings)
    if settings.ingress == "gateway" and settings.upgrade_strategy == "NewCluster":
        return _gateway(settings)
    return []  # KubeRay makes a Gateway of its own, if any


def _alb(settings: PlatformSettings) -> Manifests:
    ingress = _networking(
        "Ingress",
        RAY_SERVICE,
        RAY_NAMESPACE,
        **_balancer(settings),
    )
    if settings.nodes != "auto":
        return [ingress]
    controller = {"controller": "eks.amazonaws.com/alb"}
    return [
        ingress,
        _networking(
            "IngressClass",
            "alb",
            None,
            spec=controller,
        ),
    ]


def _networking(
    kind: str,
    name: str,
    namespace: str | None,
    **fields: Any,
) -> Manifest:
    return kube_manifest(
        "networking.k8s.io/v1",
        kind,
        name,
        namespace,
        **fields,
    )


def _balancer(settings: PlatformSettings) -> JsonObject:
    """What one name leads to, and how the balancer treats it."""
    rule = {"host": settings.hostname, "http": {"paths": [_SERVE_PATH]}}
    annotations = {f"{_ALB}/{key}": value for key, value in _balancer_options(settings).items()}
    return {"spec": {"ingressClassName": "alb", "rules": [rule]}, "annotations": annotations}


def _balancer_options(settings: PlatformSettings) -> dict[str, str]:
    return {
        **_BALANCER_OPTIONS,
        "certificate-arn": settings.certificate_arn,
        "inbound-cidrs": ",".join(settings.ingress_cidrs),
        "tags": _balancer_tags(settings),
    }


def _balancer_tags(settings: PlatformSettings) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(settings.tags.common().items()))


def _gateway(settings: PlatformSettings) -> Manifests:
    gateway = {
        "gatewayClassName": settings.gateway_class,
        "listeners": [{**_LISTENER, "hostname": settings.hostname}],
    }
    route = {**_GATEWAY_ROUTE, "hostnames": [settings.hostname]}
    return [_gateway_object("Gateway", gateway), _gateway_object("HTTPRoute", route)]


def _gateway_object(kind: str, spec: Manifest) -> Manifest:
    return kube_manifest(
        _GATEWAY_API,
        kind,
        RAY_SERVICE,
        RAY_NAMESPACE,
        spec=spec,
    )


# --- Argo CD ---


def root_application(settings: PlatformSettings) -> Manifests:
    """What Pulumi gives Argo CD: one project and one application.

    The application is over the folder that `vigil render` writes.
    """
    if settings.delivery != "argocd":
        return []
    application = _argocd_object("Application", _application_spec(settings))
    return [
        _argocd_object("AppProject", _project_spec(settings)),
        _with_annotations(application, _SUBSCRIPTIONS),
    ]


def _argocd_object(kind: str, spec: Manifest) -> Manifest:
    return kube_manifest(
        "argoproj.io/v1alpha1",
        kind,
        "vigil",
        ARGOCD_NAMESPACE,
        spec=spec,
    )


def _project_spec(settings: PlatformSettings) -> Manifest:
    return {
        "sourceRepos": [settings.git_url],
        "destinations": [_destination(namespace) for namespace in _DELIVERED_NAMESPACES],
        "clusterResourceWhitelist": _CLUSTER_KINDS,
    }


def _destination(namespace: str) -> Manifest:
    return {"server": "https://kubernetes.default.svc", "namespace": namespace}


def _application_spec(settings: PlatformSettings) -> Manifest:
    return {
        "project": "vigil",
        "destination": _destination(RAY_NAMESPACE),
        "ignoreDifferences": _AUTOSCALED_COUNTS,
        "source": _application_source(settings),
        "syncPolicy": _SYNC_POLICY,
    }


def _application_source(settings: PlatformSettings) -> Manifest:
    return {
        "repoURL": settings.git_url,
        "targetRevision": settings.git_revision,
        "path": f"deploy/{settings.environment}",
        "directory": {"recurse": True, "exclude": "{foundation/*,settings.json}"},
    }
