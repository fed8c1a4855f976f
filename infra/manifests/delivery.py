"""The ways in and on: how port 8000 is reached from outside, and what Argo CD follows."""

from __future__ import annotations

from infra.manifests.bindings import ARGOCD_NAMESPACE, RAY_NAMESPACE
from infra.manifests.parts import Manifest, kube_manifest
from infra.manifests.ray_config import RAY_SERVICE, SERVE_PORT
from infra.settings import PlatformSettings

SERVE_SERVICE = f"{RAY_SERVICE}-serve-svc"  # KubeRay keeps it on the cluster that serves
BALANCER_IDLE_S = (
    60  # less than the 90 s for which Serve keeps a connection: the balancer closes first
)


# CRDs and operators are Helm releases of Pulumi's: they are there before Argo CD's first sync.
SYNC_WAVES = {
    "foundation": -3,
    "nodes": -2,
    "tracking": -1,
    "ray": 0,
    "delivery": 1,
    "monitoring": 1,
}
_DEGRADED_TRIGGER = "on-health-degraded"
_FAILED_TRIGGER = "on-sync-failed"


def with_sync_wave(folder: str, objects: list[Manifest]) -> list[Manifest]:
    """The objects with the wave of their folder: a wave waits until the one before is healthy."""
    wave = {"argocd.argoproj.io/sync-wave": str(SYNC_WAVES[folder])}
    return [
        {
            **one,
            "metadata": {
                **one["metadata"],
                "annotations": {**one["metadata"].get("annotations", {}), **wave},
            },
        }
        for one in objects
    ]


def ingress_manifests(settings: PlatformSettings) -> list[Manifest]:
    """Port 8000 and nothing else; the Ray dashboard is for `kubectl port-forward`."""
    if settings.ingress == "alb":
        return _alb(settings)
    if settings.ingress == "gateway":
        return _gateway(settings)
    return []


def _alb(settings: PlatformSettings) -> list[Manifest]:
    prefix = "alb.ingress.kubernetes.io"
    annotations = {
        f"{prefix}/scheme": "internal",
        f"{prefix}/target-type": "ip",
        f"{prefix}/listen-ports": '[{"HTTPS": 443}]',
        f"{prefix}/certificate-arn": settings.certificate_arn,
        f"{prefix}/ssl-policy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
        f"{prefix}/inbound-cidrs": ",".join(settings.ingress_cidrs),
        f"{prefix}/healthcheck-path": "/-/healthz",
        f"{prefix}/load-balancer-attributes": ",".join(
            (
                f"idle_timeout.timeout_seconds={BALANCER_IDLE_S}",
                "routing.http.drop_invalid_header_fields.enabled=true",
            )
        ),
        f"{prefix}/target-group-attributes": "deregistration_delay.timeout_seconds=30",
        f"{prefix}/tags": ",".join(
            f"{key}={value}" for key, value in sorted(settings.tags.common().items())
        ),
    }
    path = {
        "path": "/",
        "pathType": "Prefix",
        "backend": {"service": {"name": SERVE_SERVICE, "port": {"number": SERVE_PORT}}},
    }
    spec = {
        "ingressClassName": "alb",
        "rules": [{"host": settings.hostname, "http": {"paths": [path]}}],
    }
    found = [
        kube_manifest(
            "networking.k8s.io/v1",
            "Ingress",
            RAY_SERVICE,
            RAY_NAMESPACE,
            spec=spec,
            annotations=annotations,
        )
    ]
    if settings.nodes == "auto":
        found.append(
            kube_manifest(
                "networking.k8s.io/v1",
                "IngressClass",
                "alb",
                None,
                spec={"controller": "eks.amazonaws.com/alb"},
            )
        )
    return found


def _gateway(settings: PlatformSettings) -> list[Manifest]:
    api = "gateway.networking.k8s.io/v1"
    listener = {
        "name": "http",
        "protocol": "HTTP",
        "port": 80,
        "hostname": settings.hostname,
        "allowedRoutes": {"namespaces": {"from": "Same"}},
    }
    route = {
        "parentRefs": [{"name": RAY_SERVICE}],
        "hostnames": [settings.hostname],
        "rules": [{"backendRefs": [{"name": SERVE_SERVICE, "port": SERVE_PORT}]}],
    }
    return [
        kube_manifest(
            api,
            "Gateway",
            RAY_SERVICE,
            RAY_NAMESPACE,
            spec={"gatewayClassName": settings.gateway_class, "listeners": [listener]},
        ),
        kube_manifest(api, "HTTPRoute", RAY_SERVICE, RAY_NAMESPACE, spec=route),
    ]


def root_application(settings: PlatformSettings) -> list[Manifest]:
    """What Pulumi gives Argo CD: one project and one application.

    The application is over the folder that `vigil render` writes.
    """
    if settings.delivery != "argocd":
        return []
    api = "argoproj.io/v1alpha1"
    here = "https://kubernetes.default.svc"
    allowed = [
        {"server": here, "namespace": namespace}
        for namespace in ("vigil", "vigil-tracking", "vigil-monitoring")
    ]
    cluster_kinds = [
        {"group": group, "kind": kind}
        for group, kind in (
            ("karpenter.sh", "NodePool"),
            ("karpenter.k8s.aws", "EC2NodeClass"),
            ("eks.amazonaws.com", "NodeClass"),
        )
    ]
    project = {
        "sourceRepos": [settings.git_url],
        "destinations": allowed,
        "clusterResourceWhitelist": cluster_kinds,
    }
    # The autoscaler writes these; a sync must not take workers away.
    ignored = [
        {
            "group": "ray.io",
            "kind": kind,
            "jqPathExpressions": [f"{path}.workerGroupSpecs[]?.replicas"],
        }
        for kind, path in (("RayService", ".spec.rayClusterConfig"), ("RayCluster", ".spec"))
    ]
    application = {
        "project": "vigil",
        "destination": {"server": here, "namespace": RAY_NAMESPACE},
        "ignoreDifferences": ignored,
        "source": {
            "repoURL": settings.git_url,
            "targetRevision": settings.git_revision,
            "path": f"deploy/{settings.environment}",
            "directory": {"recurse": True, "exclude": "{foundation/*,settings.json}"},
        },
        "syncPolicy": {
            "automated": {"prune": True, "selfHeal": True},
            "syncOptions": ["ServerSideApply=true", "RespectIgnoreDifferences=true"],
        },
    }
    return [
        kube_manifest(api, "AppProject", "vigil", ARGOCD_NAMESPACE, spec=project),
        kube_manifest(
            api,
            "Application",
            "vigil",
            ARGOCD_NAMESPACE,
            spec=application,
            annotations={
                f"notifications.argoproj.io/subscribe.{trigger}.vigil": ""
                for trigger in (_DEGRADED_TRIGGER, _FAILED_TRIGGER)
            },
        ),
    ]
