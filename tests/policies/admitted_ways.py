"""For every rule that an API server judges too: how objects keep it and how they break it."""

from __future__ import annotations

from typing import Any

from tests.policies.admitted import (
    BOXES,
    CLUSTERS,
    HEADS,
    PODS,
    RAY_BOXES,
    REFERENCE,
    SERVERS,
    SERVING,
    WORKERS,
    Change,
    Ways,
    env,
    whole,
)
from tests.policies.harness import REMOVED
from tests.policies.parts import DIGEST, IMAGE, LABELS

_SECURITY = "securityContext"
_PORT = [{"name": "serve", "containerPort": 8000}]
_SCHEME = "service.beta.kubernetes.io/aws-load-balancer-scheme"
_INTERNAL = "service.beta.kubernetes.io/aws-load-balancer-internal"
_CERTIFICATE = "alb.ingress.kubernetes.io/certificate-arn"
_LEVEL = "pod-security.kubernetes.io/enforce"
_KEY = "AKIA" + "A1B2" * 4


def _set(path: str, *values: Any) -> list[Change]:
    """A change of one property, to each value."""
    return [{path: value} for value in values]


def _server(*words: str, **more: Any) -> Change:
    """MLflow's container with other words behind its command."""
    return {"args": ["server", *words], **more}


_GOOD_SERVER = (
    "--app-name",
    "basic-auth",
    "--artifacts-destination=s3://b/p",
    "--allowed-hosts",
    "mlflow",
)

WAYS: dict[str, Ways] = {
    "karpenter-imds-v2-only": Ways(
        whole("EC2NodeClass"),
        [
            {},
            {"spec.metadataOptions": REMOVED},
            {"spec.metadataOptions": {"httpTokens": "required"}},
            {"spec.metadataOptions": {"httpPutResponseHopLimit": 1}},
        ],
        [
            {"spec.metadataOptions.httpTokens": "optional"},
            {"spec.metadataOptions.httpPutResponseHopLimit": 2},
        ],
    ),
    "node-pool-limited": Ways(
        whole("NodePool"),
        [{}, {"spec.limits.cpu": 8}, {"spec.limits.memory": "1Ti"}],
        [{"spec.limits.cpu": REMOVED}, {"spec.limits.memory": REMOVED}, {"spec.limits": REMOVED}],
    ),
    "node-pool-bounded": Ways(
        whole("NodePool"),
        [{}, {"spec.limits.cpu": 512}, {"spec.limits.cpu": "500000m"}],
        [{"spec.limits.cpu": 513}, {"spec.limits.cpu": "600000m"}, {"spec.limits.cpu": "1k"}],
    ),
    "service-not-public": Ways(
        whole("Service"),
        [
            {},
            {"spec.type": "NodePort"},
            {"spec.type": "LoadBalancer", f"metadata.annotations.`{_SCHEME}`": "internal"},
            {"spec.type": "LoadBalancer", f"metadata.annotations.`{_INTERNAL}`": "true"},
        ],
        [
            {"spec.type": "LoadBalancer"},
            {"spec.type": "LoadBalancer", f"metadata.annotations.`{_SCHEME}`": "internet-facing"},
            {"spec.type": "LoadBalancer", f"metadata.annotations.`{_INTERNAL}`": "false"},
        ],
    ),
    "ingress-tls": Ways(
        whole("Ingress"),
        [
            {},
            {"spec.tls.0.secretName": "it"},
            {"spec.tls": REMOVED, f"metadata.annotations.`{_CERTIFICATE}`": "arn:x"},
        ],
        [{"spec.tls": REMOVED}, {"spec.tls": []}],
    ),
    "image-pinned": Ways(
        BOXES,
        _set(
            "image",
            f"quay.io/a/b:latest@{DIGEST}",
            "quay.io:443/mlflow:3.17.2",
            "quay.io/mlflow:v3.17.2-py312",
            "quay.io/mlflow:sha-0a1b2c3",
        ),
        _set(
            "image",
            "quay.io/mlflow",
            "quay.io/mlflow:latest",
            "quay.io:443/mlflow",
            "quay.io/mlflow:3.17",
            "quay.io/mlflow:sha-xyz",
        ),
    ),
    "image-from-allowed-registry": Ways(
        BOXES,
        _set("image", "quay.io/mlflow:3.17.2", "public.ecr.aws/docker/library/python:3.12.1"),
        _set(
            "image",
            "python:3.12.1",
            "acme/x:1.0.0",
            "quay.io.evil.org/x:1.0.0",
            "host:5000/x:1.0.0",
        ),
    ),
    "pod-not-privileged": Ways(
        BOXES,
        _set(f"{_SECURITY}.privileged", False, REMOVED),
        [{f"{_SECURITY}.privileged": True, f"{_SECURITY}.allowPrivilegeEscalation": True}],
    ),
    "pod-no-host-namespaces": Ways(
        PODS,
        [{}, {"hostNetwork": False}, {"hostPID": False}],
        [
            {"hostPID": True},
            {"hostIPC": True, "hostPID": True},
            # The API server would give ports of the node to those of the container.
            {"hostNetwork": True, "containers.0.ports": [], "initContainers.0.ports": []},
        ],
    ),
    "pod-no-host-paths": Ways(
        PODS,
        [{}, {"volumes.0": {"name": "c", "configMap": {"name": "x"}}}],
        [{"volumes.0": {"name": "h", "hostPath": {"path": "/"}}}],
    ),
    "pod-no-host-ports": Ways(
        BOXES,
        [{}, {"ports": REMOVED}, {"ports": [{"containerPort": 9000}]}],
        [
            {"ports": [{"containerPort": 80, "hostPort": 80}]},
            {"ports": [{"containerPort": 1}, {"containerPort": 443, "hostPort": 443}]},
        ],
    ),
    "pod-no-privilege-escalation": Ways(
        BOXES,
        [{}],
        _set(f"{_SECURITY}.allowPrivilegeEscalation", True, REMOVED),
    ),
    "pod-capabilities-dropped": Ways(
        BOXES,
        [{}, {f"{_SECURITY}.capabilities.add": ["NET_BIND_SERVICE"]}],
        [
            {f"{_SECURITY}.capabilities": REMOVED},
            {f"{_SECURITY}.capabilities.drop": ["NET_RAW"]},
            {f"{_SECURITY}.capabilities.add": ["NET_BIND_SERVICE", "SYS_ADMIN"]},
        ],
    ),
    "pod-non-root": Ways(
        BOXES,
        [
            {},
            {f"{_SECURITY}.runAsUser": 5},
            {f"{_SECURITY}.runAsNonRoot": True},
        ],
        [
            {f"{_SECURITY}.runAsNonRoot": False},
            {f"{_SECURITY}.runAsUser": 0},
        ],
    ),
    "pod-seccomp": Ways(
        PODS,
        [
            {},
            {"securityContext.seccompProfile": {"type": "Localhost", "localhostProfile": "x"}},
            {
                "securityContext.seccompProfile": REMOVED,
                "containers.0.securityContext.seccompProfile": {"type": "RuntimeDefault"},
                "initContainers": REMOVED,
            },
        ],
        [
            {"securityContext.seccompProfile": REMOVED},
            {"securityContext.seccompProfile": {"type": "Unconfined"}},
            {"containers.0.securityContext.seccompProfile": {"type": "Unconfined"}},
        ],
    ),
    "pod-resources": Ways(
        BOXES,
        [{}, {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}],
        [
            {"resources.limits": REMOVED},
            {"resources.requests.cpu": REMOVED},
            {"resources": REMOVED},
        ],
    ),
    "namespace-restricted": Ways(
        whole("Namespace"),
        [{}, {"metadata.labels.team": "ml"}, {"metadata.annotations": {"note": "x"}}],
        [
            {f"metadata.labels.`{_LEVEL}`": "baseline"},
            {f"metadata.labels.`{_LEVEL}`": "privileged"},
            {f"metadata.labels.`{_LEVEL}`": REMOVED},
        ],
    ),
    "pod-read-only": Ways(
        BOXES,
        [{}],
        _set(f"{_SECURITY}.readOnlyRootFilesystem", False, REMOVED),
    ),
    "pod-scratch-bounded": Ways(
        PODS,
        [{}, {"volumes.0.emptyDir.medium": "Memory"}, {"volumes": REMOVED}],
        _set("volumes.0.emptyDir", {}, {"medium": "Memory"}),
    ),
    "pod-no-idle-token": Ways(
        PODS,
        [
            {},
            {"automountServiceAccountToken": True, "serviceAccountName": "own"},
            {"automountServiceAccountToken": REMOVED, "serviceAccountName": "own"},
        ],
        [
            {"automountServiceAccountToken": True},
            {"automountServiceAccountToken": REMOVED},
            {"automountServiceAccountToken": True, "serviceAccountName": "default"},
        ],
    ),
    "no-static-keys-in-env": Ways(
        BOXES,
        [{}, {"env": env(("LEVEL", "info"), ("KEY", "AKIA"))}, {"env": env(("A", REFERENCE))}],
        [
            {"env": env(("AWS_ACCESS_KEY_ID", "x"))},
            {"env": env(("AWS_SECRET_ACCESS_KEY", REFERENCE))},
            {"env": env(("LEVEL", "info"), ("MINE", f"id={_KEY};"))},
        ],
    ),
    "ray-head-inside": Ways(
        HEADS,
        [{}, {"serviceType": "ClusterIP"}, {"enableIngress": False}],
        [{"serviceType": "LoadBalancer"}, {"serviceType": "NodePort"}, {"enableIngress": True}],
    ),
    "ray-version-supported": Ways(
        CLUSTERS,
        _set("rayVersion", "2.55.0", "2.60.1", "3.0", "2.100.0"),
        _set("rayVersion", "2.54.9", "2.9.0", "1.13.0", "nightly", REMOVED),
    ),
    "ray-asks-for-a-token": Ways(
        CLUSTERS,
        [{}],
        [{"authOptions.mode": "disabled"}, {"authOptions": REMOVED}],
    ),
    "ray-one-image": Ways(
        RAY_BOXES,
        [{}, {"image": IMAGE}],
        _set("image", "quay.io/other:1.0.0", f"quay.io/vigil@{DIGEST}"),
    ),
    "ray-head-not-evicted": Ways(
        HEADS,
        [
            {},
            {"template.metadata.annotations": {"karpenter.sh/do-not-disrupt": "True"}},
            {
                "template.metadata.annotations": {
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"
                }
            },
        ],
        [
            {"template.metadata.annotations": REMOVED},
            {"template.metadata.annotations": {"karpenter.sh/do-not-disrupt": "false"}},
            {
                "template.metadata.annotations": {
                    "cluster-autoscaler.kubernetes.io/safe-to-evict": "true"
                }
            },
        ],
    ),
    "ray-drains-in-peace": Ways(
        SERVING,
        [
            {},
            {"template.spec.terminationGracePeriodSeconds": 130},
            {
                "template.spec.terminationGracePeriodSeconds": 211,
                "template.spec.containers.0.env.2": {
                    "name": "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S",
                    "value": "200.5",
                },
            },
        ],
        [
            {"template.spec.terminationGracePeriodSeconds": 129},
            {"template.spec.terminationGracePeriodSeconds": REMOVED},
            {
                "template.spec.terminationGracePeriodSeconds": 210,
                "template.spec.containers.0.env.4": {
                    "name": "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S",
                    "value": "200.5",
                },
            },
            {
                "template.spec.containers.0.env.4": {
                    "name": "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S",
                    "value": "1000",
                },
            },
        ],
    ),
    "ray-haproxy-agrees": Ways(
        SERVING,
        [{}, {"template.spec.containers.0.env.3.value": "http://other:5000"}],
        [
            {"template.spec.containers.0.env.0.value": "0"},
            {"template.spec.containers.0.env.1.value": "0"},
            {"template.spec.containers.0.env.0": env(("OTHER", "1"))[0]},
            {
                "template.spec.containers.0.env.1": env(
                    ("RAY_SERVE_THROUGHPUT_OPTIMIZED", REFERENCE)
                )[0]
            },
        ],
    ),
    "ray-head-names-serve-port": Ways(
        [each for each in HEADS if each[0] == "RayService"],
        [{}, {"template.spec.containers.0.ports": [{"containerPort": 1}, *_PORT]}],
        [
            {"template.spec.containers.0.ports.0.name": "http"},
            {"template.spec.containers.0.ports.0.name": REMOVED},
            {"template.spec.containers.0.ports": REMOVED},
        ],
    ),
    "ray-budget-counts-pods": Ways(
        whole("PodDisruptionBudget"),
        [
            {},
            {"spec.minAvailable": 1},
            {"spec.minAvailable": "50%", "spec.selector.matchLabels": {"app": "other"}},
            {"spec.minAvailable": REMOVED},
        ],
        [
            {"spec.minAvailable": "50%"},
            {"spec.minAvailable": REMOVED, "spec.maxUnavailable": 1},
            {
                "spec.minAvailable": "1%",
                "spec.selector.matchLabels": {"app.kubernetes.io/component": "serve-worker"},
            },
        ],
    ),
    "ray-head-without-work": Ways(
        HEADS,
        [{}, {"rayStartParams.block": "true"}],
        [{"rayStartParams.num-cpus": "1"}, {"rayStartParams.num-cpus": REMOVED}],
    ),
    "ray-head-recovers": Ways(
        [("RayService", "spec.rayClusterConfig")],
        [{}, {"gcsFaultToleranceOptions.redisAddress": "redis:6379"}],
        [{"gcsFaultToleranceOptions": REMOVED}],
    ),
    "ray-replicas-bounded": Ways(
        WORKERS,
        [
            {},
            {"minReplicas": 0, "maxReplicas": 100},
            {"minReplicas": 4},
            {"minReplicas": 0, "maxReplicas": REMOVED, "replicas": 3},
        ],
        [
            {"maxReplicas": 101},
            {"minReplicas": 5},
            {"minReplicas": 0, "maxReplicas": 0},
            {"minReplicas": 0, "maxReplicas": REMOVED},
        ],
    ),
    "argocd-revision-named": Ways(
        whole("Application"),
        [{}, {"spec.source.targetRevision": "v1.2.3"}],
        [
            {"spec.source.targetRevision": "HEAD"},
            {"spec.source.targetRevision": REMOVED},
            {"spec.source": REMOVED, "spec.sources": [{"path": "x", "targetRevision": "*"}]},
        ],
    ),
    "argocd-leaves-replicas": Ways(
        whole("Application"),
        [
            {},
            {"spec.source": {"chart": "other", "targetRevision": "1.2.3"}, "spec.syncPolicy": {}},
            {"spec.ignoreDifferences.0": {"group": "ray.io", "jsonPointers": ["/spec/replicas"]}},
        ],
        [
            {"spec.ignoreDifferences": REMOVED},
            {"spec.ignoreDifferences.0.group": "apps"},
            {"spec.syncPolicy.syncOptions": ["ServerSideApply=true"]},
            {
                "spec.source": {"chart": "vigil", "targetRevision": "1.2.3"},
                "spec.ignoreDifferences": [],
            },
        ],
    ),
    "argocd-server-side": Ways(
        whole("Application"),
        [{}, {"spec.source": {"chart": "o", "targetRevision": "1.2.3"}, "spec.syncPolicy": {}}],
        [
            {"spec.syncPolicy.syncOptions": ["RespectIgnoreDifferences=true"]},
            {"spec.syncPolicy": REMOVED},
        ],
    ),
    "mlflow-version-supported": Ways(
        [
            ("MlflowDeployment", "spec.template"),
            ("MlflowStatefulSet", "spec.template"),
            ("MlflowPod", ""),
        ],
        [
            {"metadata.labels.`app.kubernetes.io/version`": "3.16.1"},
            {"metadata.labels.`app.kubernetes.io/version`": "v3.17"},
            {"metadata.labels": LABELS, "spec.containers.0.image": "quay.io/mlflow:3.17.2"},
        ],
        [
            {"metadata.labels.`app.kubernetes.io/version`": "3.16.0"},
            {"metadata.labels.`app.kubernetes.io/version`": "2.22.4"},
            {"metadata.labels.`app.kubernetes.io/version`": "newest"},
            {"metadata.labels": LABELS, "spec.containers.0.image": "quay.io/mlflow:3.9.2"},
            {"metadata.labels": LABELS},
        ],
    ),
    "mlflow-asks-who-is-there": Ways(
        SERVERS,
        [{}, _server(*_GOOD_SERVER), _server("--app-name=basic-auth", *_GOOD_SERVER[2:])],
        [
            _server(*_GOOD_SERVER[2:]),
            _server("--app-name", "none", *_GOOD_SERVER[2:]),
            {"command": REMOVED, "args": REMOVED},
        ],
    ),
    "mlflow-on-a-database": Ways(
        SERVERS,
        [
            {},
            _server(*_GOOD_SERVER, "--backend-store-uri", "postgresql://db/mlflow"),
            _server(*_GOOD_SERVER, "--backend-store-uri=$(URI)"),
            {"env": env(("MLFLOW_BACKEND_STORE_URI", "mysql://db"))},
        ],
        [
            {"env": []},
            {"env": env(("MLFLOW_BACKEND_STORE_URI", "sqlite:////var/x.db"))},
            _server(*_GOOD_SERVER, "--backend-store-uri", "sqlite:///x"),
        ],
    ),
    "mlflow-artifacts-in-a-bucket": Ways(
        SERVERS,
        [
            {},
            _server(*_GOOD_SERVER[:2], *_GOOD_SERVER[3:], "--default-artifact-root", "s3://b"),
            {"env.1": env(("MLFLOW_ARTIFACTS_DESTINATION", REFERENCE))[0]},
        ],
        [
            _server(*_GOOD_SERVER[:2], *_GOOD_SERVER[3:]),
            _server(*_GOOD_SERVER[:2], *_GOOD_SERVER[3:], "--artifacts-destination", "/mlruns"),
        ],
    ),
    "mlflow-hosts-named": Ways(
        SERVERS,
        [
            {},
            {
                "args": ["server", *_GOOD_SERVER[:3]],
                "env.1": env(("MLFLOW_SERVER_ALLOWED_HOSTS", "mlflow"))[0],
            },
            {
                "args": ["server", *_GOOD_SERVER[:3]],
                "env.1": env(("MLFLOW_SERVER_ALLOWED_HOSTS", REFERENCE))[0],
            },
        ],
        [
            _server(*_GOOD_SERVER[:3]),
            _server(*_GOOD_SERVER[:3], "--allowed-hosts", "a,*"),
            _server(*_GOOD_SERVER, "--disable-security-middleware"),
            {"env.1": env(("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "True"))[0]},
        ],
    ),
    "models-never-unpickled": Ways(
        BOXES,
        [
            {"env": env(("LEVEL", "info"))},
            {
                "env": env(
                    ("MLFLOW_TRACKING_URI", "http://x"),
                    ("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "False"),
                )
            },
        ],
        [
            {"env": env(("MLFLOW_TRACKING_URI", REFERENCE))},
            {"env": env(("VIGIL_TRAIN_TRACKING_URI", "http://x"))},
            {
                "env": env(
                    ("MLFLOW_TRACKING_URI", "http://x"),
                    ("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true"),
                )
            },
        ],
    ),
    "labels-complete": Ways(
        whole("Pod", "Deployment", "CronJob", "RayService", "RayJob"),
        [{}, {"metadata.labels.team": "ml"}],
        [
            {"metadata.labels": {}},
            {"metadata.labels.`app.kubernetes.io/name`": REMOVED},
            {"metadata.labels.`app.kubernetes.io/part-of`": REMOVED},
        ],
    ),
}
