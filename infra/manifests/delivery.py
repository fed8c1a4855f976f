"""The ways in and on: how port 8000 is reached from outside, and what Argo CD follows."""

from __future__ import annotations

from infra.manifests.bindings import ARGOCD, RAY
from infra.manifests.parts import Object, object_
from infra.manifests.ray_config import PORT, SERVICE
from infra.settings import PlatformSettings

BACKEND = f"{SERVICE}-serve-svc"  # KubeRay keeps it on the cluster that serves
IDLE_S = 60  # less than the 90 s for which Serve keeps a connection: the balancer closes first


# CRDs and operators are Helm releases of Pulumi's: they are there before Argo CD's first sync.
WAVES = {"foundation": -3, "nodes": -2, "tracking": -1, "ray": 0, "delivery": 1, "monitoring": 1}
DEGRADED, FAILED = "on-health-degraded", "on-sync-failed"


def in_wave(folder: str, objects: list[Object]) -> list[Object]:
    """The objects with the wave of their folder: a wave is synced when the one before is healthy."""
    wave = {"argocd.argoproj.io/sync-wave": str(WAVES[folder])}
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


def ingress(settings: PlatformSettings) -> list[Object]:
    """Port 8000 and nothing else; the Ray dashboard is for `kubectl port-forward`."""
    if settings.ingress == "alb":
        return _alb(settings)
    if settings.ingress == "gateway":
        return _gateway(settings)
    return []


def _alb(settings: PlatformSettings) -> list[Object]:
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
                f"idle_timeout.timeout_seconds={IDLE_S}",
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
        "backend": {"service": {"name": BACKEND, "port": {"number": PORT}}},
    }
    spec = {
        "ingressClassName": "alb",
        "rules": [{"host": settings.hostname, "http": {"paths": [path]}}],
    }
    found = [
        object_("networking.k8s.io/v1", "Ingress", SERVICE, RAY, spec=spec, annotations=annotations)
    ]
    if settings.nodes == "auto":
        found.append(
            object_(
                "networking.k8s.io/v1",
                "IngressClass",
                "alb",
                None,
                spec={"controller": "eks.amazonaws.com/alb"},
            )
        )
    return found


def _gateway(settings: PlatformSettings) -> list[Object]:
    api = "gateway.networking.k8s.io/v1"
    listener = {
        "name": "http",
        "protocol": "HTTP",
        "port": 80,
        "hostname": settings.hostname,
        "allowedRoutes": {"namespaces": {"from": "Same"}},
    }
    route = {
        "parentRefs": [{"name": SERVICE}],
        "hostnames": [settings.hostname],
        "rules": [{"backendRefs": [{"name": BACKEND, "port": PORT}]}],
    }
    return [
        object_(
            api,
            "Gateway",
            SERVICE,
            RAY,
            spec={"gatewayClassName": settings.gateway_class, "listeners": [listener]},
        ),
        object_(api, "HTTPRoute", SERVICE, RAY, spec=route),
    ]


def root_application(settings: PlatformSettings) -> list[Object]:
    """What Pulumi gives Argo CD: one project and one application over the folder that `vigil render` writes."""
    if settings.delivery != "argocd":
        return []
    api, here = "argoproj.io/v1alpha1", "https://kubernetes.default.svc"
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
        "destination": {"server": here, "namespace": RAY},
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
        object_(api, "AppProject", "vigil", ARGOCD, spec=project),
        object_(
            api,
            "Application",
            "vigil",
            ARGOCD,
            spec=application,
            annotations={
                f"notifications.argoproj.io/subscribe.{trigger}.vigil": ""
                for trigger in (DEGRADED, FAILED)
            },
        ),
    ]
