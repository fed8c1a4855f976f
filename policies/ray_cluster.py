"""Ray on Kubernetes: what KubeRay would start, and what its own defaults would open."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from policies.cel import Cel, as_cel, has_version, version_of
from policies.network import backend_ports, is_exposed
from policies.params import integers_or_strings, text
from policies.pods import Group, autoscales, namespace_of, ray_cluster, ray_groups
from policies.resource_types import KUBE_INGRESS, KUBE_SERVICE, RAY_TYPES
from policies.rule import Violation, requires, rule
from policies.subjects import (
    Context,
    Props,
    Resource,
    Subjects,
    is_default,
    list_at,
    props_at,
    value_at,
)

_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
# What Vigil's own Ray pods carry.
_COMPONENT_LABEL = "app.kubernetes.io/component"
_RAY_COMPONENTS = ("serve-head", "serve-worker", "monitor", "train-head", "train-worker")
_RAY_VERSION = 'variables.cluster.?rayVersion.orValue("")'
_IMAGE = '{}.ray.?image.orValue("")'
_TEMPLATE_ANNOTATIONS = "it.props.?template.?metadata.?annotations"
_SELECTS_RAY = (
    "it.props.spec.?selector.?matchLabels.orValue({})"
    '.exists(k, k.startsWith("ray.io/")) || it.props.spec.?selector.?matchLabels'
    f'[?{as_cel(_COMPONENT_LABEL)}].orValue("") in {as_cel(_RAY_COMPONENTS)}'
)
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
    cel=Cel(
        'it.props.?serviceType.orValue("ClusterIP") != "ClusterIP"'
        " || it.props.?enableIngress.orValue(false) == true"
    ),
)
def ray_head_inside(head: Group, _: Context) -> Violation:
    """The Service of Ray's head, with all its ports, stays inside the cluster."""
    is_inside = is_default(head.props, "serviceType", "ClusterIP")
    return not is_inside or head.props.get("enableIngress") is True


@rule(
    *RAY_TYPES,
    message="Ray {} has no usable authentication: set rayVersion to the minimum or later",
    fix="Upgrade Ray, in the image and in rayVersion alike.",
    severity="critical",
    params={"minimum": text("first Ray version that may run", "2.55.0")},
    cel=Cel(
        f"!{has_version(_RAY_VERSION)}"
        f" || {version_of(_RAY_VERSION)} < {version_of('variables.params.minimum')}",
        found=f'{_RAY_VERSION} == "" ? "(no rayVersion)" : {_RAY_VERSION}',
    ),
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
    cel=Cel(
        f"!it.head && !({_IMAGE.format('it')} in"
        f" variables.groups.filter(g, g.head).map(g, {_IMAGE.format('g')}))",
        found=_IMAGE.format("it"),
    ),
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
    cel=Cel(
        f'{_TEMPLATE_ANNOTATIONS}[?"karpenter.sh/do-not-disrupt"]'
        '.orValue("").lowerAscii() != "true"'
        f' && {_TEMPLATE_ANNOTATIONS}[?"cluster-autoscaler.kubernetes.io/safe-to-evict"]'
        '.orValue("").lowerAscii() != "false"'
    ),
)
def ray_head_not_evicted(head: Group, _: Context) -> Violation:
    """No autoscaler moves Ray's head."""
    annotations = props_at(head.template, "metadata.annotations")
    may_disrupt = str(annotations.get("karpenter.sh/do-not-disrupt")).lower() != "true"
    safe_to_evict = annotations.get("cluster-autoscaler.kubernetes.io/safe-to-evict")
    return may_disrupt and str(safe_to_evict).lower() != "false"


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
    "kubernetes:policy/*:PodDisruptionBudget",
    message="its pods are of a RayCluster, which has no scale to count from, so none is evicted:"
    " set minAvailable to a number in place of {}",
    fix="State minAvailable as an integer; shares and maxUnavailable need a Deployment or such.",
    severity="high",
    cel=Cel(
        found=f"!({_SELECTS_RAY}) ? '' : (has(it.props.spec.maxUnavailable)"
        ' ? "maxUnavailable " + string(it.props.spec.maxUnavailable)'
        ' : (string(it.props.spec.?minAvailable.orValue(0)).matches("^[0-9]+$") ? ""'
        ' : "minAvailable " + string(it.props.spec.minAvailable)))'
    ),
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
    return _are_of_kuberay(labels) or labels.get(_COMPONENT_LABEL) in _RAY_COMPONENTS


def _are_of_kuberay(labels: Props) -> bool:
    """Whether one of the labels is of those that KubeRay puts on every pod."""
    return any(str(label).startswith("ray.io/") for label in labels)


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
    cel=Cel('it.props.?rayStartParams[?"num-cpus"].orValue("") != "0"'),
)
def ray_head_without_work(head: Group, _: Context) -> Violation:
    """Ray's head does nothing but lead."""
    return str(value_at(head.props, "rayStartParams.num-cpus")) != "0"
