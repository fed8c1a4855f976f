"""Who may talk to whom: nobody, but for the flows that the platform is made of."""

from __future__ import annotations

from collections.abc import Iterator

from infra.manifests.bindings import (
    MONITORING_NAMESPACE,
    OPERATORS_NAMESPACE,
    RAY_NAMESPACE,
    TRACKING_NAMESPACE,
)
from infra.manifests.parts import (
    Manifest,
    Manifests,
    allow_dns,
    any_address,
    deny_all,
    in_namespace,
    ip_blocks,
    network_policy,
    traffic_from,
    traffic_to,
)
from infra.settings import PlatformSettings

POD_IDENTITY = "169.254.170.23/32"
_OWN_PODS: Manifest = {"podSelector": {}}
_HEADS = {"ray.io/node-type": "head"}
_WORKERS = {"app.kubernetes.io/part-of": "vigil", "ray.io/node-type": "worker"}
_MLFLOW = {"app.kubernetes.io/name": "mlflow"}


def network_policy_manifests(settings: PlatformSettings) -> Manifests:
    """Default deny in both namespaces of Vigil, and the flows that are allowed."""
    return [*_closed_namespaces(), *_own_flows(settings), *_chosen_flows(settings)]


def _closed_namespaces() -> Iterator[Manifest]:
    for namespace in (RAY_NAMESPACE, TRACKING_NAMESPACE):
        yield deny_all(namespace)
        yield allow_dns(namespace)


def _own_flows(settings: PlatformSettings) -> Iterator[Manifest]:
    """Flows of every platform."""
    aws = _to_aws() if settings.on_aws else []
    yield _among_ray_pods(aws)
    yield _autoscaler_to_api()
    yield _ray_to_mlflow()
    yield _operator_to_ray()
    yield _mlflow_from_ray(aws)


def _chosen_flows(settings: PlatformSettings) -> Iterator[Manifest]:
    """Flows of what these settings add."""
    if settings.on_aws:
        yield _mlflow_to_database(settings)
    if settings.gcs_fault_tolerance == "redis":
        yield _ray_to_redis()
    if settings.monitoring:
        yield _prometheus_to_ray()
    if settings.ingress != "none":
        yield _from_outside(settings)


def _to_aws() -> Manifests:
    """Services of AWS, and the agent that hands a pod its role."""
    agent = ip_blocks([POD_IDENTITY])
    return [traffic_to([any_address()], 443), traffic_to(agent, 80)]


def _among_ray_pods(aws: Manifests) -> Manifest:
    return network_policy(
        "ray",
        RAY_NAMESPACE,
        {},
        ingress=[{"from": [_OWN_PODS]}],
        egress=[{"to": [_OWN_PODS]}, *aws],
    )


def _autoscaler_to_api() -> Manifest:
    """The autoscaler in each head asks the API server for pods."""
    api = traffic_to([any_address()], 443, 6443)
    return network_policy(
        "ray-autoscaler",
        RAY_NAMESPACE,
        _HEADS,
        egress=[api],
    )


def _ray_to_mlflow() -> Manifest:
    mlflow = traffic_to([in_namespace(TRACKING_NAMESPACE, _MLFLOW)], 5000)
    return network_policy(
        "ray-to-mlflow",
        RAY_NAMESPACE,
        {},
        egress=[mlflow],
    )


def _operator_to_ray() -> Manifest:
    operator = traffic_from([in_namespace(OPERATORS_NAMESPACE)], 8265, 8000, 52365)
    return network_policy(
        "operator-to-ray",
        RAY_NAMESPACE,
        {},
        ingress=[operator],
    )


def _mlflow_from_ray(aws: Manifests) -> Manifest:
    ray = traffic_from([in_namespace(RAY_NAMESPACE)], 5000)
    return network_policy(
        "mlflow",
        TRACKING_NAMESPACE,
        _MLFLOW,
        ingress=[ray],
        egress=aws,
    )


def _mlflow_to_database(settings: PlatformSettings) -> Manifest:
    database = traffic_to(ip_blocks([settings.vpc_cidr]), 5432)
    return network_policy(
        "mlflow-to-database",
        TRACKING_NAMESPACE,
        {},
        egress=[database],
    )


def _ray_to_redis() -> Manifest:
    redis = traffic_to([any_address()], 6379)
    return network_policy(
        "ray-to-redis",
        RAY_NAMESPACE,
        {},
        egress=[redis],
    )


def _prometheus_to_ray() -> Manifest:
    """Prometheus asks for metrics, Grafana for incidents: both live in the same namespace."""
    prometheus = traffic_from([in_namespace(MONITORING_NAMESPACE)], 8000, 8080, 9101)
    return network_policy(
        "prometheus",
        RAY_NAMESPACE,
        {},
        ingress=[prometheus],
    )


def _from_outside(settings: PlatformSettings) -> Manifest:
    """Who reaches the load balancer is decided there.

    Here only it may come, and only to port 8000, and to that of gRPC where there is one.
    """
    ports = [8000, settings.serve.grpc_port] if settings.serve.grpc_port else [8000]
    balancer = traffic_from(_balancers(settings), *ports)
    return network_policy(
        "ingress",
        RAY_NAMESPACE,
        _WORKERS,
        ingress=[balancer],
    )


def _balancers(settings: PlatformSettings) -> Manifests:
    if settings.ingress == "alb":
        return ip_blocks([settings.vpc_cidr])
    return [{"namespaceSelector": {}}]
