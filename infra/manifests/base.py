"""What the workloads stand on.

Namespaces, who may talk to whom, service accounts, storage, and what only AWS knows.
"""

from __future__ import annotations

from infra.manifests.bindings import (
    ARGOCD_NAMESPACE,
    MONITORING_NAMESPACE,
    OPERATORS_NAMESPACE,
    RAY_NAMESPACE,
    TRACKING_NAMESPACE,
    Bindings,
)
from infra.manifests.parts import (
    Manifest,
    allow_dns,
    any_address,
    deny_all,
    in_namespace,
    ip_blocks,
    kube_manifest,
    network_policy,
    policy_ports,
)
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
NO_WAIT = {"pulumi.com/skipAwait": "true"}
POD_IDENTITY = "169.254.170.23/32"
DATABASE_CONFIG = "database"
PLATFORM_PRIORITY = "vigil-platform"
TRAINING_PRIORITY = "vigil-training"


def priority_classes() -> list[Manifest]:
    """Who gets a node that two want: what serves, watches and keeps records, before what trains.

    A training worker that has to go costs a retry of its job; a scale-up that has to wait costs
    requests.
    """
    wanted = {
        PLATFORM_PRIORITY: (100_000, "PreemptLowerPriority", "serves, watches or keeps records"),
        TRAINING_PRIORITY: (1_000, "Never", "trains: makes way for the platform"),
    }
    return [
        kube_manifest(
            "scheduling.k8s.io/v1",
            "PriorityClass",
            name,
            None,
            value=value,
            preemptionPolicy=policy,
            description=description,
        )
        for name, (value, policy, description) in wanted.items()
    ]


def namespace_manifests(settings: PlatformSettings) -> list[Manifest]:
    """The namespaces that these settings use; the API server enforces their Pod Security level."""
    used = [RAY_NAMESPACE, TRACKING_NAMESPACE, OPERATORS_NAMESPACE]
    used += [MONITORING_NAMESPACE] if settings.monitoring else []
    used += [ARGOCD_NAMESPACE] if settings.delivery == "argocd" else []
    return [_namespace(name, settings.name) for name in used]


def _namespace(name: str, stack: str) -> Manifest:
    levels = {
        f"pod-security.kubernetes.io/{mode}": _SECURITY_LEVELS[name]
        for mode in ("enforce", "audit", "warn")
    }
    labels = {"app.kubernetes.io/instance": stack, **levels}
    return kube_manifest("v1", "Namespace", name, None, labels=labels)


def service_accounts(settings: PlatformSettings) -> list[Manifest]:
    """One per workload; none carries a token that its pods did not ask for."""
    names = [
        (RAY_NAMESPACE, "vigil-serve"),
        (RAY_NAMESPACE, "vigil-train"),
        (RAY_NAMESPACE, "vigil-drift"),
        (TRACKING_NAMESPACE, "mlflow"),
    ]
    if settings.serve.stream_source:
        names.append((RAY_NAMESPACE, "vigil-stream"))
    return [
        kube_manifest("v1", "ServiceAccount", name, namespace, automountServiceAccountToken=False)
        for namespace, name in names
    ]


def storage_manifests(settings: PlatformSettings, bindings: Bindings) -> list[Manifest]:
    """The shared folder of both Ray clusters; on AWS its class (EFS) and the default disk (gp3)."""
    found: list[Manifest] = []
    if settings.on_aws:
        parameters = {"type": "gp3", "encrypted": "true"}
        found.append(
            kube_manifest(
                "storage.k8s.io/v1",
                "StorageClass",
                "gp3",
                None,
                parameters=parameters,
                volumeBindingMode="WaitForFirstConsumer",
                provisioner="ebs.csi.eks.amazonaws.com"
                if settings.nodes == "auto"
                else "ebs.csi.aws.com",
                allowVolumeExpansion=True,
                annotations={"storageclass.kubernetes.io/is-default-class": "true"},
            )
        )
        if bindings.file_system is not None:
            points = {
                "provisioningMode": "efs-ap",
                "fileSystemId": bindings.file_system,
                "directoryPerms": "770",
                "uid": "1000",
                "gid": "1000",
            }
            found.append(
                kube_manifest(
                    "storage.k8s.io/v1",
                    "StorageClass",
                    "vigil-home",
                    None,
                    provisioner="efs.csi.aws.com",
                    parameters=points,
                    reclaimPolicy="Retain",
                    mountOptions=["tls"],
                )
            )
    if settings.shared_folder:
        spec = {
            "storageClassName": "vigil-home" if settings.on_aws else settings.home_storage_class,
            "accessModes": ["ReadWriteMany" if settings.on_aws else settings.home_access_mode],
            "resources": {"requests": {"storage": f"{settings.home_size_gib}Gi"}},
        }
        found.append(
            kube_manifest(
                "v1", "PersistentVolumeClaim", "home", RAY_NAMESPACE, annotations=NO_WAIT, spec=spec
            )
        )
    return found


def database_config(bindings: Bindings) -> list[Manifest]:
    """Where MLflow's database is and which secret opens it; no secret itself."""
    if bindings.database_host is None:
        return []
    data = {"host": bindings.database_host, "secret": bindings.database_secret}
    return [kube_manifest("v1", "ConfigMap", DATABASE_CONFIG, TRACKING_NAMESPACE, data=data)]


def network_policy_manifests(settings: PlatformSettings) -> list[Manifest]:
    """Default deny in both namespaces of Vigil, and the flows that the platform is made of."""
    ray: dict[str, str] = {"app.kubernetes.io/part-of": "vigil"}
    own = {"podSelector": {}}
    aws = (
        [
            {"to": [any_address()], "ports": policy_ports(443)},
            {"to": ip_blocks([POD_IDENTITY]), "ports": policy_ports(80)},
        ]
        if settings.on_aws
        else []
    )
    api = [{"to": [any_address()], "ports": policy_ports(443, 6443)}]
    found = [
        deny_all(RAY_NAMESPACE),
        allow_dns(RAY_NAMESPACE),
        deny_all(TRACKING_NAMESPACE),
        allow_dns(TRACKING_NAMESPACE),
        network_policy(
            "ray", RAY_NAMESPACE, {}, ingress=[{"from": [own]}], egress=[{"to": [own]}, *aws]
        ),
        # The autoscaler in each head asks the API server for pods.
        network_policy("ray-autoscaler", RAY_NAMESPACE, {"ray.io/node-type": "head"}, egress=api),
        network_policy(
            "ray-to-mlflow",
            RAY_NAMESPACE,
            {},
            egress=[
                {
                    "to": [in_namespace(TRACKING_NAMESPACE, {"app.kubernetes.io/name": "mlflow"})],
                    "ports": policy_ports(5000),
                }
            ],
        ),
        network_policy(
            "operator-to-ray",
            RAY_NAMESPACE,
            {},
            ingress=[
                {
                    "from": [in_namespace(OPERATORS_NAMESPACE)],
                    "ports": policy_ports(8265, 8000, 52365),
                }
            ],
        ),
        network_policy(
            "mlflow",
            TRACKING_NAMESPACE,
            {"app.kubernetes.io/name": "mlflow"},
            ingress=[{"from": [in_namespace(RAY_NAMESPACE)], "ports": policy_ports(5000)}],
            egress=aws,
        ),
    ]
    if settings.on_aws:
        vpc = ip_blocks([settings.vpc_cidr])
        found.append(
            network_policy(
                "mlflow-to-database",
                TRACKING_NAMESPACE,
                {},
                egress=[{"to": vpc, "ports": policy_ports(5432)}],
            )
        )
    if settings.gcs_fault_tolerance == "redis":
        found.append(
            network_policy(
                "ray-to-redis",
                RAY_NAMESPACE,
                {},
                egress=[{"to": [any_address()], "ports": policy_ports(6379)}],
            )
        )
    if settings.monitoring:
        found.append(
            network_policy(
                "prometheus",
                RAY_NAMESPACE,
                {},
                ingress=[
                    {
                        "from": [in_namespace(MONITORING_NAMESPACE)],
                        "ports": policy_ports(8000, 8080, 9101),
                    }
                ],
            )
        )
    if settings.ingress != "none":
        sources = (
            ip_blocks([settings.vpc_cidr])
            if settings.ingress == "alb"
            else [{"namespaceSelector": {}}]
        )
        # Who reaches the load balancer is decided there; here only it may come, only to port 8000.
        found.append(
            network_policy(
                "ingress",
                RAY_NAMESPACE,
                ray | {"ray.io/node-type": "worker"},
                ingress=[{"from": sources, "ports": policy_ports(8000)}],
            )
        )
    return found


def foundation_manifests(settings: PlatformSettings, bindings: Bindings) -> list[Manifest]:
    """All of the above; always applied by Pulumi, also where Argo CD applies the rest."""
    return [
        *priority_classes(),
        *namespace_manifests(settings),
        *service_accounts(settings),
        *storage_manifests(settings, bindings),
        *database_config(bindings),
        *network_policy_manifests(settings),
    ]
