"""Cases of workload, network, images, ray, tracking and tagging: what is made in the cluster."""

from __future__ import annotations

import base64
from typing import Any

import yaml

from tests.policies.good import LABELS, metadata, serve_config
from tests.policies.table import REMOVED, Break, Case

POD = "spec.template.spec"
BOX = f"{POD}.containers.0"
SECURE = f"{BOX}.securityContext"
HEAD = "spec.rayClusterConfig.headGroupSpec"
WORKER = "spec.rayClusterConfig.workerGroupSpecs.0"
WORKER_BOX = f"{WORKER}.template.spec.containers.0"
JOB_BOX = "spec.jobTemplate.spec.template.spec.containers.0"


def of_box(rule: str, path: str, value: Any, message: str, *more: Any) -> Case:
    """A case of one property of MLflow's container, and of the same property of a Ray worker's."""
    breaks = [
        Break("mlflow", f"{BOX}.{path}", each, f"container mlflow: {message}")
        for each in (value, *more)
    ]
    breaks.append(
        Break(
            "serve", f"{WORKER_BOX}.{path}", value, f"worker group serve, container ray: {message}"
        )
    )
    return Case(rule, ("mlflow", f"{BOX}.{path}"), breaks)


ROOT = "it may run as root: set securityContext.runAsNonRoot to true, and no runAsUser of 0"
SECCOMP = "all system calls are allowed: set securityContext.seccompProfile.type to RuntimeDefault"
CAPABILITIES = (
    "it keeps capabilities that it does not need: set securityContext.capabilities.drop to [ALL],"
    " and add NET_BIND_SERVICE at most"
)
SHARES = "it shares {} with the node: remove the setting"
TOKEN = (
    "the pod holds a token for the Kubernetes API: set automountServiceAccountToken to false, or name the service account"
    " that needs it"
)
MISSING = "{} is missing: one pod could take the whole node"
WIDE = "volume tmp may fill the disk that all pods of its node share: set emptyDir.sizeLimit"
IN_ENV = "{} is in its environment: remove it and give the service account a Pod Identity"
STORED = "it holds a static AWS key: remove it and use Pod Identity"
KEY = "AKIA" + "ABCDEFGHIJKLMNOP"
WRITABLE = "its root file system is writable: set securityContext.readOnlyRootFilesystem to true and mount what it writes"

WORKLOAD = [
    of_box(
        "pod-not-privileged",
        "securityContext.privileged",
        True,
        "it is privileged: set securityContext.privileged to false",
    ),
    Case(
        "pod-no-host-namespaces",
        ("mlflow", f"{POD}.hostNetwork"),
        [
            Break("mlflow", f"{POD}.hostNetwork", True, SHARES.replace("{}", "hostNetwork")),
            Break("mlflow", f"{POD}.hostPID", True, SHARES.replace("{}", "hostPID")),
            Break(
                "serve",
                f"{HEAD}.template.spec.hostIPC",
                True,
                f"head: {SHARES.replace('{}', 'hostIPC')}",
            ),
        ],
    ),
    Case(
        "pod-no-host-paths",
        ("mlflow", f"{POD}.volumes"),
        [
            Break(
                "mlflow",
                f"{POD}.volumes.0.hostPath",
                {"path": "/"},
                "volume tmp is a folder of the node: use an emptyDir, a claim or a CSI volume",
            )
        ],
    ),
    of_box(
        "pod-no-host-ports",
        "ports",
        [{"hostPort": 80.0}],
        "it takes port 80 of the node: remove hostPort",
    ),
    of_box(
        "pod-no-privilege-escalation",
        "securityContext.allowPrivilegeEscalation",
        True,
        "it may gain privileges: set securityContext.allowPrivilegeEscalation to false",
        REMOVED,
    ),
    of_box(
        "pod-capabilities-dropped",
        "securityContext.capabilities",
        {"drop": ["NET_RAW"]},
        CAPABILITIES,
        REMOVED,
        {
            "drop": ["ALL"],
            "add": ["SYS_ADMIN"],
        },
    ),
    Case(
        "pod-non-root",
        ("mlflow", f"{POD}.securityContext.runAsNonRoot"),
        [
            Break("mlflow", f"{SECURE}.runAsNonRoot", False, f"container mlflow: {ROOT}"),
            Break("mlflow", f"{SECURE}.runAsUser", 0.0, f"container mlflow: {ROOT}"),
            Break(
                "retrain",
                "spec.jobTemplate.spec.template.spec.securityContext.runAsNonRoot",
                REMOVED,
                f"container submit: {ROOT}",
            ),
        ],
    ),
    Case(
        "pod-seccomp",
        ("mlflow", f"{POD}.securityContext.seccompProfile.type"),
        [
            Break(
                "mlflow",
                f"{SECURE}.seccompProfile",
                {"type": "Unconfined"},
                f"container mlflow: {SECCOMP}",
            ),
            Break(
                "retrain",
                "spec.jobTemplate.spec.template.spec.securityContext.seccompProfile",
                REMOVED,
                f"container submit: {SECCOMP}",
            ),
        ],
    ),
    Case(
        "pod-scratch-bounded",
        ("mlflow", f"{POD}.volumes.0.emptyDir"),
        [
            Break("mlflow", f"{POD}.volumes.0.emptyDir", {}, WIDE),
            Break("mlflow", f"{POD}.volumes.0.emptyDir", {"medium": "Memory"}, WIDE),
            Break("serve", f"{HEAD}.template.spec.volumes.0.emptyDir", {}, f"head: {WIDE}"),
        ],
    ),
    of_box("pod-read-only", "securityContext.readOnlyRootFilesystem", False, WRITABLE, REMOVED),
    Case(
        "pod-resources",
        ("mlflow", f"{BOX}.resources.limits.memory"),
        [
            Break(
                "mlflow",
                f"{BOX}.resources.limits.memory",
                REMOVED,
                f"container mlflow: {MISSING.replace('{}', 'resources.limits.memory')}",
            ),
            Break(
                "mlflow",
                f"{BOX}.resources.requests.cpu",
                REMOVED,
                f"container mlflow: {MISSING.replace('{}', 'resources.requests.cpu')}",
            ),
            Break(
                "retrain",
                f"{JOB_BOX}.resources",
                REMOVED,
                "container submit: "
                + MISSING.replace(
                    "{}",
                    "resources.requests.cpu, resources.requests.memory, resources.limits.memory",
                ),
            ),
        ],
    ),
    Case(
        "pod-no-idle-token",
        ("mlflow", f"{POD}.automountServiceAccountToken"),
        [
            Break("mlflow", f"{POD}.automountServiceAccountToken", REMOVED, TOKEN),
            Break("mlflow", f"{POD}.automountServiceAccountToken", True, TOKEN),
            Break(
                "serve",
                f"{HEAD}.template.spec.automountServiceAccountToken",
                True,
                f"head: {TOKEN}",
            ),
            Break(
                "serve",
                f"{WORKER}.template.spec.automountServiceAccountToken",
                True,
                f"worker group serve: {TOKEN}",
            ),
        ],
    ),
    Case(
        "not-in-default-namespace",
        ("config", "metadata.namespace"),
        [
            Break(
                "config",
                "metadata.namespace",
                "default",
                "it lands in the default namespace: set metadata.namespace",
            ),
            Break(
                "serve",
                "metadata.namespace",
                REMOVED,
                "it lands in the default namespace: set metadata.namespace",
            ),
        ],
    ),
    Case(
        "namespace-restricted",
        ("namespace", "metadata.labels"),
        [
            Break(
                "namespace",
                "metadata.labels",
                value,
                "pods of any kind are admitted: set the label pod-security.kubernetes.io/enforce to restricted",
            )
            for value in (REMOVED, {"pod-security.kubernetes.io/enforce": "baseline"})
        ],
    ),
    Case(
        "no-static-keys-in-env",
        ("mlflow", f"{BOX}.env.2.value"),
        [
            Break(
                "mlflow",
                f"{BOX}.env.2",
                {"name": "AWS_ACCESS_KEY_ID", "value": "x"},
                f"container mlflow: {IN_ENV.replace('{}', 'AWS_ACCESS_KEY_ID')}",
            ),
            Break(
                "mlflow",
                f"{BOX}.env.2",
                {
                    "name": "AWS_SECRET_ACCESS_KEY",
                    "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}},
                },
                f"container mlflow: {IN_ENV.replace('{}', 'AWS_SECRET_ACCESS_KEY')}",
            ),
            Break(
                "mlflow",
                f"{BOX}.env.2.value",
                f"id={KEY}",
                f"container mlflow: {IN_ENV.replace('{}', 'LOG_LEVEL')}",
            ),
        ],
    ),
    Case(
        "no-static-keys-stored",
        ("k8s-secret", "data.token"),
        [
            Break(
                "k8s-secret",
                "data",
                {"AWS_SECRET_ACCESS_KEY": "eA=="},
                f"AWS_SECRET_ACCESS_KEY: {STORED}",
            ),
            Break(
                "k8s-secret",
                "data.token",
                base64.b64encode(KEY.encode()).decode(),
                f"token: {STORED}",
            ),
            Break(
                "k8s-secret",
                "stringData",
                {"aws_access_key_id": "x"},
                f"aws_access_key_id: {STORED}",
            ),
            Break("config", "data.level", "export AWS_SECRET_ACCESS_KEY=x", f"level: {STORED}"),
            Break(
                "config", "data.level", f"[default]\nAWS_ACCESS_KEY_ID={KEY}", f"level: {STORED}"
            ),
            Break("release", "values.list.0", KEY, f"values.list.0: {STORED}"),
        ],
    ),
]

DENY = "no NetworkPolicy denies by default here: add one with an empty podSelector and policyTypes Ingress and Egress"
BALANCER = "the load balancer faces the internet: use an Ingress with TLS, or annotate the scheme as internal"
CLEAR = "requests travel in the clear: set spec.tls, or the annotation alb.ingress.kubernetes.io/certificate-arn"

NETWORK = [
    Case(
        "service-not-public",
        ("service", "spec.type"),
        [Break("service", "spec.type", "LoadBalancer", BALANCER)],
    ),
    Case("ingress-tls", ("ingress", "spec.tls"), [Break("ingress", "spec.tls", REMOVED, CLEAR)]),
    Case(
        "namespace-denies-by-default",
        ("default-deny", "spec.policyTypes"),
        [
            Break("default-deny", "", REMOVED, DENY, "namespace"),
            Break("default-deny", "metadata.namespace", "other", DENY, "namespace"),
            Break("default-deny", "spec.policyTypes", ["Ingress"], DENY, "namespace"),
            Break(
                "default-deny", "spec.podSelector", {"matchLabels": {"app": "x"}}, DENY, "namespace"
            ),
            Break(
                "default-deny",
                "spec.podSelector",
                {"matchExpressions": [{"key": "x"}]},
                DENY,
                "namespace",
            ),
            Break("default-deny", "spec.ingress", [{}], DENY, "namespace"),
            Break("default-deny", "spec.egress", [{}], DENY, "namespace"),
        ],
    ),
]

MOVES = "image {} may change under its name: name it by digest, or by a full version or commit"
ELSEWHERE = (
    "image {} comes from a registry that is not in the list: copy it to ECR, or allow its registry"
)
CHART = "chart version {} is not exact: set version to a full version"

IMAGES = [
    Case(
        "image-pinned",
        ("mlflow", f"{BOX}.image"),
        [
            Break(
                "mlflow", f"{BOX}.image", image, f"container mlflow: {MOVES.replace('{}', image)}"
            )
            for image in (
                "quay.io/mlflow",
                "quay.io/mlflow:latest",
                "quay.io/mlflow:3.17",
                "quay.io:443/mlflow:main",
            )
        ],
    ),
    Case(
        "image-from-allowed-registry",
        ("mlflow", f"{BOX}.image"),
        [
            Break(
                "mlflow",
                f"{BOX}.image",
                image,
                f"container mlflow: {ELSEWHERE.replace('{}', image)}",
            )
            for image in (
                "python:3.12.1",
                "acme/mlflow:3.17.2",
                "ghcr.io/mlflow/mlflow:3.17.2",
                "localhost:5000/x:1.0.0",
            )
        ],
    ),
    Case(
        "chart-pinned",
        ("release", "version"),
        [
            Break("release", "version", REMOVED, CHART.replace("{}", "(none)")),
            Break("release", "version", "^1.7.0", CHART.replace("{}", "^1.7.0")),
            Break("release", "version", "1.7", CHART.replace("{}", "1.7")),
        ],
    ),
    Case(
        "chart-atomic",
        ("release", "atomic"),
        [
            Break(
                "release",
                "atomic",
                REMOVED,
                "a failed upgrade would stay half done: set atomic to true",
            )
        ],
    ),
    Case(
        "argocd-revision-named",
        ("application", "spec.source.targetRevision"),
        [
            Break(
                "application",
                "spec.source.targetRevision",
                value,
                "it follows HEAD: set targetRevision to a branch that is protected, a tag or a chart version",
            )
            for value in ("HEAD", REMOVED)
        ],
    ),
]

REACHED = "port {} can be reached from outside, and whoever reaches it runs code here: route to the Serve port alone"
HEAD_OPEN = "head: its Service opens dashboard, client and GCS to the outside: set serviceType to ClusterIP and enableIngress to false"
OLD_RAY = "Ray {} has no usable authentication: set rayVersion to the minimum or later"
NO_TOKEN = "anyone in the network may submit jobs: set authOptions.mode to token"
SPOT = "head: it may land on a spot node: select nodes that are on demand"
EVICTED = (
    "head: an autoscaler may evict it to save a node: annotate the pod karpenter.sh/do-not-disrupt: 'true' or"
    " cluster-autoscaler.kubernetes.io/safe-to-evict: 'false'"
)
KILLED = "{}: it is killed while it still drains: set terminationGracePeriodSeconds to {} or more"
DIFFERS = "worker group serve: {} differs from the head's: set it alike on the head and on every worker group"
NAMED = "serveConfigV2 names a model version in {}: a promotion would restart or unroute replicas; move the alias instead"
QUEUE = "deployment Detector: requests may queue without end: set max_queued_requests"
FEW = "deployment Detector: {} replicas serve: set autoscaling_config.min_replicas to 2 or more"
BOUNDS = "worker group serve: replica bounds {} are wrong: set minReplicas <= maxReplicas, and maxReplicas within the parameter `most`"
UNREADABLE = "serveConfigV2 holds no applications: write YAML with a list of them"
ROOM = "an upgrade needs {}: raise the limits, or set upgradeStrategy.type to None"
FIGHTS = "Argo CD would fight Ray's autoscaler: add {}"
POOL = "spec.template.spec.requirements.0"
POOL_CAPACITY = f"{POOL}.values"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
CAPACITY_TERM = {
    "matchExpressions": [
        {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]}
    ]
}
SPOT_OR_NOT = {
    "nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [CAPACITY_TERM, {"matchExpressions": []}]}}
}
NO_GCS = "the loss of the head's pod takes every replica along: set gcsFaultToleranceOptions"
DEAD = (
    "head: its autoscaler dies without a token for the Kubernetes API, and no worker is made:"
    " mount a projected serviceAccountToken at /var/run/secrets/kubernetes.io/serviceaccount by"
    " autoscalerOptions.volumeMounts, or set automountServiceAccountToken to true on the head's pod"
)
UNNAMED = (
    "head: no port of its container is named serve: KubeRay makes the serve service from it, and"
    " without one the RayService is never ready"
)
OF_RAY_PODS = (
    ("ray.io/group", "y"),
    ("ray.io/node-type", "y"),
    ("ray.io/cluster", "y"),
    ("app.kubernetes.io/component", "serve-worker"),
    ("app.kubernetes.io/component", "train-head"),
)
UNCOUNTED = (
    "its pods are of a RayCluster, which has no scale to count from, so none is evicted:"
    " set minAvailable to a number in place of {}"
)
WORKS = 'head: it takes work like any worker: set rayStartParams["num-cpus"] to "0"'


def config(**detector: Any) -> str:
    """serveConfigV2 with the Detector changed."""
    return yaml.safe_dump(serve_config(**detector))


def versions(message: str, **detector: Any) -> Break:
    """A break of serveConfigV2."""
    return Break("serve", "spec.serveConfigV2", config(**detector), message)


RAY = [
    Case(
        "ray-ports-inside",
        ("ingress", "spec.rules"),
        [
            Break(
                "ingress",
                "spec.rules.0.http.paths.0.backend.service.port.number",
                8265.0,
                REACHED.replace("{}", "8265"),
            ),
            Break(
                "ingress",
                "spec.rules.0.http.paths.0.backend.service.port",
                {"name": "dashboard"},
                REACHED.replace("{}", "dashboard"),
            ),
            Break(
                "ingress",
                "spec.defaultBackend",
                {"service": {"port": {"number": 5000.0}}},
                REACHED.replace("{}", "5000"),
            ),
            Break(
                "route", "spec.rules.0.backendRefs.0.port", 10001.0, REACHED.replace("{}", "10001")
            ),
            Break(
                "service",
                "spec",
                {
                    "type": "LoadBalancer",
                    "ports": [
                        {"port": 80.0, "targetPort": 8404.0},
                        {"name": "gcs", "port": 6379.0},
                    ],
                },
                REACHED.replace("{}", "8404, 6379, gcs"),
            ),
            Break(
                "service",
                "spec",
                {"type": "NodePort", "ports": [{"port": 8265.0}]},
                REACHED.replace("{}", "8265"),
            ),
        ],
    ),
    Case(
        "ray-head-inside",
        ("serve", f"{HEAD}.serviceType"),
        [
            Break("serve", f"{HEAD}.serviceType", "LoadBalancer", HEAD_OPEN),
            Break("serve", f"{HEAD}.enableIngress", True, HEAD_OPEN),
        ],
    ),
    Case(
        "ray-version-supported",
        ("serve", "spec.rayClusterConfig.rayVersion"),
        [
            Break(
                "serve",
                "spec.rayClusterConfig.rayVersion",
                "2.51.2",
                OLD_RAY.replace("{}", "2.51.2"),
            ),
            Break(
                "serve",
                "spec.rayClusterConfig.rayVersion",
                REMOVED,
                OLD_RAY.replace("{}", "(no rayVersion)"),
            ),
        ],
    ),
    Case(
        "ray-asks-for-a-token",
        ("serve", "spec.rayClusterConfig.authOptions.mode"),
        [
            Break("serve", "spec.rayClusterConfig.authOptions", REMOVED, NO_TOKEN),
            Break("serve", "spec.rayClusterConfig.authOptions.mode", "disabled", NO_TOKEN),
        ],
    ),
    Case(
        "ray-one-image",
        ("serve", f"{WORKER_BOX}.image"),
        [
            Break(
                "serve",
                f"{WORKER_BOX}.image",
                "other:1.0.0",
                "worker group serve: its image other:1.0.0 is not the head's: head and workers must run the same image",
            )
        ],
    ),
    Case(
        "ray-head-on-demand",
        ("ray-head", POOL_CAPACITY),
        [
            Break("ray-head", POOL_CAPACITY, ["spot"], SPOT, "serve"),
            Break("ray-head", POOL_CAPACITY, ["spot", "on-demand"], SPOT, "serve"),
            Break("ray-head", f"{POOL}.operator", "NotIn", SPOT, "serve"),
            Break("ray-head", "", REMOVED, SPOT, "serve"),
            Break(
                "serve", f"{HEAD}.template.spec.nodeSelector", {"kubernetes.io/arch": "arm64"}, SPOT
            ),
            Break("serve", f"{HEAD}.template.spec", {"affinity": SPOT_OR_NOT}, SPOT),
            Break("serve", f"{HEAD}.template.spec.nodeSelector", REMOVED, SPOT),
        ],
    ),
    Case(
        "ray-head-not-evicted",
        ("serve", f"{HEAD}.template.metadata.annotations"),
        [
            Break("serve", f"{HEAD}.template.metadata.annotations", value, EVICTED)
            for value in (REMOVED, {"karpenter.sh/do-not-disrupt": "false"})
        ],
    ),
    Case(
        "ray-drains-in-peace",
        ("serve", f"{WORKER}.template.spec.terminationGracePeriodSeconds"),
        [
            Break(
                "serve",
                f"{WORKER}.template.spec.terminationGracePeriodSeconds",
                60.0,
                KILLED.format("worker group serve", 130),
            ),
            Break(
                "serve",
                f"{WORKER_BOX}.env.1",
                {"name": "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S", "value": "200"},
                KILLED.format("worker group serve", 210),
            ),
        ],
    ),
    Case(
        "ray-haproxy-agrees",
        ("serve", f"{WORKER_BOX}.env.0.value"),
        [
            Break(
                "serve",
                f"{WORKER_BOX}.env.0.value",
                "0",
                DIFFERS.replace("{}", "RAY_SERVE_ENABLE_HA_PROXY"),
            ),
            Break(
                "serve",
                f"{WORKER_BOX}.env",
                [],
                DIFFERS.replace("{}", "RAY_SERVE_ENABLE_HA_PROXY, RAY_SERVE_THROUGHPUT_OPTIMIZED"),
            ),
        ],
    ),
    Case(
        "ray-autoscaler-has-token",
        ("serve", "spec.rayClusterConfig.enableInTreeAutoscaling"),
        [Break("serve", "spec.rayClusterConfig.enableInTreeAutoscaling", True, DEAD)],
    ),
    Case(
        "ray-head-names-serve-port",
        ("serve", f"{HEAD}.template.spec.containers.0.ports"),
        [
            Break("serve", f"{HEAD}.template.spec.containers.0.ports", REMOVED, UNNAMED),
            Break("serve", f"{HEAD}.template.spec.containers.0.ports.0.name", "http", UNNAMED),
            Break("serve", f"{HEAD}.template.spec.containers.0.ports.0.name", REMOVED, UNNAMED),
        ],
    ),
    Case(
        "ray-budget-counts-pods",
        ("budget-of-pods", "spec.minAvailable"),
        [
            Break(
                "budget-of-pods",
                "spec",
                {**share, "selector": {"matchLabels": {"app": "x", label: value}}},
                UNCOUNTED.replace("{}", said),
            )
            for label, value in OF_RAY_PODS
            for share, said in (
                ({"maxUnavailable": 1.0}, "maxUnavailable 1"),
                ({"maxUnavailable": 0.0}, "maxUnavailable 0"),
                ({"maxUnavailable": "25%"}, "maxUnavailable 25%"),
                ({"minAvailable": "50%"}, "minAvailable 50%"),
            )
        ],
    ),
    Case(
        "ray-head-without-work",
        ("serve", f"{HEAD}.rayStartParams"),
        [
            Break("serve", f"{HEAD}.rayStartParams", {}, WORKS),
            Break("serve", f"{HEAD}.rayStartParams", {"num-cpus": "4"}, WORKS),
        ],
    ),
    Case(
        "ray-head-recovers",
        ("serve", "spec.rayClusterConfig.gcsFaultToleranceOptions"),
        [Break("serve", "spec.rayClusterConfig.gcsFaultToleranceOptions", REMOVED, NO_GCS)],
    ),
    Case(
        "ray-replicas-bounded",
        ("serve", f"{WORKER}.maxReplicas"),
        [
            Break("serve", f"{WORKER}.maxReplicas", 1.0, BOUNDS.replace("{}", "2..1")),
            Break("serve", f"{WORKER}.maxReplicas", 500.0, BOUNDS.replace("{}", "2..500")),
            Break("serve", f"{WORKER}.maxReplicas", REMOVED, BOUNDS.replace("{}", "2..0")),
            Break(
                "serve",
                WORKER,
                {"groupName": "serve", "maxReplicas": 0.0},
                BOUNDS.replace("{}", "0..0"),
            ),
        ],
    ),
    Case(
        "ray-within-quota",
        ("quota", "spec.hard"),
        [
            Break(
                "quota",
                "spec.hard",
                {"requests.cpu": "9500m"},
                "at its largest the cluster asks for 10 CPUs of a quota of 9.5: raise the quota, or lower maxReplicas",
                "serve",
            )
        ],
    ),
    Case(
        "ray-upgrade-has-room",
        ("ray-serve", "spec.limits.cpu"),
        [
            Break(
                "ray-serve",
                "spec.limits.cpu",
                "12",
                ROOM.replace("{}", "16 CPUs where the limits (ray-serve) allow 12"),
                "serve",
            ),
            Break(
                "ray-head",
                "spec.limits.cpu",
                "2",
                ROOM.replace("{}", "4 CPUs where the limits (ray-head) allow 2"),
                "serve",
            ),
            Break(
                "ray-head",
                "",
                REMOVED,
                ROOM.replace("{}", "4 CPUs where the limits (no node pool) allow 0"),
                "serve",
            ),
        ],
    ),
    Case(
        "serve-config-readable",
        ("serve", "spec.serveConfigV2"),
        [
            Break("serve", "spec.serveConfigV2", value, UNREADABLE)
            for value in ("a: [", "applications: []", REMOVED)
        ],
    ),
    Case(
        "serve-config-without-versions",
        ("serve", "spec.serveConfigV2"),
        [
            versions(
                NAMED.replace("{}", "vigil.deployments.0.user_config.model_version"),
                user_config={"model_version": "3"},
            ),
            versions(
                NAMED.replace("{}", "vigil.deployments.0.user_config.uri"),
                user_config={"uri": "models:/vigil/3"},
            ),
        ],
    ),
    Case(
        "serve-queue-bounded",
        ("serve", "spec.serveConfigV2"),
        [versions(QUEUE, max_queued_requests=-1), versions(QUEUE, max_queued_requests=None)],
    ),
    Case(
        "serve-survives-a-node",
        ("serve", "spec.serveConfigV2"),
        [
            versions(FEW.replace("{}", "1"), autoscaling_config={"min_replicas": 1}),
            versions(FEW.replace("{}", "1"), autoscaling_config=None),
            versions(FEW.replace("{}", "1"), autoscaling_config={"max_replicas": 8}),
        ],
    ),
    Case(
        "argocd-leaves-replicas",
        ("application", "spec.ignoreDifferences"),
        [
            Break(
                "application",
                "spec.ignoreDifferences.0.group",
                "apps",
                FIGHTS.replace(
                    "{}", "ignoreDifferences of ray.io for the replicas of worker groups"
                ),
            ),
            Break(
                "application",
                "spec.ignoreDifferences",
                REMOVED,
                FIGHTS.replace(
                    "{}", "ignoreDifferences of ray.io for the replicas of worker groups"
                ),
            ),
            Break(
                "application",
                "spec.ignoreDifferences.0.jqPathExpressions",
                [".status"],
                FIGHTS.replace(
                    "{}", "ignoreDifferences of ray.io for the replicas of worker groups"
                ),
            ),
            Break(
                "application",
                "spec.syncPolicy.syncOptions",
                ["ServerSideApply=true"],
                FIGHTS.replace("{}", "the sync option RespectIgnoreDifferences=true"),
            ),
        ],
    ),
    Case(
        "argocd-server-side",
        ("application", "spec.syncPolicy.syncOptions"),
        [
            Break(
                "application",
                "spec.syncPolicy.syncOptions",
                ["RespectIgnoreDifferences=true"],
                "KubeRay's CRDs exceed the annotation of client-side apply: add the sync option ServerSideApply=true",
            )
        ],
    ),
]

OLD = "container mlflow: MLflow {}: run the minimum or later, and say so in the label app.kubernetes.io/version"
NO_LOGIN = "container mlflow: anyone who reaches MLflow may change what is served: start it with --app-name basic-auth"
KNOWN = "it holds a password that everyone knows: generate one in Secrets Manager"
KEPT = "container mlflow: runs and models are kept in {}: set --backend-store-uri to a PostgreSQL database"
IN_POD = "container mlflow: artifacts are kept in the pod: set --artifacts-destination or --default-artifact-root to a bucket"
HOSTS = "container mlflow: {}: set --allowed-hosts to the names of its Services"
PICKLE = "it may unpickle a model, which runs code of the model: set MLFLOW_ALLOW_PICKLE_DESERIALIZATION to false"
WATCH = "{}: run drift.monitor:build beside the service, on the same model_name and tracking_uri"
BUDGET = "{}: set train.alertRate in vigil.yaml, within the parameter `most`"
NO_FILE = "a group has no settings file (VIGIL_CONFIG)"
OUT_OF_BOUNDS = "an alert budget of {} is out of bounds"
VERSION_LABEL = "spec.template.metadata.labels.`app.kubernetes.io/version`"


def without_drift() -> str:
    """serveConfigV2 with the service alone."""
    whole = serve_config()
    return yaml.safe_dump({"applications": whole["applications"][:1]})


def other_model() -> str:
    """serveConfigV2 whose monitor watches another model."""
    whole = serve_config()
    whole["applications"][1]["args"] = {**whole["applications"][1]["args"], "model_name": "other"}
    return yaml.safe_dump(whole)


TRACKING = [
    Case(
        "mlflow-version-supported",
        ("mlflow", VERSION_LABEL),
        [
            Break("mlflow", VERSION_LABEL, "3.16.0", OLD.replace("{}", "3.16.0 is too old")),
            Break("mlflow", VERSION_LABEL, REMOVED, OLD.replace("{}", "does not tell its version")),
        ],
    ),
    Case(
        "mlflow-asks-who-is-there",
        ("mlflow", f"{BOX}.args"),
        [Break("mlflow", f"{BOX}.args", ["server", "--port", "5000"], NO_LOGIN)],
    ),
    Case(
        "mlflow-no-default-password",
        ("config", "data.level"),
        [
            Break(
                "mlflow",
                f"{BOX}.env.2.value",
                "password1234",
                f"container mlflow, LOG_LEVEL: {KNOWN}",
            ),
            Break("config", "data.level", "admin_password = password\n", f"level: {KNOWN}"),
            Break(
                "k8s-secret",
                "data.token",
                base64.b64encode(b"password1234").decode(),
                f"token: {KNOWN}",
            ),
            Break(
                "release",
                "values.auth",
                {"adminPassword": "password1234"},
                f"values.auth.adminPassword: {KNOWN}",
            ),
        ],
    ),
    Case(
        "mlflow-on-a-database",
        ("mlflow", f"{BOX}.args"),
        [
            Break(
                "mlflow",
                f"{BOX}.args",
                ["server", "--backend-store-uri", "sqlite:///m.db"],
                KEPT.replace("{}", "SQLite"),
            ),
            Break(
                "mlflow",
                f"{BOX}.env.0",
                {"name": "MLFLOW_BACKEND_STORE_URI", "value": "sqlite:///m.db"},
                KEPT.replace("{}", "SQLite"),
            ),
            Break(
                "mlflow",
                f"{BOX}.env.0",
                {"name": "OTHER", "value": "x"},
                KEPT.replace("{}", "files of its own pod"),
            ),
        ],
    ),
    Case(
        "mlflow-artifacts-in-a-bucket",
        ("mlflow", f"{BOX}.args"),
        [
            Break("mlflow", f"{BOX}.args", ["server"], IN_POD),
            Break("mlflow", f"{BOX}.args", ["server", "--default-artifact-root=/mlruns"], IN_POD),
        ],
    ),
    Case(
        "mlflow-hosts-named",
        ("mlflow", f"{BOX}.args"),
        [
            Break(
                "mlflow",
                f"{BOX}.env.2",
                {"name": "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "value": "true"},
                HOSTS.replace("{}", "the security middleware is off"),
            ),
            Break(
                "mlflow",
                f"{BOX}.args",
                ["server", "--allowed-hosts", "*"],
                HOSTS.replace("{}", "it answers to any host, or to localhost alone"),
            ),
            Break(
                "mlflow",
                f"{BOX}.args",
                ["server"],
                HOSTS.replace("{}", "it answers to any host, or to localhost alone"),
            ),
            Break(
                "mlflow",
                f"{BOX}.args",
                ["server", "--disable-security-middleware"],
                HOSTS.replace("{}", "the security middleware is off"),
            ),
        ],
    ),
    Case(
        "models-never-unpickled",
        ("serve", f"{WORKER_BOX}.env.2.value"),
        [
            Break(
                "mlflow",
                f"{BOX}.env.2.name",
                "MLFLOW_TRACKING_USERNAME",
                f"container mlflow: {PICKLE}",
            ),
            Break(
                "mlflow",
                f"{BOX}.env.2.name",
                "VIGIL_TRAIN_TRACKING_URI",
                f"container mlflow: {PICKLE}",
            ),
            Break(
                "serve",
                f"{WORKER_BOX}.env.2.value",
                "true",
                f"worker group serve, container ray: {PICKLE}",
            ),
            Break(
                "serve",
                f"{WORKER_BOX}.env.2",
                {"name": "X", "value": "y"},
                f"worker group serve, container ray: {PICKLE}",
            ),
        ],
    ),
    Case(
        "drift-reference-configured",
        ("serve", "spec.serveConfigV2"),
        [
            Break(
                "serve",
                "spec.serveConfigV2",
                without_drift(),
                WATCH.replace("{}", "nobody watches for drift"),
            ),
            Break(
                "serve",
                "spec.serveConfigV2",
                other_model(),
                WATCH.replace(
                    "{}",
                    "the monitor's model_name is not the service's, so its reference is another",
                ),
            ),
        ],
    ),
    Case(
        "alert-budget-configured",
        ("settings", "data.`vigil.yaml`"),
        [
            Break(
                "settings",
                "data.`vigil.yaml`",
                "train: {alertRate: 0}",
                BUDGET.replace("{}", OUT_OF_BOUNDS.format("0")),
            ),
            Break(
                "settings",
                "data.`vigil.yaml`",
                "train: {alertRate: .2}",
                BUDGET.replace("{}", OUT_OF_BOUNDS.format("0.2")),
            ),
            Break(
                "settings",
                "data.`vigil.yaml`",
                "serve: {}",
                BUDGET.replace("{}", "no alert budget is stated"),
            ),
            Break(
                "serve",
                f"{WORKER_BOX}.env.4",
                {"name": "X", "value": "y"},
                BUDGET.replace("{}", NO_FILE),
            ),
            Break(
                "settings",
                "data.`vigil.yaml`",
                "",
                BUDGET.replace("{}", "no alert budget is stated"),
            ),
        ],
    ),
    Case(
        "labels-complete",
        ("mlflow", "metadata.labels"),
        [
            Break(
                "mlflow",
                "metadata",
                metadata("mlflow", labels={}),
                f"labels {', '.join(LABELS)} are missing: add them to metadata.labels",
            ),
            Break(
                "serve",
                "metadata.labels.`app.kubernetes.io/name`",
                REMOVED,
                "labels app.kubernetes.io/name are missing: add them to metadata.labels",
            ),
        ],
    ),
]

KUBERNETES_CASES = [*WORKLOAD, *NETWORK, *IMAGES, *RAY, *TRACKING]
