"""Applies the manifests: operators as Helm releases, secrets, then every object.

Or hands the workloads to Argo CD.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.manifests import all_objects
from infra.manifests.bindings import (
    MONITORING_NAMESPACE,
    RAY_NAMESPACE,
    TRACKING_NAMESPACE,
    Bindings,
)
from infra.manifests.delivery import root_application
from infra.manifests.monitoring import METRICS_KEY
from infra.manifests.operators import KUBERAY, HelmChart, helm_charts
from infra.manifests.parts import Manifest
from infra.manifests.ray_config import (
    API_KEYS_SECRET,
    KEY_FILE,
    MLFLOW_LOGIN_SECRET,
    RAY_TOKEN_SECRET,
    REDIS_SECRET,
    ROOM_SECRETS_SECRET,
)
from infra.manifests.tracking import ADMIN_SECRET
from infra.settings import PlatformSettings
from infra.stack_keys import ROOM_SECRETS

HELM_TIMEOUT_S = 900
# What the autoscaler writes is not the stack's: a refresh would find it changed, and an `up` take
# workers from a training.
_AUTOSCALED = {
    kind: [f"{path}.workerGroupSpecs[*].{field}" for field in ("replicas", "scaleStrategy")]
    for kind, path in (("RayService", "spec.rayClusterConfig"), ("RayCluster", "spec"))
}


@dataclass(frozen=True)
class KubernetesPlatformArgs:
    """`secrets`: the values of `needed_secrets`; `ready`: what must stand before any pod runs."""

    settings: PlatformSettings
    bindings: Bindings
    secrets: dict[str, Any]
    ready: list[pulumi.Resource] = field(default_factory=list)


class KubernetesPlatform(pulumi.ComponentResource):
    """The Kubernetes part, on EKS and on a cluster that exists. `applied` is all that it made."""

    def __init__(
        self, name: str, args: KubernetesPlatformArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("vigil:infra:Platform", name, {}, opts)
        settings = args.settings
        groups = all_objects(settings, args.bindings)
        foundation = [self._object(one, args.ready) for one in groups.pop("foundation")]
        secrets = self._secrets(args, foundation)
        releases = self._releases(settings, [*args.ready, *foundation, *secrets])
        if settings.delivery == "argocd":
            groups = {"argocd": root_application(settings)}
        # A mutating webhook or a missing kind would refuse them earlier.
        before = [*releases, *secrets]
        for objects in groups.values():
            made: list[pulumi.Resource] = []
            for one in objects:
                made.append(self._object(one, before))
                if one["kind"] == "Job":  # a migration: what follows needs its result
                    before = [*before, *made]
            before = [*before, *(one for one in made if one not in before)]
        self.applied = [*foundation, *before]
        self.register_outputs({"namespace": RAY_NAMESPACE, "objects": len(before)})

    def _object(self, manifest: Manifest, before: list[pulumi.Resource]) -> pulumi.Resource:
        """One object as one resource of its own kind: previews and policies see it whole."""
        api = manifest["apiVersion"]
        kind = manifest["kind"]
        metadata = manifest["metadata"]
        group = api if "/" in api else f"core/{api}"
        opts = pulumi.ResourceOptions(
            parent=self,
            depends_on=before,
            version=k8s._utilities.get_version(),
            ignore_changes=_AUTOSCALED.get(kind),
        )
        namespace = metadata.get("namespace")
        name = (
            metadata["name"]
            if namespace in (None, RAY_NAMESPACE)
            else f"{namespace}/{metadata['name']}"
        )
        return pulumi.CustomResource(f"kubernetes:{group}:{kind}", name, manifest, opts)

    def _releases(
        self, settings: PlatformSettings, before: list[pulumi.Resource]
    ) -> list[pulumi.Resource]:
        """One Helm release a chart, each behind those that it needs."""
        made: dict[str, pulumi.Resource] = {}
        for chart in helm_charts(settings):
            needed = [made[name] for name in chart.needs]
            opts = pulumi.ResourceOptions(parent=self, depends_on=[*before, *needed])
            owned = settings.delete_crds and chart.name == KUBERAY
            made[chart.name] = (_chart if owned else _release)(chart, opts)
        return list(made.values())

    def _secrets(
        self, args: KubernetesPlatformArgs, before: list[pulumi.Resource]
    ) -> list[pulumi.Resource]:
        """The only place where secrets become objects; they are never rendered, nor exported."""
        values = args.secrets
        wanted: dict[tuple[str, str], dict[str, Any]] = {
            (RAY_NAMESPACE, RAY_TOKEN_SECRET): {"auth_token": values["rayToken"]},
            (RAY_NAMESPACE, MLFLOW_LOGIN_SECRET): {
                "username": "vigil",
                "password": values["mlflowPassword"],
            },
            (TRACKING_NAMESPACE, ADMIN_SECRET): {
                "password": values["mlflowPassword"],
                "secret-key": values["mlflowSecretKey"],
            },
        }
        if "apiKeys" in values:
            wanted[RAY_NAMESPACE, API_KEYS_SECRET] = {KEY_FILE.name: values["apiKeys"]}
        if "redisPassword" in values:
            wanted[RAY_NAMESPACE, REDIS_SECRET] = {"password": values["redisPassword"]}
        if held := {
            cls.variable(name): values[key]
            for key, (cls, name) in ROOM_SECRETS.items()
            if key in values
        }:
            wanted[RAY_NAMESPACE, ROOM_SECRETS_SECRET] = held
        if "grafanaPassword" in values:
            wanted[MONITORING_NAMESPACE, "grafana-admin"] = {
                "username": "admin",
                "password": values["grafanaPassword"],
            }
            wanted[MONITORING_NAMESPACE, METRICS_KEY] = {"key": values["metricsKey"]}
        return [
            k8s.core.v1.Secret(
                f"{namespace}/{name}",
                metadata={"name": name, "namespace": namespace},
                string_data=data,
                type="Opaque",
                opts=pulumi.ResourceOptions(
                    parent=self, depends_on=before, additional_secret_outputs=["data", "stringData"]
                ),
            )
            for (namespace, name), data in wanted.items()
        ]


def _release(chart: HelmChart, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    """A Helm release: undone as a whole where it fails.

    Helm leaves the definitions of its kinds behind for ever.
    """
    return k8s.helm.v3.Release(
        chart.name,
        **_arguments(chart),
        atomic=True,
        timeout=HELM_TIMEOUT_S,
        max_history=5,
        opts=opts,
    )


def _chart(chart: HelmChart, opts: pulumi.ResourceOptions) -> pulumi.Resource:
    """Every object of a chart as one of the stack's.

    The definitions of its kinds too: they go with the stack.
    """
    return k8s.helm.v4.Chart(
        chart.name,
        **_arguments(chart),
        opts=opts,
    )


def _arguments(chart: HelmChart) -> dict[str, Any]:
    """What a release and a chart are told alike."""
    return {
        "name": chart.name,
        "chart": chart.chart,
        "version": chart.version,
        "namespace": chart.namespace,
        "values": chart.values,
        "repository_opts": {"repo": chart.repository} if chart.repository else None,
    }
