"""Pods: the Kubernetes Pod Security Standards, rule by rule, and what they leave out."""

from __future__ import annotations

from typing import Any

from policies.pods import PODS, Container, containers, namespace_of, pods, ray_cluster
from policies.rule import Context, Found, Props, Resource, Subjects, rule

PSS = "Kubernetes Pod Security Standards"


def _own_accounts(resource: Resource) -> Subjects:
    """Pods whose service account is theirs to choose: KubeRay gives the head of an autoscaling cluster its own."""
    scales = (
        resource.type.startswith("kubernetes:ray.io/")
        and ray_cluster(resource).get("enableInTreeAutoscaling") is True
    )
    yield from (each for each in pods(resource) if not (scales and each[0] == "head"))


def _context(container: Container, key: str) -> Any:
    """A security setting of the container, or else of its pod."""
    own = (container.props.get("securityContext") or {}).get(key)
    return own if own is not None else (container.pod.get("securityContext") or {}).get(key)


@rule(
    *PODS,
    each=containers,
    message="it is privileged: set securityContext.privileged to false",
    fix="Drop privileged; give the one capability that is needed, if any.",
    severity="critical",
    standard=(f"{PSS} baseline/privileged-containers", "CIS EKS 1.7.0 4.2.1"),
)
def pod_not_privileged(container: Container, _: Context) -> Found:
    """No container runs privileged."""
    return (container.props.get("securityContext") or {}).get("privileged") is True


@rule(
    *PODS,
    each=pods,
    message="it shares {} with the node: remove the setting",
    fix="Remove hostNetwork, hostPID and hostIPC.",
    severity="critical",
    standard=(
        f"{PSS} baseline/host-namespaces",
        "CIS EKS 1.7.0 4.2.2",
        "CIS EKS 1.7.0 4.2.3",
        "CIS EKS 1.7.0 4.2.4",
    ),
)
def pod_no_host_namespaces(pod: Props, _: Context) -> Found:
    """No pod shares the network, processes or memory of its node."""
    return ", ".join(key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key) is True)


@rule(
    *PODS,
    each=pods,
    message="volume {} is a folder of the node: use an emptyDir, a claim or a CSI volume",
    fix="Replace hostPath volumes.",
    severity="high",
    standard=f"{PSS} baseline/hostpath-volumes",
)
def pod_no_host_paths(pod: Props, _: Context) -> Found:
    """No pod mounts folders of its node."""
    return ", ".join(
        str(volume.get("name")) for volume in pod.get("volumes") or () if volume.get("hostPath")
    )


@rule(
    *PODS,
    each=containers,
    message="it takes port {} of the node: remove hostPort",
    fix="Remove hostPort; use a Service.",
    severity="medium",
    standard=f"{PSS} baseline/host-ports",
)
def pod_no_host_ports(container: Container, _: Context) -> Found:
    """No container takes a port of its node."""
    return ", ".join(
        str(int(port["hostPort"]))
        for port in container.props.get("ports") or ()
        if port.get("hostPort")
    )


@rule(
    *PODS,
    each=containers,
    message="it may gain privileges: set securityContext.allowPrivilegeEscalation to false",
    fix="Set allowPrivilegeEscalation to false in every container.",
    severity="high",
    standard=(f"{PSS} restricted/privilege-escalation", "CIS EKS 1.7.0 4.2.5"),
)
def pod_no_privilege_escalation(container: Container, _: Context) -> Found:
    """No process gains more privileges than its parent."""
    return (container.props.get("securityContext") or {}).get(
        "allowPrivilegeEscalation"
    ) is not False


@rule(
    *PODS,
    each=containers,
    message="it keeps capabilities that it does not need: set securityContext.capabilities.drop to [ALL], and add {}",
    fix="Drop ALL; NET_BIND_SERVICE alone may be added.",
    severity="medium",
    standard=f"{PSS} restricted/capabilities",
)
def pod_capabilities_dropped(container: Container, _: Context) -> Found:
    """A container drops all capabilities and adds NET_BIND_SERVICE at most."""
    found = (container.props.get("securityContext") or {}).get("capabilities") or {}
    dropped, added = list(found.get("drop") or ()), set(found.get("add") or ())
    return (
        None if "ALL" in dropped and added <= {"NET_BIND_SERVICE"} else "NET_BIND_SERVICE at most"
    )


@rule(
    *PODS,
    each=containers,
    message="it may run as root: set securityContext.runAsNonRoot to true, and no runAsUser of 0",
    fix="Give the image a user of its own and set runAsNonRoot for the pod.",
    severity="high",
    standard=f"{PSS} restricted/running-as-non-root",
)
def pod_non_root(container: Container, _: Context) -> Found:
    """No container runs as root."""
    user = _context(container, "runAsUser")
    return _context(container, "runAsNonRoot") is not True or (user is not None and int(user) == 0)


@rule(
    *PODS,
    each=containers,
    message="all system calls are allowed: set securityContext.seccompProfile.type to RuntimeDefault",
    fix="Set the seccomp profile RuntimeDefault for the pod.",
    severity="medium",
    standard=f"{PSS} restricted/seccomp",
)
def pod_seccomp(container: Container, _: Context) -> Found:
    """A container's system calls are filtered."""
    return (_context(container, "seccompProfile") or {}).get("type") not in (
        "RuntimeDefault",
        "Localhost",
    )


@rule(
    *PODS,
    each=containers,
    message="its root file system is writable: set securityContext.readOnlyRootFilesystem to true and mount what it writes",
    fix="Make the root file system read-only; mount emptyDir at /tmp and where the program writes.",
    severity="medium",
)
def pod_read_only(container: Container, _: Context) -> Found:
    """A container cannot change its own program files."""
    return (container.props.get("securityContext") or {}).get("readOnlyRootFilesystem") is not True


@rule(
    *PODS,
    each=containers,
    message="{} is missing: one pod could take the whole node",
    fix="Set requests for CPU and memory, and a memory limit (equal to the request for Ray).",
    severity="high",
)
def pod_resources(container: Container, _: Context) -> Found:
    """A container states what it needs and the most memory that it may take."""
    resources = container.props.get("resources") or {}
    requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
    missing = [
        f"resources.requests.{key}"
        for key in ("cpu", "memory")
        if not (requests.get(key) or limits.get(key))
    ]
    return ", ".join([*missing, *([] if limits.get("memory") else ["resources.limits.memory"])])


@rule(
    *PODS,
    each=pods,
    message="volume {} may fill the disk that all pods of its node share: set emptyDir.sizeLimit",
    fix="State how much is written; a pod that writes more is evicted alone.",
    severity="low",
)
def pod_scratch_bounded(pod: Props, _: Context) -> Found:
    """A pod's scratch space has an end."""
    scratch = [volume for volume in pod.get("volumes") or () if volume.get("emptyDir") is not None]
    wide = [volume for volume in scratch if not volume["emptyDir"].get("sizeLimit")]
    return ", ".join(str(volume.get("name")) for volume in wide)


@rule(
    *PODS,
    each=_own_accounts,
    message="the pod holds a token for the Kubernetes API: set automountServiceAccountToken to false, or name the service account"
    " that needs it",
    fix="Set automountServiceAccountToken to false; a pod that calls the API gets a service account of its own.",
    severity="medium",
    standard=("CIS EKS 1.7.0 4.1.6", "CIS EKS 1.7.0 4.1.5"),
)
def pod_no_idle_token(pod: Props, _: Context) -> Found:
    """A pod holds a token for the Kubernetes API only where it was given an account of its own."""
    return (
        pod.get("automountServiceAccountToken") is not False
        and (pod.get("serviceAccountName") or "default") == "default"
    )


@rule(
    *PODS,
    "kubernetes:core/*:Service",
    "kubernetes:core/*:ConfigMap",
    "kubernetes:core/*:Secret",
    message="it lands in the default namespace: set metadata.namespace",
    fix="Name a namespace; the default one has neither network policies nor Pod Security.",
    severity="medium",
    standard="CIS EKS 1.7.0 4.5.2",
)
def not_in_default_namespace(props: Props, _: Context) -> Found:
    """Nothing is put into the default namespace."""
    return namespace_of(props) == "default"


@rule(
    "kubernetes:core/*:Namespace",
    message="pods of any kind are admitted: set the label pod-security.kubernetes.io/enforce to restricted",
    fix="Label the namespace; namespaces of node agents go into the parameter `exempt`.",
    severity="high",
    standard="CIS EKS 1.7.0 4.2.1",
    params={
        "exempt": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["kube-system"],
            "description": "namespaces whose pods watch the nodes",
        }
    },
)
def namespace_restricted(namespace: Props, context: Context) -> Found:
    """A namespace admits restricted pods alone."""
    metadata = namespace.get("metadata") or {}
    if (metadata.get("name") or context.resource.name) in list(context.params["exempt"]):
        return None
    return (metadata.get("labels") or {}).get("pod-security.kubernetes.io/enforce") != "restricted"
