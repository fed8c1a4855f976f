"""What the workloads stand on: namespaces, who may talk to whom, service accounts, storage, and what only AWS knows."""

from __future__ import annotations

from infra.manifests.bindings import ARGOCD, MONITORING, OPERATORS, RAY, TRACKING, Bindings
from infra.manifests.parts import (
    Object,
    anywhere,
    blocks,
    deny_all,
    dns,
    in_namespace,
    network_policy,
    object_,
    ports,
)
from infra.settings import PlatformSettings

# Node exporters must see their node; everything else runs restricted.
LEVELS = {
    RAY: "restricted",
    TRACKING: "restricted",
    OPERATORS: "restricted",
    MONITORING: "privileged",
    ARGOCD: "baseline",
}
# A claim of a class that waits for its first pod is bound only after `pulumi up` has gone on.
NO_WAIT = {"pulumi.com/skipAwait": "true"}
POD_IDENTITY = "169.254.170.23/32"
DATABASE_CONFIG = "database"
PLATFORM_PRIORITY, TRAINING_PRIORITY = "vigil-platform", "vigil-training"


def priorities() -> list[Object]:
    """Who gets a node that two want: what serves, watches and keeps records, before what trains. A training worker that has to
    go costs a retry of its job; a scale-up that has to wait costs requests."""
    wanted = {
        PLATFORM_PRIORITY: (100_000, "PreemptLowerPriority", "serves, watches or keeps records"),
        TRAINING_PRIORITY: (1_000, "Never", "trains: makes way for the platform"),
    }
    return [
        object_(
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


def namespaces(settings: PlatformSettings) -> list[Object]:
    """The namespaces that these settings use; the API server itself enforces their Pod Security level."""
    used = [RAY, TRACKING, OPERATORS]
    used += [MONITORING] if settings.monitoring else []
    used += [ARGOCD] if settings.delivery == "argocd" else []
    return [_namespace(name, settings.name) for name in used]


def _namespace(name: str, stack: str) -> Object:
    levels = {
        f"pod-security.kubernetes.io/{mode}": LEVELS[name] for mode in ("enforce", "audit", "warn")
    }
    labels = {"app.kubernetes.io/instance": stack, **levels}
    return object_("v1", "Namespace", name, None, labels=labels)


def service_accounts(settings: PlatformSettings) -> list[Object]:
    """One per workload; none carries a token that its pods did not ask for."""
    names = [(RAY, "vigil-serve"), (RAY, "vigil-train"), (RAY, "vigil-drift"), (TRACKING, "mlflow")]
    if settings.serve.stream_source:
        names.append((RAY, "vigil-stream"))
    return [
        object_("v1", "ServiceAccount", name, namespace, automountServiceAccountToken=False)
        for namespace, name in names
    ]


def storage(settings: PlatformSettings, bindings: Bindings) -> list[Object]:
    """The shared folder of both Ray clusters, and on AWS its class (EFS) and the default disk (gp3)."""
    found: list[Object] = []
    if settings.on_aws:
        parameters = {"type": "gp3", "encrypted": "true"}
        found.append(
            object_(
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
                object_(
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
            object_("v1", "PersistentVolumeClaim", "home", RAY, annotations=NO_WAIT, spec=spec)
        )
    return found


def database_config(bindings: Bindings) -> list[Object]:
    """Where MLflow's database is and which secret opens it; no secret itself."""
    if bindings.database_host is None:
        return []
    data = {"host": bindings.database_host, "secret": bindings.database_secret}
    return [object_("v1", "ConfigMap", DATABASE_CONFIG, TRACKING, data=data)]


def network_policies(settings: PlatformSettings) -> list[Object]:
    """Default deny in both namespaces of Vigil, and the flows that the platform is made of."""
    ray: dict[str, str] = {"app.kubernetes.io/part-of": "vigil"}
    own = {"podSelector": {}}
    aws = (
        [
            {"to": [anywhere()], "ports": ports(443)},
            {"to": blocks([POD_IDENTITY]), "ports": ports(80)},
        ]
        if settings.on_aws
        else []
    )
    api = [{"to": [anywhere()], "ports": ports(443, 6443)}]
    found = [
        deny_all(RAY),
        dns(RAY),
        deny_all(TRACKING),
        dns(TRACKING),
        network_policy("ray", RAY, {}, ingress=[{"from": [own]}], egress=[{"to": [own]}, *aws]),
        # The autoscaler in each head asks the API server for pods.
        network_policy("ray-autoscaler", RAY, {"ray.io/node-type": "head"}, egress=api),
        network_policy(
            "ray-to-mlflow",
            RAY,
            {},
            egress=[
                {
                    "to": [in_namespace(TRACKING, {"app.kubernetes.io/name": "mlflow"})],
                    "ports": ports(5000),
                }
            ],
        ),
        network_policy(
            "operator-to-ray",
            RAY,
            {},
            ingress=[{"from": [in_namespace(OPERATORS)], "ports": ports(8265, 8000, 52365)}],
        ),
        network_policy(
            "mlflow",
            TRACKING,
            {"app.kubernetes.io/name": "mlflow"},
            ingress=[{"from": [in_namespace(RAY)], "ports": ports(5000)}],
            egress=aws,
        ),
    ]
    if settings.on_aws:
        vpc = blocks([settings.vpc_cidr])
        found.append(
            network_policy(
                "mlflow-to-database", TRACKING, {}, egress=[{"to": vpc, "ports": ports(5432)}]
            )
        )
    if settings.gcs_fault_tolerance == "redis":
        found.append(
            network_policy(
                "ray-to-redis", RAY, {}, egress=[{"to": [anywhere()], "ports": ports(6379)}]
            )
        )
    if settings.monitoring:
        found.append(
            network_policy(
                "prometheus",
                RAY,
                {},
                ingress=[{"from": [in_namespace(MONITORING)], "ports": ports(8000, 8080, 9101)}],
            )
        )
    if settings.ingress != "none":
        sources = (
            blocks([settings.vpc_cidr])
            if settings.ingress == "alb"
            else [{"namespaceSelector": {}}]
        )
        # Whoever reaches the load balancer is decided there; here only it may come, and only to port 8000.
        found.append(
            network_policy(
                "ingress",
                RAY,
                ray | {"ray.io/node-type": "worker"},
                ingress=[{"from": sources, "ports": ports(8000)}],
            )
        )
    return found


def foundation(settings: PlatformSettings, bindings: Bindings) -> list[Object]:
    """All of the above; always applied by Pulumi, also where Argo CD applies the rest."""
    return [
        *priorities(),
        *namespaces(settings),
        *service_accounts(settings),
        *storage(settings, bindings),
        *database_config(bindings),
        *network_policies(settings),
    ]
