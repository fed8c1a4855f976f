"""Applies the manifests: operators as Helm releases, secrets, then every object.

Or hands the workloads to Argo CD.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from infra.component import Options, Resources
from infra.manifests import all_objects
from infra.manifests.alerting import (
    ALERT_RECEIVER_FILE,
    ALERT_RECEIVER_SECRET,
    with_incident_channel,
)
from infra.manifests.bindings import (
    MONITORING_NAMESPACE,
    RAY_NAMESPACE,
    TRACKING_NAMESPACE,
    Bindings,
)
from infra.manifests.delivery import root_application
from infra.manifests.grafana import GRAFANA_SECRET
from infra.manifests.incidents import INCIDENTS_PASSWORD_SECRET
from infra.manifests.monitoring import METRICS_KEY
from infra.manifests.operators import KUBERAY, HelmChart, helm_charts
from infra.manifests.parts import Manifest, Manifests
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
from vigil.json_types import JsonObject

HELM_TIMEOUT_S = 900
_SecretContents = dict[tuple[str, str], JsonObject]  # by namespace and name
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
    secrets: JsonObject
    ready: Resources = field(default_factory=list)


class KubernetesPlatform(pulumi.ComponentResource):
    """The Kubernetes part, on EKS and on a cluster that exists. `applied` is all that it made."""

    def __init__(
        self,
        name: str,
        args: KubernetesPlatformArgs,
        opts: Options | None = None,
    ) -> None:
        super().__init__("vigil:infra:Platform", name, {}, opts)
        groups = all_objects(args.settings, args.bindings)
        foundation = self._group(groups.pop("foundation"), args.ready)
        told = with_incident_channel(args.settings, args.secrets)
        secrets = self._secrets(told, foundation)
        ready = [*args.ready, *foundation, *secrets]
        releases = self._releases(args.settings, ready)
        # A mutating webhook or a missing kind would refuse them earlier.
        before = [*releases, *secrets]
        workloads = self._workloads(_handed_over(args.settings, groups), before)
        self.applied = [*foundation, *workloads]
        self.register_outputs({"namespace": RAY_NAMESPACE, "objects": len(workloads)})

    def _workloads(self, groups: dict[str, Manifests], before: Resources) -> Resources:
        """`before`, and every object of the groups: each group behind those before it."""
        for objects in groups.values():
            before = [*before, *self._group(objects, before)]
        return before

    def _group(self, objects: Manifests, before: Resources) -> Resources:
        applied: Resources = []
        awaited = before
        for manifest in objects:
            applied.append(self._object(manifest, awaited))
            if manifest["kind"] == "Job":  # a migration: what follows needs its result
                awaited = [*before, *applied]
        return applied

    def _object(self, manifest: Manifest, before: Resources) -> pulumi.Resource:
        """One object as one resource of its own kind: previews and policies see it whole."""
        kind = manifest["kind"]
        opts = pulumi.ResourceOptions(
            parent=self,
            depends_on=before,
            version=k8s._utilities.get_version(),
            ignore_changes=_AUTOSCALED.get(kind),
        )
        token = f"kubernetes:{_api_group(manifest)}:{kind}"
        return pulumi.CustomResource(token, _resource_name(manifest), manifest, opts)

    def _releases(self, settings: PlatformSettings, before: Resources) -> Resources:
        """One Helm release a chart, each behind those that it needs."""
        releases: dict[str, pulumi.Resource] = {}
        for chart in helm_charts(settings):
            needed = [releases[name] for name in chart.needs]
            opts = pulumi.ResourceOptions(parent=self, depends_on=[*before, *needed])
            install = _chart if _is_owned(chart, settings) else _release
            releases[chart.name] = install(chart, opts)
        return list(releases.values())

    def _secrets(self, values: JsonObject, before: Resources) -> Resources:
        """The only place where secrets become objects; they are never rendered, nor exported."""
        opts = pulumi.ResourceOptions(
            parent=self,
            depends_on=before,
            additional_secret_outputs=["data", "stringData"],
        )
        contents = _secret_contents(values)
        return [_secret(where, data, opts) for where, data in contents.items()]


def _handed_over(settings: PlatformSettings, groups: dict[str, Manifests]) -> dict[str, Manifests]:
    """The groups that this program applies: with Argo CD, the one application that has them."""
    if settings.delivery == "argocd":
        return {"argocd": root_application(settings)}
    return groups


def _api_group(manifest: Manifest) -> str:
    version = manifest["apiVersion"]
    return version if "/" in version else f"core/{version}"


def _resource_name(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    namespace = metadata.get("namespace")
    if namespace in (None, RAY_NAMESPACE):
        return metadata["name"]
    return f"{namespace}/{metadata['name']}"


# --- secrets ---


def _secret_contents(values: JsonObject) -> _SecretContents:
    """What each Secret holds, by namespace and name."""
    return {
        **_logins(values),
        **_optional_keys(values),
        **_room_secrets(values),
        **_monitoring_secrets(values),
        **_alert_receiver(values),
    }


def _logins(values: JsonObject) -> _SecretContents:
    """Secrets that every platform has."""
    password = values["mlflowPassword"]
    admin = {"password": password, "secret-key": values["mlflowSecretKey"]}
    return {
        (RAY_NAMESPACE, RAY_TOKEN_SECRET): {"auth_token": values["rayToken"]},
        (RAY_NAMESPACE, MLFLOW_LOGIN_SECRET): {"username": "vigil", "password": password},
        (TRACKING_NAMESPACE, ADMIN_SECRET): admin,
    }


def _optional_keys(values: JsonObject) -> _SecretContents:
    contents: _SecretContents = {}
    if "apiKeys" in values:
        contents[RAY_NAMESPACE, API_KEYS_SECRET] = {KEY_FILE.name: values["apiKeys"]}
    if "redisPassword" in values:
        contents[RAY_NAMESPACE, REDIS_SECRET] = {"password": values["redisPassword"]}
    if "incidentsPassword" in values:
        password = values["incidentsPassword"]
        contents[RAY_NAMESPACE, INCIDENTS_PASSWORD_SECRET] = {"password": password}
    return contents


def _room_secrets(values: JsonObject) -> _SecretContents:
    """Secret settings of the rooms, by the variable that a pod reads."""
    data = dict(_room_variables(values))
    return {(RAY_NAMESPACE, ROOM_SECRETS_SECRET): data} if data else {}


def _room_variables(values: JsonObject) -> Iterator[tuple[str, Any]]:
    for key, (room, name) in ROOM_SECRETS.items():
        if key in values:
            yield room.variable(name), values[key]


def _monitoring_secrets(values: JsonObject) -> _SecretContents:
    if "grafanaPassword" not in values:
        return {}
    login = {"username": "admin", "password": values["grafanaPassword"]}
    return {
        (MONITORING_NAMESPACE, GRAFANA_SECRET): login,
        (MONITORING_NAMESPACE, METRICS_KEY): {"key": values["metricsKey"]},
    }


def _alert_receiver(values: JsonObject) -> _SecretContents:
    if "alertReceiverSecret" not in values:
        return {}
    data = {ALERT_RECEIVER_FILE: values["alertReceiverSecret"]}
    return {(MONITORING_NAMESPACE, ALERT_RECEIVER_SECRET): data}


def _secret(
    where: tuple[str, str], data: JsonObject, opts: pulumi.ResourceOptions
) -> pulumi.Resource:
    namespace, name = where
    return k8s.core.v1.Secret(
        f"{namespace}/{name}",
        metadata={"name": name, "namespace": namespace},
        string_data=data,
        type="Opaque",
        opts=opts,
    )


# --- charts ---


def _is_owned(chart: HelmChart, settings: PlatformSettings) -> bool:
    """Whether the stack takes the definitions of the chart's kinds away with itself."""
    return settings.delete_crds and chart.name == KUBERAY


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
    return k8s.helm.v4.Chart(chart.name, **_arguments(chart), opts=opts)


def _arguments(chart: HelmChart) -> JsonObject:
    """Arguments of a release and of a chart alike."""
    repository = {"repo": chart.repository} if chart.repository else None
    return {
        "name": chart.name,
        "chart": chart.chart,
        "version": chart.version,
        "namespace": chart.namespace,
        "values": chart.values,
        "repository_opts": repository,
    }
