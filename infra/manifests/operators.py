"""The Helm releases that the platform stands on, each pinned to one version.

Data only: apply.py hands them to Pulumi.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import yaml

from infra.manifests.alerting import alertmanager_values
from infra.manifests.bindings import (
    ARGOCD_NAMESPACE,
    MONITORING_NAMESPACE,
    OPERATORS_NAMESPACE,
    PLATFORM_PRIORITY,
    RAY_NAMESPACE,
)
from infra.manifests.grafana import grafana_values
from infra.settings import PlatformSettings
from vigil.json_types import JsonObject

KUBERAY = "kuberay-operator"
KUBERAY_VERSION = "1.7.0"


@dataclass(frozen=True)
class HelmChart:
    """One Helm release. `repository` is empty for OCI charts, whose `chart` is a URL.

    `needs` names the releases that must stand before this one.
    """

    name: str
    chart: str
    version: str
    repository: str
    namespace: str
    values: JsonObject = field(default_factory=dict)
    needs: tuple[str, ...] = ()


_KARPENTER_VERSION = "1.14.1"
_KARPENTER_REGISTRY = "oci://public.ecr.aws/karpenter"
KARPENTER_KINDS = HelmChart(
    name="karpenter-crd",
    chart=f"{_KARPENTER_REGISTRY}/karpenter-crd",
    version=_KARPENTER_VERSION,
    repository="",
    namespace="kube-system",
)
_KARPENTER_RESOURCES = {
    "requests": {"cpu": "250m", "memory": "512Mi"},
    "limits": {"memory": "512Mi"},
}
_KARPENTER_VALUES: JsonObject = {
    "serviceAccount": {"name": "karpenter"},
    "replicas": 2,
    "nodeSelector": {"vigil/pool": "system"},  # never on nodes that it manages
}
_BALANCER_CONTROLLER = "aws-load-balancer-controller"
_KUBERAY_VALUES: JsonObject = {
    # Rights in Vigil's namespace alone, which is the one that it watches.
    "singleNamespaceInstall": True,
    "watchNamespace": [RAY_NAMESPACE],
    # Else the pods of a second cluster may take its place on a full node, and nobody ends the
    # change that made them.
    "priorityClassName": PLATFORM_PRIORITY,
    # A key that is missing here would be the chart's own: a limit of 100m.
    "resources": {
        "requests": {"cpu": "100m", "memory": "512Mi"},
        "limits": {"cpu": "1", "memory": "512Mi"},
    },
    "podSecurityContext": {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "securityContext": {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
_DISK_CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "50Gi"}}}
_PROMETHEUS_VALUES: JsonObject = {
    "prometheus": {
        "prometheusSpec": {
            "podMonitorSelectorNilUsesHelmValues": False,
            "ruleSelectorNilUsesHelmValues": False,
            "scrapeConfigSelectorNilUsesHelmValues": False,
            "serviceMonitorSelectorNilUsesHelmValues": False,
            "retention": "15d",
            "retentionSize": "45GB",
            "priorityClassName": PLATFORM_PRIORITY,
            "storageSpec": {"volumeClaimTemplate": {"spec": _DISK_CLAIM}},
        }
    },
}
# EKS does not let anyone look at these.
_NOT_OF_EKS = {
    "kubeControllerManager": {"enabled": False},
    "kubeScheduler": {"enabled": False},
    "kubeEtcd": {"enabled": False},
}


def helm_charts(settings: PlatformSettings) -> list[HelmChart]:
    """What these settings install; a release stands behind those that it needs."""
    return [_mirrored(chart, settings.chart_repository) for chart in _charts(settings)]


def _charts(settings: PlatformSettings) -> Iterator[HelmChart]:
    if settings.on_aws and settings.nodes == "karpenter":
        yield KARPENTER_KINDS
        yield _karpenter(settings)
    yield _kuberay(settings)
    if settings.ingress == "alb" and settings.nodes != "auto":
        yield _load_balancers(settings)
    if settings.monitoring:
        yield _prometheus(settings)
    if settings.delivery == "argocd":
        yield _argocd(settings)


def _mirrored(chart: HelmChart, repository: str) -> HelmChart:
    """The same chart from the stack's own repository, where it names one."""
    if not repository:
        return chart
    if repository.startswith("oci://"):
        url = f"{repository.rstrip('/')}/{chart.name}"
        return replace(chart, chart=url, repository="")
    return replace(chart, chart=chart.name, repository=repository)


def mirrored_image(settings: PlatformSettings, name: str) -> str:
    """The image `name` (REGISTRY/PATH) as the stack gets it: from its mirror, if it has one."""
    registry = settings.image_registry
    return f"{registry}/{_path_of(name)}" if registry else name


def _path_of(image: str) -> str:
    return image.partition("/")[2]


def _image(settings: PlatformSettings, name: str) -> JsonObject:
    """Values of a chart that name its image."""
    return {"repository": mirrored_image(settings, name)}


def _kuberay(settings: PlatformSettings) -> HelmChart:
    return HelmChart(
        name=KUBERAY,
        chart=KUBERAY,
        version=KUBERAY_VERSION,
        repository="https://ray-project.github.io/kuberay-helm/",
        namespace=OPERATORS_NAMESPACE,
        values=_kuberay_values(settings),
    )


def _kuberay_values(settings: PlatformSettings) -> JsonObject:
    image = _image(settings, "quay.io/kuberay/operator")
    return {**_KUBERAY_VALUES, "image": image}


def _karpenter(settings: PlatformSettings) -> HelmChart:
    return HelmChart(
        name="karpenter",
        chart=f"{_KARPENTER_REGISTRY}/karpenter",
        version=_KARPENTER_VERSION,
        repository="",
        namespace="kube-system",
        values=_karpenter_values(settings),
        # It carries the same kinds: both at once would fight over them.
        needs=(KARPENTER_KINDS.name,),
    )


def _karpenter_values(settings: PlatformSettings) -> JsonObject:
    queue = f"{settings.name}-karpenter"
    return {
        **_KARPENTER_VALUES,
        "settings": {"clusterName": settings.name, "interruptionQueue": queue},
        "controller": _karpenter_controller(settings),
    }


def _karpenter_controller(settings: PlatformSettings) -> JsonObject:
    return {"resources": _KARPENTER_RESOURCES, **_karpenter_image(settings)}


def _karpenter_image(settings: PlatformSettings) -> JsonObject:
    """Nothing without a mirror: the chart pins its image by digest."""
    if not settings.image_registry:
        return {}
    return {"image": _image(settings, "public.ecr.aws/karpenter/controller")}


def _load_balancers(settings: PlatformSettings) -> HelmChart:
    return HelmChart(
        name=_BALANCER_CONTROLLER,
        chart=_BALANCER_CONTROLLER,
        version="3.5.0",
        repository="https://aws.github.io/eks-charts",
        namespace="kube-system",
        values=_balancer_values(settings),
    )


def _balancer_values(settings: PlatformSettings) -> JsonObject:
    values = {
        "clusterName": settings.name,
        "region": settings.region,
        "enableServiceMutatorWebhook": False,
        # It has no rights to these, and would ask for a subscription to Shield again and again.
        "enableShield": False,
        "enableWaf": False,
        "enableWafv2": False,
        "serviceAccount": {"name": _BALANCER_CONTROLLER},
        "defaultTags": settings.tags.common(),
    }
    if settings.image_registry:
        values["image"] = _image(settings, f"public.ecr.aws/eks/{_BALANCER_CONTROLLER}")
    return values


def _prometheus(settings: PlatformSettings) -> HelmChart:
    return HelmChart(
        name="kube-prometheus-stack",
        chart="kube-prometheus-stack",
        version="92.1.0",
        repository="https://prometheus-community.github.io/helm-charts",
        namespace=MONITORING_NAMESPACE,
        values=_prometheus_values(settings),
    )


def _prometheus_values(settings: PlatformSettings) -> JsonObject:
    hidden = _NOT_OF_EKS if settings.on_aws else {}
    alertmanager = {"alertmanager": alertmanager_values(settings)}
    return {
        **_PROMETHEUS_VALUES,
        "grafana": grafana_values(),
        **alertmanager,
        **hidden,
        **_registry(settings),
    }


def _registry(settings: PlatformSettings) -> JsonObject:
    if not settings.image_registry:
        return {}
    return {"global": {"imageRegistry": settings.image_registry}}


RAY_SERVICE_HEALTH = """hs = { status = "Progressing", message = "waiting for Ray" }
if obj.status ~= nil and obj.status.conditions ~= nil then
  for _, condition in ipairs(obj.status.conditions) do
    if condition.type == "Ready" and condition.status == "True" then
      hs = { status = "Healthy", message = condition.message }
    end
  end
end
return hs
"""
RAY_JOB_HEALTH = """hs = { status = "Progressing", message = "the job has not ended" }
if obj.status ~= nil then
  local said = obj.status.message or ""
  if obj.status.jobStatus == "SUCCEEDED" then
    hs = { status = "Healthy", message = said }
  elseif obj.status.jobStatus == "FAILED" or obj.status.jobStatus == "STOPPED" or \
obj.status.jobDeploymentStatus == "Failed" then
    hs = { status = "Degraded", message = said }
  elseif obj.spec ~= nil and obj.spec.suspend then
    hs = { status = "Suspended", message = "suspended" }
  end
end
return hs
"""
_NOTIFICATION = """{"application": "{{.app.metadata.name}}", \
"health": "{{.app.status.health.status}}",
"sync": "{{.app.status.sync.status}}", \
"message": {{toJson (default "" .app.status.operationState.message)}}}"""


def _trigger(when: str) -> str:
    return yaml.safe_dump([{"when": when, "send": ["vigil"]}])


# Somebody who runs the cluster puts the key `webhook-url` into the Secret; without it nobody is
# told, and nothing fails.
_NOTIFICATIONS = {
    "secret": {"create": False},
    "notifiers": {"service.webhook.vigil": "url: $webhook-url\n"},
    "templates": {
        "template.vigil": yaml.safe_dump(
            {"webhook": {"vigil": {"method": "POST", "body": _NOTIFICATION}}}
        )
    },
    "triggers": {
        "trigger.on-health-degraded": _trigger("app.status.health.status == 'Degraded'"),
        "trigger.on-sync-failed": _trigger(
            "app.status.operationState.phase in ['Error', 'Failed']"
        ),
    },
}
_ARGOCD_GLOBAL: JsonObject = {"priorityClassName": PLATFORM_PRIORITY}
_ARGOCD_VALUES: JsonObject = {
    "global": _ARGOCD_GLOBAL,
    "dex": {"enabled": False},
    "configs": {
        "cm": {
            "resource.customizations.health.ray.io_RayService": RAY_SERVICE_HEALTH,
            "resource.customizations.health.ray.io_RayJob": RAY_JOB_HEALTH,
        }
    },
    "notifications": _NOTIFICATIONS,
}


def _argocd(settings: PlatformSettings) -> HelmChart:
    return HelmChart(
        name="argo-cd",
        chart="argo-cd",
        version="10.9.5",
        repository="https://argoproj.github.io/argo-helm",
        namespace=ARGOCD_NAMESPACE,
        values={**_ARGOCD_VALUES, **_argocd_images(settings)},
    )


def _argocd_images(settings: PlatformSettings) -> JsonObject:
    if not settings.image_registry:
        return {}
    return {
        "global": {**_ARGOCD_GLOBAL, "image": _image(settings, "quay.io/argoproj/argocd")},
        "redis": {"image": _image(settings, "public.ecr.aws/docker/library/redis")},
    }
