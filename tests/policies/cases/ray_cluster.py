"""Cases of the rules of policies/ray_cluster.py."""

from __future__ import annotations

from tests.policies.cases.paths import HEAD, WORKER, WORKER_BOX
from tests.policies.table import REMOVED, Break, Case

REACHED = (
    "port {} can be reached from outside, and whoever reaches it runs code here: route to the"
    " Serve port alone"
)
HEAD_OPEN = (
    "head: its Service opens dashboard, client and GCS to the outside: set serviceType to"
    " ClusterIP and enableIngress to false"
)
OLD_RAY = "Ray {} has no usable authentication: set rayVersion to the minimum or later"
NO_TOKEN = "anyone in the network may submit jobs: set authOptions.mode to token"
EVICTED = (
    "head: an autoscaler may evict it to save a node: annotate the pod "
    "karpenter.sh/do-not-disrupt: 'true' or cluster-autoscaler.kubernetes.io/safe-to-evict: 'false'"
)
KILLED = "{}: it is killed while it still drains: set terminationGracePeriodSeconds to {} or more"
DIFFERS = (
    "worker group serve: {} differs from the head's: set it alike on the head and on every worker"
    " group"
)
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

RAY_CLUSTER_CASES = [
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
                "worker group serve: its image other:1.0.0 is not the head's: head and workers"
                " must run the same image",
            )
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
]
