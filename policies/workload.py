"""Pods: the Kubernetes Pod Security Standards, rule by rule, and what they leave out."""

from __future__ import annotations

from collections.abc import Iterator

from policies.cel import Cel, as_cel
from policies.checks import names_of
from policies.params import strings
from policies.pods import (
    Container,
    autoscales,
    each_container,
    each_container_spec,
    each_pod,
    is_ray,
    namespace_of,
)
from policies.resource_types import (
    KUBE_CONFIG_MAP,
    KUBE_NAMESPACE,
    KUBE_SECRETS,
    KUBE_SERVICE,
    POD_TYPES,
)
from policies.rule import Violation, forbids, requires, rule
from policies.subjects import Context, Props, Resource, is_default, list_at, props_at, value_at

_PSS = "Kubernetes Pod Security Standards"
_ENFORCED_LEVEL = "pod-security.kubernetes.io/enforce"


def _security(key: str) -> str:
    """Return the security setting of a container, or else of its pod, in CEL."""
    return f"it.props.?securityContext.?{key}.or(it.pod.?securityContext.?{key})"


pod_not_privileged = forbids(
    POD_TYPES,
    "securityContext.privileged",
    True,
    name="pod-not-privileged",
    description="No container runs privileged.",
    each=each_container_spec,
    message="it is privileged: set securityContext.privileged to false",
    fix="Drop privileged; give the one capability that is needed, if any.",
    severity="critical",
    standard=(f"{_PSS} baseline/privileged-containers", "CIS EKS 1.7.0 4.2.1"),
)


@rule(
    *POD_TYPES,
    each=each_pod,
    message="it shares {} with the node: remove the setting",
    fix="Remove hostNetwork, hostPID and hostIPC.",
    severity="critical",
    standard=(
        f"{_PSS} baseline/host-namespaces",
        "CIS EKS 1.7.0 4.2.2",
        "CIS EKS 1.7.0 4.2.3",
        "CIS EKS 1.7.0 4.2.4",
    ),
    cel=Cel(
        found='["hostNetwork", "hostPID", "hostIPC"]'
        '.filter(k, it.props[?k].orValue(false) == true).join(", ")'
    ),
)
def pod_no_host_namespaces(pod: Props, _: Context) -> Violation:
    """No pod shares the network, processes or memory of its node."""
    return ", ".join(key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key) is True)


@rule(
    *POD_TYPES,
    each=each_pod,
    message="volume {} is a folder of the node: use an emptyDir, a claim or a CSI volume",
    fix="Replace hostPath volumes.",
    severity="high",
    standard=f"{_PSS} baseline/hostpath-volumes",
    cel=Cel(
        found='it.props.?volumes.orValue([]).filter(v, has(v.hostPath)).map(v, v.name).join(", ")'
    ),
)
def pod_no_host_paths(pod: Props, _: Context) -> Violation:
    """No pod mounts folders of its node."""
    return names_of([volume for volume in list_at(pod, "volumes") if volume.get("hostPath")])


@rule(
    *POD_TYPES,
    each=each_container_spec,
    message="it takes port {} of the node: remove hostPort",
    fix="Remove hostPort; use a Service.",
    severity="medium",
    standard=f"{_PSS} baseline/host-ports",
    cel=Cel(
        found="it.props.?ports.orValue([]).filter(p, p.?hostPort.orValue(0) != 0)"
        '.map(p, string(int(p.hostPort))).join(", ")'
    ),
)
def pod_no_host_ports(container: Props, _: Context) -> Violation:
    """No container takes a port of its node."""
    host_ports = [port.get("hostPort") for port in list_at(container, "ports")]
    return ", ".join(str(int(port)) for port in host_ports if port)


pod_no_privilege_escalation = requires(
    POD_TYPES,
    "securityContext.allowPrivilegeEscalation",
    False,
    name="pod-no-privilege-escalation",
    description="No process gains more privileges than its parent.",
    each=each_container_spec,
    message="it may gain privileges: set securityContext.allowPrivilegeEscalation to false",
    fix="Set allowPrivilegeEscalation to false in every container.",
    severity="high",
    standard=(f"{_PSS} restricted/privilege-escalation", "CIS EKS 1.7.0 4.2.5"),
)


@rule(
    *POD_TYPES,
    each=each_container_spec,
    message="it keeps capabilities that it does not need: set securityContext.capabilities.drop to"
    " [ALL], and add {}",
    fix="Drop ALL; NET_BIND_SERVICE alone may be added.",
    severity="medium",
    standard=f"{_PSS} restricted/capabilities",
    cel=Cel(
        '!("ALL" in it.props.?securityContext.?capabilities.?drop.orValue([]))'
        " || !it.props.?securityContext.?capabilities.?add.orValue([])"
        '.all(c, c == "NET_BIND_SERVICE")',
        found='"NET_BIND_SERVICE at most"',
    ),
)
def pod_capabilities_dropped(container: Props, _: Context) -> Violation:
    """A container drops all capabilities and adds NET_BIND_SERVICE at most."""
    dropped = list(list_at(container, "securityContext.capabilities.drop"))
    added = set(list_at(container, "securityContext.capabilities.add"))
    is_restricted = "ALL" in dropped and added <= {"NET_BIND_SERVICE"}
    return None if is_restricted else "NET_BIND_SERVICE at most"


@rule(
    *POD_TYPES,
    each=each_container,
    message="it may run as root: set securityContext.runAsNonRoot to true, and no runAsUser of 0",
    fix="Give the image a user of its own and set runAsNonRoot for the pod.",
    severity="high",
    standard=f"{_PSS} restricted/running-as-non-root",
    cel=Cel(
        f"{_security('runAsNonRoot')}.orValue(false) != true"
        f" || int({_security('runAsUser')}.orValue(1)) == 0"
    ),
)
def pod_non_root(container: Container, _: Context) -> Violation:
    """No container runs as root."""
    user = container.security("runAsUser")
    is_root = user is not None and int(user) == 0
    return container.security("runAsNonRoot") is not True or is_root


@rule(
    *POD_TYPES,
    each=each_container,
    message="all system calls are allowed: set securityContext.seccompProfile.type to"
    " RuntimeDefault",
    fix="Set the seccomp profile RuntimeDefault for the pod.",
    severity="medium",
    standard=f"{_PSS} restricted/seccomp",
    cel=Cel(
        f'!({_security("seccompProfile")}.?type.orValue("") in ["RuntimeDefault", "Localhost"])'
    ),
)
def pod_seccomp(container: Container, _: Context) -> Violation:
    """A container's system calls are filtered."""
    profile = container.security("seccompProfile") or {}
    return profile.get("type") not in ("RuntimeDefault", "Localhost")


@rule(
    *POD_TYPES,
    each=each_container_spec,
    message="{} is missing: one pod could take the whole node",
    fix="Set requests for CPU and memory, and a memory limit (equal to the request for Ray).",
    severity="high",
    cel=Cel(
        found='(["cpu", "memory"].filter(k, !it.props.?resources.?requests[?k].hasValue()'
        " && !it.props.?resources.?limits[?k].hasValue())"
        '.map(k, "resources.requests." + k) + (it.props.?resources.?limits.?memory.hasValue()'
        ' ? [] : ["resources.limits.memory"])).join(", ")'
    ),
)
def pod_resources(container: Props, _: Context) -> Violation:
    """A container states what it needs and the most memory that it may take."""
    requests = props_at(container, "resources.requests")
    limits = props_at(container, "resources.limits")
    unstated = [key for key in ("cpu", "memory") if not (requests.get(key) or limits.get(key))]
    missing = [f"resources.requests.{key}" for key in unstated]
    if not limits.get("memory"):
        missing.append("resources.limits.memory")
    return ", ".join(missing)


@rule(
    *POD_TYPES,
    KUBE_SERVICE,
    KUBE_CONFIG_MAP,
    KUBE_SECRETS,
    message="it lands in the default namespace: set metadata.namespace",
    fix="Name a namespace; the default one has neither network policies nor Pod Security.",
    severity="medium",
    standard="CIS EKS 1.7.0 4.5.2",
    without_cel="the API server is told to judge Vigil's namespaces alone",
)
def not_in_default_namespace(props: Props, _: Context) -> Violation:
    """Nothing is put into the default namespace."""
    return namespace_of(props) == "default"


@rule(
    KUBE_NAMESPACE,
    message="pods of any kind are admitted: set the label pod-security.kubernetes.io/enforce to"
    " restricted",
    fix="Label the namespace; namespaces of node agents go into the parameter `exempt`.",
    severity="high",
    standard="CIS EKS 1.7.0 4.2.1",
    params={"exempt": strings("namespaces whose pods watch the nodes", ["kube-system"])},
    cel=Cel(
        "!(it.props.metadata.name in variables.params.exempt)"
        f" && it.props.metadata.?labels[?{as_cel(_ENFORCED_LEVEL)}].orValue('') != 'restricted'"
    ),
)
def namespace_restricted(namespace: Props, context: Context) -> Violation:
    """A namespace admits restricted pods alone."""
    name = value_at(namespace, "metadata.name") or context.resource.name
    if name in list(context.params["exempt"]):
        return None
    return props_at(namespace, "metadata.labels").get(_ENFORCED_LEVEL) != "restricted"


pod_read_only = requires(
    POD_TYPES,
    "securityContext.readOnlyRootFilesystem",
    True,
    name="pod-read-only",
    description="A container cannot change its own program files.",
    each=each_container_spec,
    message="its root file system is writable: set securityContext.readOnlyRootFilesystem to true"
    " and mount what it writes",
    fix="Make the root file system read-only; mount emptyDir at /tmp and where the program writes.",
    severity="medium",
    level="advisory",
)


@rule(
    *POD_TYPES,
    each=each_pod,
    message="volume {} may fill the disk that all pods of its node share: set emptyDir.sizeLimit",
    fix="State how much is written; a pod that writes more is evicted alone.",
    severity="low",
    level="advisory",
    cel=Cel(
        found="it.props.?volumes.orValue([])"
        ".filter(v, has(v.emptyDir) && !has(v.emptyDir.sizeLimit))"
        '.map(v, v.name).join(", ")'
    ),
)
def pod_scratch_bounded(pod: Props, _: Context) -> Violation:
    """A pod's scratch space has an end."""
    volumes = list_at(pod, "volumes")
    scratch = [volume for volume in volumes if volume.get("emptyDir") is not None]
    return names_of([volume for volume in scratch if not volume["emptyDir"].get("sizeLimit")])


def each_pod_with_own_account(resource: Resource) -> Iterator[tuple[str, Props]]:
    """Yield pods whose service account is theirs to choose.

    KubeRay gives the head of an autoscaling cluster its own.
    """
    has_operators_account = is_ray(resource) and autoscales(resource)
    for place, pod in each_pod(resource):
        if not (has_operators_account and place == "head"):
            yield place, pod


@rule(
    *POD_TYPES,
    each=each_pod_with_own_account,
    message="the pod holds a token for the Kubernetes API: set automountServiceAccountToken to"
    " false, or name the service account that needs it",
    fix="Set automountServiceAccountToken to false; a pod that calls the API gets a service account"
    " of its own.",
    severity="medium",
    standard=("CIS EKS 1.7.0 4.1.6", "CIS EKS 1.7.0 4.1.5"),
    level="advisory",
    cel=Cel(
        "it.props.?automountServiceAccountToken.orValue(true) != false"
        ' && it.props.?serviceAccountName.orValue("") in ["", "default"]'
    ),
)
def pod_no_idle_token(pod: Props, _: Context) -> Violation:
    """A pod holds a token for the Kubernetes API only where it was given an account of its own."""
    has_token = pod.get("automountServiceAccountToken") is not False
    return has_token and is_default(pod, "serviceAccountName", "default")
