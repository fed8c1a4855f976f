"""What the workloads stand on.

Namespaces, service accounts, storage, and what only AWS knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.manifests.admission import admission_manifests
from infra.manifests.bindings import (
    ARGOCD_NAMESPACE,
    MONITORING_NAMESPACE,
    OPERATORS_NAMESPACE,
    PLATFORM_PRIORITY,
    RAY_NAMESPACE,
    TRACKING_NAMESPACE,
    TRAINING_PRIORITY,
    Bindings,
)
from infra.manifests.incidents import incident_manifests
from infra.manifests.network_policies import network_policy_manifests
from infra.manifests.parts import (
    Manifest,
    Manifests,
    config_map,
    kube_manifest,
)
from infra.manifests.signed_images import namespace_labels, signed_image_manifests
from infra.settings import PlatformSettings

# Node exporters must see their node; everything else runs restricted.
_SECURITY_LEVELS = {
    RAY_NAMESPACE: "restricted",
    TRACKING_NAMESPACE: "restricted",
    OPERATORS_NAMESPACE: "restricted",
    MONITORING_NAMESPACE: "privileged",
    ARGOCD_NAMESPACE: "baseline",
}
# A claim of a class that waits for its first pod is bound only after `pulumi up` has gone on.
_NO_WAIT = {"pulumi.com/skipAwait": "true"}
DATABASE_CONFIG = "database"
_PRIORITIES = {
    PLATFORM_PRIORITY: {
        "value": 100_000,
        "preemptionPolicy": "PreemptLowerPriority",
        "description": "serves, watches or keeps records",
    },
    TRAINING_PRIORITY: {
        "value": 1_000,
        "preemptionPolicy": "Never",
        "description": "trains: makes way for the platform",
    },
}
_ACCOUNTS = (
    (RAY_NAMESPACE, "vigil-serve"),
    (RAY_NAMESPACE, "vigil-train"),
    (RAY_NAMESPACE, "vigil-drift"),
    (TRACKING_NAMESPACE, "mlflow"),
)
_STREAM_ACCOUNT = (RAY_NAMESPACE, "vigil-stream")
_SECURITY_MODES = ("enforce", "audit", "warn")
_HOME_CLASS = "vigil-home"
# Which user owns what is written through an access point of EFS.
_ACCESS_POINTS = {
    "provisioningMode": "efs-ap",
    "directoryPerms": "770",
    "uid": "1000",
    "gid": "1000",
}


def priority_classes() -> Manifests:
    """Who gets a node that two want: what serves, watches and keeps records, before what trains.

    A training worker that has to go costs a retry of its job; a scale-up that has to wait costs
    requests.
    """
    return [_priority_class(name, fields) for name, fields in _PRIORITIES.items()]


def _priority_class(name: str, fields: Manifest) -> Manifest:
    return kube_manifest(
        "scheduling.k8s.io/v1",
        "PriorityClass",
        name,
        None,
        **fields,
    )


def namespace_manifests(settings: PlatformSettings) -> Manifests:
    """The namespaces that these settings use; the API server enforces their Pod Security level."""
    return [_namespace(name, settings) for name in _used_namespaces(settings)]


def _used_namespaces(settings: PlatformSettings) -> Iterator[str]:
    yield from (RAY_NAMESPACE, TRACKING_NAMESPACE, OPERATORS_NAMESPACE)
    if settings.monitoring:
        yield MONITORING_NAMESPACE
    if settings.delivery == "argocd":
        yield ARGOCD_NAMESPACE


def _namespace(name: str, settings: PlatformSettings) -> Manifest:
    labels = {
        "app.kubernetes.io/instance": settings.name,
        **_security_labels(_SECURITY_LEVELS[name]),
        **namespace_labels(settings, name),
    }
    return kube_manifest(
        "v1",
        "Namespace",
        name,
        None,
        labels=labels,
    )


def _security_labels(level: str) -> dict[str, str]:
    return {f"pod-security.kubernetes.io/{mode}": level for mode in _SECURITY_MODES}


def service_accounts(settings: PlatformSettings) -> Manifests:
    """One per workload; none carries a token that its pods did not ask for."""
    used = (*_ACCOUNTS, _STREAM_ACCOUNT) if settings.serve.stream_source else _ACCOUNTS
    return [_service_account(namespace, name) for namespace, name in used]


def _service_account(namespace: str, name: str) -> Manifest:
    without_token = {"automountServiceAccountToken": False}
    return kube_manifest(
        "v1",
        "ServiceAccount",
        name,
        namespace,
        **without_token,
    )


def storage_manifests(settings: PlatformSettings, bindings: Bindings) -> Manifests:
    """The shared folder of both Ray clusters; on AWS its class (EFS) and the default disk (gp3)."""
    return [*_storage_classes(settings, bindings), *_home_claims(settings)]


def _storage_classes(settings: PlatformSettings, bindings: Bindings) -> Iterator[Manifest]:
    """Classes that only AWS has."""
    if not settings.on_aws:
        return
    yield _disk_class(_disk_driver(settings))
    if bindings.file_system is not None:
        yield _home_class(bindings.file_system)


def _disk_driver(settings: PlatformSettings) -> str:
    return "ebs.csi.eks.amazonaws.com" if settings.nodes == "auto" else "ebs.csi.aws.com"


def _disk_class(driver: str) -> Manifest:
    return _storage_class(
        "gp3",
        parameters={"type": "gp3", "encrypted": "true"},
        volumeBindingMode="WaitForFirstConsumer",
        provisioner=driver,
        allowVolumeExpansion=True,
        annotations={"storageclass.kubernetes.io/is-default-class": "true"},
    )


def _home_class(file_system: Any) -> Manifest:
    return _storage_class(
        _HOME_CLASS,
        provisioner="efs.csi.aws.com",
        parameters={**_ACCESS_POINTS, "fileSystemId": file_system},
        reclaimPolicy="Retain",
        mountOptions=["tls"],
    )


def _storage_class(name: str, **fields: Any) -> Manifest:
    return kube_manifest(
        "storage.k8s.io/v1",
        "StorageClass",
        name,
        None,
        **fields,
    )


def _home_claims(settings: PlatformSettings) -> Iterator[Manifest]:
    if settings.shared_folder:
        class_name = _HOME_CLASS if settings.on_aws else settings.home_storage_class
        mode = "ReadWriteMany" if settings.on_aws else settings.home_access_mode
        size = f"{settings.home_size_gib}Gi"
        yield volume_claim(
            "home",
            RAY_NAMESPACE,
            class_name,
            mode=mode,
            size=size,
        )


def volume_claim(
    name: str,
    namespace: str,
    storage_class: str,
    *,
    mode: str,
    size: str,
) -> Manifest:
    """A claim that an update does not wait for."""
    spec = {
        "storageClassName": storage_class,
        "accessModes": [mode],
        "resources": {"requests": {"storage": size}},
    }
    kind = "PersistentVolumeClaim"
    return kube_manifest(
        "v1",
        kind,
        name,
        namespace,
        annotations=_NO_WAIT,
        spec=spec,
    )


def database_config(bindings: Bindings) -> Manifests:
    """Where MLflow's database is and which secret opens it; no secret itself."""
    if bindings.database_host is None:
        return []
    data = {"host": bindings.database_host, "secret": bindings.database_secret}
    return [config_map(DATABASE_CONFIG, TRACKING_NAMESPACE, data)]


def foundation_manifests(settings: PlatformSettings, bindings: Bindings) -> Manifests:
    """All of the above; always applied by Pulumi, also where Argo CD applies the rest."""
    return [
        *priority_classes(),
        *namespace_manifests(settings),
        *service_accounts(settings),
        *storage_manifests(settings, bindings),
        *database_config(bindings),
        *network_policy_manifests(settings),
        *admission_manifests(settings),
        *signed_image_manifests(settings),
        *incident_manifests(settings, bindings),
    ]
