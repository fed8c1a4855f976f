"""A stack without a fault: every rule finds something to judge in it, and passes.

Tests break one property of it at a time.
"""

from __future__ import annotations

from tests.policies.good_aws import AWS
from tests.policies.harness import Given
from tests.policies.parts import (
    LABELS,
    MLFLOW,
    container,
    metadata,
    pod,
    ray_service,
)

KUBERNETES = [
    Given(
        "kubernetes:core/v1:Namespace",
        "namespace",
        {
            "metadata": {
                "name": "vigil",
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            }
        },
    ),
    Given(
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
        "default-deny",
        {
            "metadata": metadata("default-deny"),
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        },
    ),
    Given(
        "kubernetes:core/v1:ResourceQuota",
        "quota",
        {"metadata": metadata("quota"), "spec": {"hard": {"requests.cpu": "24"}}},
    ),
    Given(
        "kubernetes:core/v1:Service",
        "service",
        {"metadata": metadata("serve"), "spec": {"type": "ClusterIP", "ports": [{"port": 8000.0}]}},
    ),
    Given(
        "kubernetes:networking.k8s.io/v1:Ingress",
        "ingress",
        {
            "metadata": metadata(
                "serve", annotations={"alb.ingress.kubernetes.io/scheme": "internet-facing"}
            ),
            "spec": {
                "tls": [{"hosts": ["vigil.example.org"]}],
                "rules": [
                    {
                        "http": {
                            "paths": [
                                {
                                    "backend": {
                                        "service": {"name": "serve", "port": {"number": 8000.0}}
                                    }
                                }
                            ]
                        }
                    }
                ],
            },
        },
    ),
    Given(
        "kubernetes:gateway.networking.k8s.io/v1:HTTPRoute",
        "route",
        {
            "metadata": metadata("serve"),
            "spec": {"rules": [{"backendRefs": [{"name": "serve", "port": 8000.0}]}]},
        },
    ),
    Given(
        "kubernetes:core/v1:ConfigMap",
        "config",
        {"metadata": metadata("config"), "data": {"level": "info"}},
    ),
    Given(
        "kubernetes:core/v1:ConfigMap",
        "settings",
        {"metadata": metadata("settings"), "data": {"vigil.yaml": "train:\n  alertRate: 0.01\n"}},
    ),
    Given(
        "kubernetes:core/v1:Secret",
        "k8s-secret",
        {"metadata": metadata("secret"), "data": {"token": "Z2VuZXJhdGVk"}},
    ),
    Given(
        "kubernetes:core/v1:Secret",
        "room-secrets",
        {
            "metadata": metadata("room-secrets"),
            "stringData": {"VIGIL_DRIFT_NOTIFY": "alertmanager+http://alertmanager:9093"},
        },
    ),
    Given(
        "kubernetes:helm.sh/v3:Release",
        "monitoring",
        {
            "chart": "kube-prometheus-stack",
            "version": "92.1.0",
            "atomic": True,
            "values": {
                "alertmanager": {
                    "config": {
                        "route": {"receiver": "people"},
                        "receivers": [
                            {"name": "null"},
                            {"name": "people", "slack_configs": [{"api_url_file": "/f"}]},
                        ],
                    }
                }
            },
        },
    ),
    Given(
        "kubernetes:helm.sh/v3:Release",
        "release",
        {
            "chart": "kuberay-operator",
            "version": "1.7.0",
            "atomic": True,
            "values": {"image": {"tag": "v1.7.0"}, "list": ["x"]},
        },
    ),
    Given(
        "kubernetes:argoproj.io/v1alpha1:Application",
        "application",
        {
            "metadata": metadata("vigil"),
            "spec": {
                "source": {"path": "rendered/prod", "targetRevision": "main"},
                "syncPolicy": {
                    "syncOptions": ["ServerSideApply=true", "RespectIgnoreDifferences=true"]
                },
                "ignoreDifferences": [
                    {
                        "group": "ray.io",
                        "kind": "RayService",
                        "jqPathExpressions": [".spec.rayClusterConfig.workerGroupSpecs[].replicas"],
                    }
                ],
            },
        },
    ),
    Given(
        "kubernetes:apps/v1:Deployment",
        "mlflow",
        {
            "metadata": metadata("mlflow"),
            "spec": {
                "template": {
                    "metadata": {"labels": {**LABELS, "app.kubernetes.io/version": "3.17.2"}},
                    "spec": pod(
                        MLFLOW,
                        initContainers=[container("migrate", env=[{"name": "A", "value": "b"}])],
                    ),
                }
            },
        },
    ),
    Given(
        "kubernetes:batch/v1:CronJob",
        "retrain",
        {
            "metadata": metadata("retrain"),
            "spec": {"jobTemplate": {"spec": {"template": {"spec": pod(container("submit"))}}}},
        },
    ),
    Given("kubernetes:ray.io/v1:RayService", "serve", ray_service()),
    Given(
        "kubernetes:policy/v1:PodDisruptionBudget",
        "budget-of-pods",
        {
            "metadata": metadata("serve"),
            "spec": {"minAvailable": 2.0, "selector": {"matchLabels": {"ray.io/group": "serve"}}},
        },
    ),
]

GOOD = [*AWS, *KUBERNETES]
