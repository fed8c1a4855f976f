"""Other ways of doing right: changes of the good stack that a rule has to let pass.

(rule, resource, path, value).
"""

from __future__ import annotations

from typing import Any

import yaml

from tests.policies.parts import KEY_ARN, TLS_ONLY, allow, document, github, serve_config, trust
from tests.policies.table import REMOVED

EVERYONE = {"Principal": "*", "Action": "s3:GetObject", "Resource": "*"}
HEAD = "spec.rayClusterConfig.headGroupSpec"
HEAD_POD = f"{HEAD}.template.spec"
WORKER = "spec.rayClusterConfig.workerGroupSpecs.0"
MLFLOW = "spec.template.spec.containers.0"
INTERNAL = "service.beta.kubernetes.io/aws-load-balancer-scheme"
LEGACY = "service.beta.kubernetes.io/aws-load-balancer-internal"
CAPACITY = "karpenter.sh/capacity-type"


def balancer(annotation: str, value: str, port: float = 8265.0) -> dict[str, Any]:
    """metadata and spec of a Service with a load balancer inside the network."""
    return {
        "metadata": {"annotations": {annotation: value}},
        "spec": {"type": "LoadBalancer", "ports": [{"port": port}]},
    }


def mlflow_with(variable: str, value: str | None) -> dict[str, Any]:
    """A server told by its environment: by a value, or by a reference where there is none."""
    entry = (
        {"value": value} if value else {"valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}
    )
    return {"name": "mlflow", "command": ["mlflow", "server"], "env": [{"name": variable, **entry}]}


def serve_config_yaml(**detector: Any) -> str:
    """serveConfigV2 with the Detector changed."""
    return yaml.safe_dump(serve_config(**detector))


def affinity(key: str, value: str) -> dict[str, Any]:
    """A required node affinity."""
    term = {"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}
        }
    }


FINE: list[tuple[str, str, str, Any]] = [
    # storage
    ("s3-policy-not-public", "BucketPolicy", "policy", document({**EVERYONE, "Effect": "Deny"})),
    (
        "s3-policy-not-public",
        "BucketPolicy",
        "policy",
        document({**EVERYONE, "Effect": "Allow", "Principal": {"AWS": "arn:x"}}),
    ),
    (
        "s3-policy-not-public",
        "BucketPolicy",
        "policy",
        document({**EVERYONE, "Effect": "Allow", "Condition": {"StringEquals": {}}}),
    ),
    (
        "s3-tls-only",
        "BucketPolicy",
        "policy",
        document({**TLS_ONLY, "Action": "*", "Principal": {"AWS": "*"}}),
    ),
    ("s3-tls-only", "BucketPolicy", "policy", {"Statement": TLS_ONLY}),
    # cluster
    (
        "eks-no-hidden-admin",
        "cluster",
        "accessConfig",
        {"authenticationMode": "API_AND_CONFIG_MAP"},
    ),
    ("imds-v2-only", "template", "metadataOptions.httpPutResponseHopLimit", REMOVED),
    ("karpenter-imds-v2-only", "node-class", "spec.metadataOptions", REMOVED),
    (
        "karpenter-imds-v2-only",
        "node-class",
        "spec.metadataOptions",
        {"httpPutResponseHopLimit": 1.0},
    ),
    ("karpenter-imds-v2-only", "node-class", "spec.metadataOptions", {"httpTokens": "required"}),
    ("karpenter-imds-v2-only", "node-class", "spec", REMOVED),
    ("guardduty-watches", "detector", "enable", REMOVED),
    # database
    ("rds-backed-up", "database", "backupRetentionPeriod", 7.0),
    ("rds-minor-upgrades", "database", "autoMinorVersionUpgrade", REMOVED),
    ("rds-logged", "database", "", {"engine": "mysql"}),
    ("redis-asks-for-a-password", "redis", "", {"userGroupIds": ["ray"]}),
    ("rds-tls-only", "parameters", "family", "mysql8.4"),
    (
        "rds-tls-only",
        "parameters",
        "parameters",
        [{"name": "log", "value": "1"}, {"name": "rds.force_ssl", "value": "1"}],
    ),
    # network
    ("sg-ports-not-open", "sg-rule", "toPort", 0.0),
    ("sg-ports-not-open", "sg", "ingress", REMOVED),
    ("default-sg-closed", "default-sg", "ingress", []),
    (
        "ingress-tls",
        "ingress",
        "",
        {"metadata": {"annotations": {"alb.ingress.kubernetes.io/certificate-arn": "arn:x"}}},
    ),
    ("namespace-denies-by-default", "namespace", "metadata.name", "kube-system"),
    ("namespace-denies-by-default", "default-deny", "spec.egress", [{"ports": [{"port": 53}]}]),
    ("service-not-public", "service", "", balancer(INTERNAL, "internal")),
    ("service-not-public", "service", "", balancer(LEGACY, "true")),
    ("service-not-public", "service", "spec.type", "NodePort"),
    ("ray-ports-inside", "service", "", balancer(INTERNAL, "internal")),
    ("ray-ports-inside", "service", "spec.ports", [{"port": 8265.0}]),
    # identity
    ("iam-no-admin", "policy", "policy", document(allow("*", "arn:aws:s3:::vigil-models/*"))),
    ("iam-no-admin", "policy", "policy", document(allow("s3:ListAllMyBuckets", "*"))),
    (
        "iam-no-admin",
        "policy",
        "policy",
        document({"Effect": "Deny", "Action": "*", "Resource": "*"}),
    ),
    (
        "iam-no-service-wildcard",
        "policy",
        "policy",
        document({"Effect": "Deny", "Action": "s3:*", "Resource": "*"}),
    ),
    (
        "iam-no-data-wildcard",
        "policy",
        "policy",
        document(allow("*", "*")),
    ),  # iam-no-admin speaks of it
    (
        "iam-no-decrypt-everywhere",
        "policy",
        "policy",
        document(allow("kms:Decrypt", "*", Condition={"StringEquals": {}})),
    ),
    ("iam-no-decrypt-everywhere", "policy", "policy", document(allow("kms:Encrypt", "*"))),
    (
        "iam-trust-named",
        "serve-role",
        "assumeRolePolicy",
        document({**trust(AWS="*"), "Effect": "Deny"}),
    ),
    ("oidc-trust-pinned", "apply-role", "assumeRolePolicy", github("repo:acme/vigil:pull_request")),
    (
        "oidc-trust-pinned",
        "apply-role",
        "assumeRolePolicy",
        github("repo:acme/vigil:ref:refs/heads/main"),
    ),
    (
        "oidc-trust-pinned",
        "apply-role",
        "assumeRolePolicy",
        document(trust(AWS="*")),
    ),  # iam-trust-named speaks of it
    ("kms-rotated", "key", "", {"customerMasterKeySpec": "RSA_2048"}),
    ("kms-rotated", "key", "", {"keyUsage": "GENERATE_VERIFY_MAC"}),
    ("kms-not-public", "key", "policy", REMOVED),
    (
        "kms-not-public",
        "key",
        "policy",
        document(allow("kms:*", "*", Principal="*", Condition={"StringEquals": {}})),
    ),
    (
        "kms-not-public",
        "key",
        "policy",
        document({**allow("kms:*", "*", Principal="*"), "Effect": "Deny"}),
    ),
    ("kms-deleted-slowly", "key", "deletionWindowInDays", REMOVED),
    ("secret-recoverable", "secret", "recoveryWindowInDays", REMOVED),
    ("secret-recoverable", "secret", "recoveryWindowInDays", 7.0),
    # images
    ("image-pinned", "mlflow", f"{MLFLOW}.image", "quay.io:443/mlflow:3.17.2"),
    ("image-pinned", "mlflow", f"{MLFLOW}.image", "quay.io/mlflow:v3.17.2-py312"),
    ("image-pinned", "mlflow", f"{MLFLOW}.image", "quay.io/mlflow:sha-0a1b2c3"),
    ("image-from-allowed-registry", "mlflow", f"{MLFLOW}.image", "quay.io/mlflow:3.17.2"),
    (
        "image-from-allowed-registry",
        "mlflow",
        f"{MLFLOW}.image",
        "public.ecr.aws/docker/library/python:3.12.1",
    ),
    (
        "argocd-revision-named",
        "application",
        "spec",
        {"sources": [{"chart": "x", "targetRevision": "1.2.3"}]},
    ),
    # stream
    ("sqs-encrypted", "queue", "", {"kmsMasterKeyId": KEY_ARN}),
    ("logs-retained", "logs", "retentionInDays", 400.0),
    # workload
    ("pod-non-root", "mlflow", f"{MLFLOW}.securityContext.runAsUser", 5.0),
    ("pod-non-root", "mlflow", "spec.template.spec.securityContext.runAsUser", REMOVED),
    (
        "pod-capabilities-dropped",
        "mlflow",
        f"{MLFLOW}.securityContext.capabilities.add",
        ["NET_BIND_SERVICE"],
    ),
    ("pod-seccomp", "mlflow", f"{MLFLOW}.securityContext.seccompProfile", {"type": "Localhost"}),
    ("pod-resources", "mlflow", f"{MLFLOW}.resources", {"limits": {"cpu": "1", "memory": "1Gi"}}),
    (
        "pod-no-idle-token",
        "serve",
        "spec.rayClusterConfig",
        {
            "enableInTreeAutoscaling": True,
            "headGroupSpec": {"template": {"spec": {"containers": []}}},
        },
    ),
    ("pod-no-idle-token", "mlflow", "spec.template.spec", {"serviceAccountName": "mlflow"}),
    ("namespace-restricted", "namespace", "metadata", {"name": "kube-system"}),
    ("namespace-restricted", "namespace", "", {"metadata": {"name": "kube-system"}}),
    ("no-static-keys-stored", "k8s-secret", "data", {"binary": "/w=="}),
    # ray
    ("ray-version-supported", "serve", "spec.rayClusterConfig.rayVersion", "2.55.0"),
    ("ray-head-on-demand", "serve", f"{HEAD_POD}.nodeSelector", {CAPACITY: "on-demand"}),
    (
        "ray-head-on-demand",
        "serve",
        f"{HEAD_POD}.nodeSelector",
        {"eks.amazonaws.com/capacityType": "ON_DEMAND"},
    ),
    ("ray-head-on-demand", "serve", f"{HEAD_POD}.nodeSelector", {"role": "system"}),
    ("ray-head-on-demand", "serve", HEAD_POD, {"affinity": affinity(CAPACITY, "on-demand")}),
    (
        "ray-head-on-demand",
        "serve",
        HEAD_POD,
        {"affinity": affinity("eks.amazonaws.com/capacityType", "ON_DEMAND")},
    ),
    (
        "ray-head-not-evicted",
        "serve",
        f"{HEAD}.template.metadata.annotations",
        {
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        },
    ),
    ("ray-head-inside", "serve", f"{HEAD}.serviceType", "ClusterIP"),
    (
        "ray-drains-in-peace",
        "serve",
        f"{WORKER}.template.spec.terminationGracePeriodSeconds",
        130.0,
    ),
    (
        "ray-drains-in-peace",
        "serve",
        f"{WORKER}.template.spec",
        {"terminationGracePeriodSeconds": 60.0},
    ),
    ("ray-drains-in-peace", "serve", f"{HEAD}.template.spec.terminationGracePeriodSeconds", 20.0),
    ("ray-replicas-bounded", "serve", f"{WORKER}.maxReplicas", 2.0),
    ("ray-replicas-bounded", "serve", f"{WORKER}.minReplicas", REMOVED),
    ("ray-replicas-bounded", "serve", f"{WORKER}.maxReplicas", 100.0),
    ("ray-replicas-bounded", "serve", WORKER, {"groupName": "serve", "replicas": 1.0}),
    (
        "serve-queue-bounded",
        "serve",
        "spec.serveConfigV2",
        serve_config_yaml(max_queued_requests=1),
    ),
    (
        "serve-survives-a-node",
        "serve",
        "spec.serveConfigV2",
        serve_config_yaml(autoscaling_config=None, num_replicas=2),
    ),
    (
        "serve-survives-a-node",
        "serve",
        "spec.serveConfigV2",
        serve_config_yaml(name="Other", autoscaling_config=None),
    ),
    ("ray-within-quota", "quota", "spec.hard", {"requests.cpu": "10"}),
    ("ray-within-quota", "quota", "spec.hard", {"cpu": "10"}),
    ("ray-within-quota", "quota", "spec.hard", {"pods": "1"}),
    (
        "ray-within-quota",
        "quota",
        "",
        {"metadata": {"namespace": "other"}, "spec": {"hard": {"cpu": "1"}}},
    ),
    ("ray-upgrade-has-room", "ray-serve", "spec.limits.cpu", "16"),
    ("ray-upgrade-has-room", "serve", "spec.upgradeStrategy", REMOVED),
    (
        "ray-upgrade-has-room",
        "serve",
        "spec.upgradeStrategy",
        {
            "type": "NewClusterWithIncrementalUpgrade",
            "clusterUpgradeOptions": {"maxSurgePercent": 10.0},
        },
    ),
    (
        "argocd-leaves-replicas",
        "application",
        "spec",
        {"source": {"chart": "kube-prometheus-stack"}},
    ),
    (
        "argocd-leaves-replicas",
        "application",
        "spec.ignoreDifferences.0",
        {
            "group": "ray.io",
            "jsonPointers": ["/spec/rayClusterConfig/workerGroupSpecs/0/replicas"],
        },
    ),
    ("argocd-server-side", "application", "spec", {"source": {"chart": "kube-prometheus-stack"}}),
    # tracking
    (
        "mlflow-version-supported",
        "mlflow",
        "spec.template.metadata.labels.`app.kubernetes.io/version`",
        "3.16.1",
    ),
    (
        "mlflow-hosts-named",
        "mlflow",
        f"{MLFLOW}.args",
        ["server", "--allowed-hosts=mlflow,localhost:*"],
    ),
    ("mlflow-hosts-named", "mlflow", MLFLOW, mlflow_with("MLFLOW_SERVER_ALLOWED_HOSTS", "mlflow")),
    (
        "mlflow-artifacts-in-a-bucket",
        "mlflow",
        MLFLOW,
        mlflow_with("MLFLOW_ARTIFACTS_DESTINATION", None),
    ),
    (
        "mlflow-on-a-database",
        "mlflow",
        f"{MLFLOW}.args",
        ["server", "--backend-store-uri=postgresql://db/mlflow"],
    ),
    (
        "mlflow-on-a-database",
        "mlflow",
        f"{MLFLOW}.env.0",
        {"name": "MLFLOW_BACKEND_STORE_URI", "value": "postgresql://db"},
    ),
    (
        "mlflow-artifacts-in-a-bucket",
        "mlflow",
        f"{MLFLOW}.args",
        ["server", "--default-artifact-root", "s3://models"],
    ),
    ("mlflow-no-default-password", "config", "data.level", "admin_password = 8d7f0a\n"),
    ("alert-budget-configured", "settings", "data.`vigil.yaml`", "train: {alertRate: 0.05}"),
    ("alert-budget-configured", "settings", "data.`vigil.yaml`", REMOVED),
    ("ray-autoscaler-has-token", "serve", "spec.rayClusterConfig.enableInTreeAutoscaling", False),
    ("ray-budget-counts-pods", "budget-of-pods", "spec.minAvailable", "2"),
    ("ray-budget-counts-pods", "budget-of-pods", "spec", {"maxUnavailable": 1.0}),
    ("service-logs-have-groups", "database", "enabledCloudwatchLogsExports", REMOVED),
    ("service-logs-have-groups", "cluster", "enabledClusterLogTypes", []),
    ("pod-scratch-bounded", "mlflow", "spec.template.spec.volumes", [{"configMap": {}}]),
    # cost
    ("node-group-bounded", "nodes", "scalingConfig.maxSize", 20.0),
    ("node-pool-bounded", "ray-serve", "spec.limits.cpu", "512"),
    ("s3-traffic-stays-inside", "s3-endpoint", "vpcEndpointType", REMOVED),
]
