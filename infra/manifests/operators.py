"""The Helm releases that the platform stands on, each pinned to one version.

Data only: apply.py hands them to Pulumi.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import yaml

from infra.manifests.bindings import (
    ARGOCD_NAMESPACE,
    MONITORING_NAMESPACE,
    OPERATORS_NAMESPACE,
    RAY_NAMESPACE,
)
from infra.settings import PlatformSettings

KUBERAY = "kuberay-operator"
KUBERAY_VERSION = "1.7.0"
GRAFANA_SECRET = "grafana-admin"


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
    values: dict[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()


def helm_charts(settings: PlatformSettings) -> list[HelmChart]:
    """What these settings install; a release stands behind those that it needs."""
    found = [_kuberay(settings)]
    if settings.on_aws and settings.nodes == "karpenter":
        found = [*_karpenter(settings), *found]
    if settings.ingress == "alb" and settings.nodes != "auto":
        found.append(_load_balancers(settings))
    if settings.monitoring:
        found.append(_prometheus(settings))
    if settings.delivery == "argocd":
        found.append(_argocd(settings))
    return [_mirrored(chart, settings.chart_repository) for chart in found]


def _mirrored(chart: HelmChart, repository: str) -> HelmChart:
    """The same chart from the stack's own repository, where it names one."""
    if not repository:
        return chart
    if repository.startswith("oci://"):
        return replace(chart, chart=f"{repository.rstrip('/')}/{chart.name}", repository="")
    return replace(chart, chart=chart.name, repository=repository)


def mirrored_image(settings: PlatformSettings, name: str) -> str:
    """The image `name` (REGISTRY/PATH) as the stack gets it: from its mirror, if it has one."""
    _, _, path = name.partition("/")
    return f"{settings.image_registry}/{path}" if settings.image_registry else name


def _kuberay(settings: PlatformSettings) -> HelmChart:
    values: dict[str, Any] = {
        # Rights in Vigil's namespace alone, which is the one that it watches.
        "singleNamespaceInstall": True,
        "watchNamespace": [RAY_NAMESPACE],
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
        "image": {"repository": mirrored_image(settings, "quay.io/kuberay/operator")},
    }
    return HelmChart(
        name=KUBERAY,
        chart=KUBERAY,
        version=KUBERAY_VERSION,
        repository="https://ray-project.github.io/kuberay-helm/",
        namespace=OPERATORS_NAMESPACE,
        values=values,
    )


def _karpenter(settings: PlatformSettings) -> list[HelmChart]:
    version = "1.11.1"
    registry = "oci://public.ecr.aws/karpenter"
    values: dict[str, Any] = {
        "settings": {
            "clusterName": settings.name,
            "interruptionQueue": f"{settings.name}-karpenter",
        },
        "serviceAccount": {"name": "karpenter"},
        "replicas": 2,
        "nodeSelector": {"vigil/pool": "system"},  # never on nodes that it manages
        "controller": {
            "resources": {
                "requests": {"cpu": "250m", "memory": "512Mi"},
                "limits": {"memory": "512Mi"},
            }
        },
    }
    if settings.image_registry:
        values["controller"]["image"] = {
            "repository": mirrored_image(settings, "public.ecr.aws/karpenter/controller")
        }
    return [
        HelmChart(
            "karpenter-crd", f"{registry}/karpenter-crd", version, "", namespace="kube-system"
        ),
        # It carries the same CRDs as karpenter-crd: both at once would fight over them.
        HelmChart(
            name="karpenter",
            chart=f"{registry}/karpenter",
            version=version,
            repository="",
            namespace="kube-system",
            values=values,
            needs=("karpenter-crd",),
        ),
    ]


def _load_balancers(settings: PlatformSettings) -> HelmChart:
    values: dict[str, Any] = {
        "clusterName": settings.name,
        "region": settings.region,
        "enableServiceMutatorWebhook": False,
        "serviceAccount": {"name": "aws-load-balancer-controller"},
        "defaultTags": settings.tags.common(),
    }
    if settings.image_registry:
        name = "public.ecr.aws/eks/aws-load-balancer-controller"
        values["image"] = {"repository": mirrored_image(settings, name)}
    repository = "https://aws.github.io/eks-charts"
    return HelmChart(
        "aws-load-balancer-controller",
        "aws-load-balancer-controller",
        "1.14.0",
        repository,
        "kube-system",
        values,
    )


def _prometheus(settings: PlatformSettings) -> HelmChart:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "50Gi"}}}
    everything = {
        f"{kind}SelectorNilUsesHelmValues": False
        for kind in ("podMonitor", "rule", "scrapeConfig", "serviceMonitor")
    }
    values: dict[str, Any] = {
        "prometheus": {
            "prometheusSpec": {
                **everything,
                "retention": "15d",
                "retentionSize": "45GB",
                "storageSpec": {"volumeClaimTemplate": {"spec": claim}},
            }
        },
        # The password comes from a Secret that Pulumi makes; the sidecar shows every ConfigMap that
        # carries the label.
        "grafana": {
            "admin": {
                "existingSecret": GRAFANA_SECRET,
                "userKey": "username",
                "passwordKey": "password",
            },
            "sidecar": {
                "dashboards": {
                    "enabled": True,
                    "label": "grafana_dashboard",
                    "searchNamespace": MONITORING_NAMESPACE,
                }
            },
        },
        "alertmanager": {"alertmanagerSpec": {"retention": "120h"}},
    }
    if settings.on_aws:  # EKS does not let anyone look at these
        values |= {
            "kubeControllerManager": {"enabled": False},
            "kubeScheduler": {"enabled": False},
            "kubeEtcd": {"enabled": False},
        }
    if settings.image_registry:
        values["global"] = {"imageRegistry": settings.image_registry}
    repository = "https://prometheus-community.github.io/helm-charts"
    return HelmChart(
        "kube-prometheus-stack",
        "kube-prometheus-stack",
        "81.6.9",
        repository,
        MONITORING_NAMESPACE,
        values,
    )


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


def _argocd(settings: PlatformSettings) -> HelmChart:
    webhook = {"webhook": {"vigil": {"method": "POST", "body": _NOTIFICATION}}}
    values: dict[str, Any] = {
        "dex": {"enabled": False},
        "configs": {
            "cm": {
                "resource.customizations.health.ray.io_RayService": RAY_SERVICE_HEALTH,
                "resource.customizations.health.ray.io_RayJob": RAY_JOB_HEALTH,
            }
        },
        # Somebody who runs the cluster puts the key `webhook-url` into the Secret; without it
        # nobody is told, and nothing fails.
        "notifications": {
            "secret": {"create": False},
            "notifiers": {"service.webhook.vigil": "url: $webhook-url\n"},
            "templates": {"template.vigil": yaml.safe_dump(webhook)},
            "triggers": {
                "trigger.on-health-degraded": _trigger("app.status.health.status == 'Degraded'"),
                "trigger.on-sync-failed": _trigger(
                    "app.status.operationState.phase in ['Error', 'Failed']"
                ),
            },
        },
    }
    if settings.image_registry:
        values["global"] = {
            "image": {"repository": mirrored_image(settings, "quay.io/argoproj/argocd")}
        }
        name = "public.ecr.aws/docker/library/redis"
        values["redis"] = {"image": {"repository": mirrored_image(settings, name)}}
    return HelmChart(
        "argo-cd",
        "argo-cd",
        "9.4.2",
        "https://argoproj.github.io/argo-helm",
        ARGOCD_NAMESPACE,
        values,
    )


def _trigger(when: str) -> str:
    return yaml.safe_dump([{"when": when, "send": ["vigil"]}])
