"""Ray on Kubernetes: what KubeRay would start, and what its own defaults would open."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from policies.network import backend_ports, is_exposed
from policies.params import integer, integers_or_strings, strings, text
from policies.pods import Env, Group, autoscales, namespace_of, ray_cluster, ray_groups
from policies.resource_types import KUBE_INGRESS, KUBE_SERVICE, RAY_SERVICE_TYPE, RAY_TYPES
from policies.rule import Violation, requires, rule
from policies.subjects import Context, Props, Resource, Subjects, list_at, props_at, value_at

_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
# What Vigil's own Ray pods carry.
_COMPONENT_LABEL = "app.kubernetes.io/component"
_RAY_COMPONENTS = ("serve-head", "serve-worker", "monitor", "train-head", "train-worker")
_MIN_DRAINING = "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"
_HARD_STOP = "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"
_INNER_PORTS = (
    8265,
    10001,
    6379,
    8404,
    5000,
    "dashboard",
    "client",
    "gcs-server",
    "gcs",
    "redis",
    "stats",
    "mlflow",
)


def each_cluster(resource: Resource) -> Subjects:
    """Yield the RayCluster spec as the only subject."""
    yield "", ray_cluster(resource)


def each_group(resource: Resource) -> Iterator[tuple[str, Group]]:
    """Yield (place, group) of the head and of every worker group."""
    for group in ray_groups(resource):
        yield group.place, group


def each_head(resource: Resource) -> Iterator[tuple[str, Group]]:
    """Yield (place, group) of the head alone."""
    for group in ray_groups(resource):
        if group.is_head:
            yield group.place, group


def each_worker_group(resource: Resource) -> Iterator[tuple[str, Group]]:
    """Yield (place, group) of every worker group; the head has no request to finish."""
    for group in ray_groups(resource):
        if not group.is_head:
            yield group.place, group


def parse_version(text: str) -> tuple[int, ...]:
    """Return `v2.60.0-py312` as (2, 60, 0); nothing where there is no version."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in match.groups(default="0")) if match else ()


@rule(
    KUBE_SERVICE,
    KUBE_INGRESS,
    "kubernetes:gateway.networking.k8s.io/*:HTTPRoute",
    message="port {} can be reached from outside, and whoever reaches it runs code here: route to"
    " the Serve port alone",
    fix="Keep these ports on ClusterIP Services; use kubectl port-forward, or an internal load"
    " balancer behind a login.",
    severity="critical",
    stack=True,
    params={
        "ports": integers_or_strings(
            "ports and port names that stay inside: Ray's dashboard, client and GCS, HAProxy's"
            " statistics, MLflow",
            _INNER_PORTS,
        )
    },
)
def ray_ports_inside(_: Props, context: Context) -> Violation:
    """Ray's dashboard, client and GCS, HAProxy's statistics and MLflow are never on a public load
    balancer (ShadowRay)."""
    if not is_exposed(context.resource):
        return None
    inner = list(context.params["ports"])
    reachable = dict.fromkeys(map(_as_port, backend_ports(context.resource, context.stack)))
    return ", ".join(str(port) for port in reachable if port in inner)


def _as_port(port: float | str) -> int | str:
    """Return a port without the decimals that it got on its way."""
    return int(port) if isinstance(port, float) else port


@rule(
    *RAY_TYPES,
    each=each_head,
    message="its Service opens dashboard, client and GCS to the outside: set serviceType to"
    " ClusterIP and enableIngress to false",
    fix="Leave serviceType and enableIngress out of headGroupSpec.",
    severity="critical",
)
def ray_head_inside(head: Group, _: Context) -> Violation:
    """The Service of Ray's head, with all its ports, stays inside the cluster."""
    is_inside = (head.props.get("serviceType") or "ClusterIP") == "ClusterIP"
    return not is_inside or head.props.get("enableIngress") is True


@rule(
    *RAY_TYPES,
    message="Ray {} has no usable authentication: set rayVersion to the minimum or later",
    fix="Upgrade Ray, in the image and in rayVersion alike.",
    severity="critical",
    params={"minimum": text("first Ray version that may run", "2.55.0")},
)
def ray_version_supported(_: Props, context: Context) -> Violation:
    """Ray is new enough to ask for a token (CVE-2023-48022)."""
    version = str(ray_cluster(context.resource).get("rayVersion") or "")
    if parse_version(version) >= parse_version(context.params["minimum"]):
        return None
    return version or "(no rayVersion)"


ray_asks_for_a_token = requires(
    RAY_TYPES,
    "authOptions.mode",
    "token",
    name="ray-asks-for-a-token",
    description="Ray's dashboard, jobs and GCS ask for a token.",
    each=each_cluster,
    message="anyone in the network may submit jobs: set authOptions.mode to token",
    fix='Set authOptions: {"mode": "token"}; KubeRay makes the Secret.',
    severity="critical",
)


@rule(
    *RAY_TYPES,
    each=each_group,
    message="its image {} is not the head's: head and workers must run the same image",
    fix="Give every group the head's image; Ray refuses other versions, and pickles of other"
    " Pythons fail.",
    severity="high",
)
def ray_one_image(group: Group, context: Context) -> Violation:
    """Head and workers run one image."""
    own = _image(group)
    heads = [_image(each) for each in ray_groups(context.resource) if each.is_head]
    return None if group.is_head or own in heads else own


def _image(group: Group) -> str:
    container = group.ray_container
    return str(container.get("image")) if container else ""


@rule(
    *RAY_TYPES,
    each=each_head,
    message="an autoscaler may evict it to save a node: annotate the pod"
    " karpenter.sh/do-not-disrupt: 'true' or"
    " cluster-autoscaler.kubernetes.io/safe-to-evict: 'false'",
    fix="Annotate the pod template of headGroupSpec.",
    severity="high",
)
def ray_head_not_evicted(head: Group, _: Context) -> Violation:
    """No autoscaler moves Ray's head."""
    annotations = props_at(head.template, "metadata.annotations")
    may_disrupt = str(annotations.get("karpenter.sh/do-not-disrupt")).lower() != "true"
    safe_to_evict = annotations.get("cluster-autoscaler.kubernetes.io/safe-to-evict")
    return may_disrupt and str(safe_to_evict).lower() != "false"


@rule(
    RAY_SERVICE_TYPE,
    each=each_worker_group,
    message="it is killed while it still drains: set terminationGracePeriodSeconds to {} or more",
    fix=f"Give the pod longer than {_MIN_DRAINING} and {_HARD_STOP}.",
    severity="high",
    params={"seconds": integer("shortest grace period of Serve pods", 60, minimum=30)},
)
def ray_drains_in_peace(group: Group, context: Context) -> Violation:
    """A Serve worker lives longer than its drain."""
    needed = max(int(context.params["seconds"]), math.ceil(_drain_s(group.env)) + 10)
    grace = group.pod.get("terminationGracePeriodSeconds")
    return str(needed) if grace is None or int(grace) < needed else None


def _drain_s(env: Env) -> float:
    """Return the seconds that a replica, or the proxy before it, drains at most."""
    drain = float(str(env.get(_MIN_DRAINING) or 30))
    if env.get("RAY_SERVE_ENABLE_HA_PROXY") != "1":
        return drain
    return max(drain, float(str(env.get(_HARD_STOP) or 120)))


@rule(
    RAY_SERVICE_TYPE,
    each=each_group,
    message="{} differs from the head's: set it alike on the head and on every worker group",
    fix="Render the environment of all groups from one place; not in runtime_env, which the"
    " controller reads too late.",
    severity="high",
    params={
        "variables": strings(
            "switches that must agree",
            ["RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED"],
        )
    },
)
def ray_haproxy_agrees(group: Group, context: Context) -> Violation:
    """The switch to HAProxy is the same on head and workers."""
    heads = [each.env for each in ray_groups(context.resource) if each.is_head]
    head = heads[0] if heads else Env({})
    own = group.env
    variables = context.params["variables"]
    return ", ".join(name for name in variables if own.get(name) != head.get(name))


@rule(
    *RAY_TYPES,
    each=each_head,
    message="its autoscaler dies without a token for the Kubernetes API, and no worker is made:"
    f" mount a projected serviceAccountToken at {_ACCOUNT_FOLDER} by"
    " autoscalerOptions.volumeMounts, or set automountServiceAccountToken to true on the"
    " head's pod",
    fix="Give the token to the autoscaler's container; jobs run on the head too and need none.",
    severity="high",
    stack=True,
)
def ray_autoscaler_has_token(head: Group, context: Context) -> Violation:
    """The autoscaler beside Ray's head can ask Kubernetes for workers."""
    if not autoscales(context.resource) or _mounts_token(head, context):
        return None
    is_mounted = head.pod.get("automountServiceAccountToken")
    if is_mounted is None:  # what the account says holds where the pod says nothing
        is_mounted = _account(head.pod, context).get("automountServiceAccountToken")
    return is_mounted is False


def _mounts_token(head: Group, context: Context) -> bool:
    """Return whether a token is mounted in the autoscaler where a client looks for one."""
    mounts = list_at(ray_cluster(context.resource), "autoscalerOptions.volumeMounts")
    names = [mount.get("name") for mount in mounts if mount.get("mountPath") == _ACCOUNT_FOLDER]
    volumes = list_at(head.pod, "volumes")
    return any(_holds_token(volume) for volume in volumes if volume.get("name") in names)


def _holds_token(volume: Props) -> bool:
    sources = list_at(volume, "projected.sources")
    return any(source.get("serviceAccountToken") for source in sources)


def _account(pod: Props, context: Context) -> Props:
    """Return the service account of a pod, where it is of this stack."""
    key = (namespace_of(context.resource.props), pod.get("serviceAccountName"))
    for account in context.stack.of("kubernetes:core/*:ServiceAccount"):
        if (namespace_of(account.props), account.value("metadata.name")) == key:
            return account.props
    return {}


@rule(
    RAY_SERVICE_TYPE,
    each=each_head,
    message="no port of its container is named serve: KubeRay makes the serve service from it, and"
    " without one the RayService is never ready",
    fix='Name the port in the Ray container of the head: {"name": "serve", "containerPort": 8000}.',
    severity="high",
)
def ray_head_names_serve_port(head: Group, _: Context) -> Violation:
    """KubeRay finds the port of the service on the head."""
    names = [port.get("name") for port in list_at(head.ray_container, "ports")]
    return "serve" not in names


@rule(
    "kubernetes:policy/*:PodDisruptionBudget",
    message="its pods are of a RayCluster, which has no scale to count from, so none is evicted:"
    " set minAvailable to a number in place of {}",
    fix="State minAvailable as an integer; shares and maxUnavailable need a Deployment or such.",
    severity="high",
)
def ray_budget_counts_pods(budget: Props, _: Context) -> Violation:
    """A disruption budget over Ray's pods is one that Kubernetes can compute: drains go on."""
    if not _selects_ray(props_at(budget, "spec.selector.matchLabels")):
        return None
    unavailable = value_at(budget, "spec.maxUnavailable")
    if unavailable is not None:
        return f"maxUnavailable {_as_plain(unavailable)}"
    available = value_at(budget, "spec.minAvailable")
    is_number = not isinstance(available, str) or available.isdigit()
    return None if is_number else f"minAvailable {available}"


def _selects_ray(labels: Props) -> bool:
    is_of_kuberay = any(str(label).startswith("ray.io/") for label in labels)  # on every pod
    return is_of_kuberay or labels.get(_COMPONENT_LABEL) in _RAY_COMPONENTS


def _as_plain(value: Any) -> str:
    """Return a number without the decimals that it got on its way."""
    return f"{value:g}" if isinstance(value, float) else str(value)


@rule(
    *RAY_TYPES,
    each=each_head,
    message='it takes work like any worker: set rayStartParams["num-cpus"] to "0"',
    fix='Set num-cpus to "0" on the head; replicas and training then run on workers.',
    severity="medium",
    level="advisory",
)
def ray_head_without_work(head: Group, _: Context) -> Violation:
    """Ray's head does nothing but lead."""
    return str(value_at(head.props, "rayStartParams.num-cpus")) != "0"


@rule(
    RAY_SERVICE_TYPE,
    message="the loss of the head's pod takes every replica along: set gcsFaultToleranceOptions",
    fix="Give the GCS a Redis (ElastiCache) in gcsFaultToleranceOptions.",
    severity="medium",
    level="advisory",
)
def ray_head_recovers(_: Props, context: Context) -> Violation:
    """Serving goes on while Ray's head restarts."""
    return not ray_cluster(context.resource).get("gcsFaultToleranceOptions")
