"""Cases of the rules of policies/workload.py."""

from __future__ import annotations

from typing import Any

from tests.policies.cases.paths import BOX, HEAD, POD, WORKER, WORKER_BOX
from tests.policies.table import REMOVED, Break, Case

SECURE = f"{BOX}.securityContext"
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
    "the pod holds a token for the Kubernetes API: set automountServiceAccountToken to false, or"
    " name the service account that needs it"
)
MISSING = "{} is missing: one pod could take the whole node"
WIDE = "volume tmp may fill the disk that all pods of its node share: set emptyDir.sizeLimit"
WRITABLE = (
    "its root file system is writable: set securityContext.readOnlyRootFilesystem to true and"
    " mount what it writes"
)

WORKLOAD_CASES = [
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
                "pods of any kind are admitted: set the label pod-security.kubernetes.io/enforce"
                " to restricted",
            )
            for value in (REMOVED, {"pod-security.kubernetes.io/enforce": "baseline"})
        ],
    ),
]
