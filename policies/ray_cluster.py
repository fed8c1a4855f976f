"""Ray on Kubernetes: what KubeRay would start, and what its own defaults would open."""

from __future__ import annotations

import math
import re
from typing import Any

from policies.network import INGRESS, SERVICE, backend_ports, exposed
from policies.pods import RAY, Env, Group, namespace_of, ray_cluster, ray_groups
from policies.rule import Context, Found, Props, Resource, Subjects, rule

ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
# What Vigil's own Ray pods carry.
COMPONENT = "app.kubernetes.io/component"
RAY_COMPONENTS = ("serve-head", "serve-worker", "monitor", "train-head", "train-worker")
SERVE = "kubernetes:ray.io/*:RayService"
PORTS = {
    "ports": {
        "type": "array",
        "items": {"type": ["integer", "string"]},
        "default": [
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
        ],
        "description": "ports and port names that stay inside: Ray's dashboard, client and GCS, HAProxy's statistics, MLflow",
    }
}


def groups(resource: Resource) -> Subjects:
    """(place, group) of the head and of every worker group."""
    yield from ((group.place, group) for group in ray_groups(resource))


def heads(resource: Resource) -> Subjects:
    """(place, group) of the head alone."""
    yield from ((group.place, group) for group in ray_groups(resource) if group.head)


def workers(resource: Resource) -> Subjects:
    """(place, group) of every worker group; the head has no request to finish."""
    yield from ((group.place, group) for group in ray_groups(resource) if not group.head)


def ray_env(group: Group) -> Env:
    """The environment of the Ray container, which is the first of its pod."""
    found = list((group.template.get("spec") or {}).get("containers") or ())
    return Env(found[0] if found else {})


def version(text: str) -> tuple[int, ...]:
    """`v2.60.0-py312` is (2, 60, 0); nothing where there is no version."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part) for part in found.groups(default="0")) if found else ()


@rule(
    SERVICE,
    INGRESS,
    "kubernetes:gateway.networking.k8s.io/*:HTTPRoute",
    message="port {} can be reached from outside, and whoever reaches it runs code here: route to the Serve port alone",
    fix="Keep these ports on ClusterIP Services; use kubectl port-forward, or an internal load balancer behind a login.",
    severity="critical",
    stack=True,
    params=PORTS,
)
def ray_ports_inside(_: Props, context: Context) -> Found:
    """Ray's dashboard, client and GCS, HAProxy's statistics and MLflow are never on a public load balancer (ShadowRay)."""
    if not exposed(context.resource):
        return None
    closed = list(context.params["ports"])
    found = (
        int(port) if isinstance(port, float) else port
        for port in backend_ports(context.resource, context.stack)
    )
    return ", ".join(str(port) for port in dict.fromkeys(found) if port in closed)


@rule(
    *RAY,
    each=heads,
    message="its Service opens dashboard, client and GCS to the outside: set serviceType to ClusterIP and enableIngress to false",
    fix="Leave serviceType and enableIngress out of headGroupSpec.",
    severity="critical",
)
def ray_head_inside(head: Group, _: Context) -> Found:
    """The Service of Ray's head, with all its ports, stays inside the cluster."""
    return (head.props.get("serviceType") or "ClusterIP") != "ClusterIP" or head.props.get(
        "enableIngress"
    ) is True


@rule(
    *RAY,
    message="Ray {} has no usable authentication: set rayVersion to the minimum or later",
    fix="Upgrade Ray, in the image and in rayVersion alike.",
    severity="critical",
    params={
        "minimum": {
            "type": "string",
            "default": "2.52.0",
            "description": "first Ray version that may run",
        }
    },
)
def ray_version_supported(_: Props, context: Context) -> Found:
    """Ray is new enough to ask for a token (CVE-2023-48022)."""
    stated = str(ray_cluster(context.resource).get("rayVersion") or "")
    return (
        None
        if version(stated) >= version(context.params["minimum"])
        else stated or "(no rayVersion)"
    )


@rule(
    *RAY,
    message="anyone in the network may submit jobs: set authOptions.mode to token",
    fix='Set authOptions: {"mode": "token"}; KubeRay makes the Secret.',
    severity="critical",
)
def ray_asks_for_a_token(_: Props, context: Context) -> Found:
    """Ray's dashboard, jobs and GCS ask for a token."""
    return (ray_cluster(context.resource).get("authOptions") or {}).get("mode") != "token"


@rule(
    *RAY,
    each=groups,
    message="its image {} is not the head's: head and workers must run the same image",
    fix="Give every group the head's image; Ray refuses other versions, and pickles of other Pythons fail.",
    severity="high",
)
def ray_one_image(group: Group, context: Context) -> Found:
    """Head and workers run one image."""
    found = {each.place: _image(each) for each in ray_groups(context.resource)}
    return None if group.head or _image(group) == found.get("head") else _image(group)


def _image(group: Group) -> str:
    found = list((group.template.get("spec") or {}).get("containers") or ())
    return str(found[0].get("image")) if found else ""


@rule(
    *RAY,
    each=heads,
    message="an autoscaler may evict it to save a node: annotate the pod karpenter.sh/do-not-disrupt: 'true' or"
    " cluster-autoscaler.kubernetes.io/safe-to-evict: 'false'",
    fix="Annotate the pod template of headGroupSpec.",
    severity="high",
)
def ray_head_not_evicted(head: Group, _: Context) -> Found:
    """No autoscaler moves Ray's head."""
    notes = (head.template.get("metadata") or {}).get("annotations") or {}
    kept = str(notes.get("karpenter.sh/do-not-disrupt")).lower() == "true"
    return (
        not kept
        and str(notes.get("cluster-autoscaler.kubernetes.io/safe-to-evict")).lower() != "false"
    )


@rule(
    SERVE,
    each=workers,
    message="it is killed while it still drains: set terminationGracePeriodSeconds to {} or more",
    fix="Give the pod longer than RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S and RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S.",
    severity="high",
    params={
        "seconds": {
            "type": "integer",
            "minimum": 30,
            "default": 60,
            "description": "shortest grace period of Serve pods",
        }
    },
)
def ray_drains_in_peace(group: Group, context: Context) -> Found:
    """A Serve worker lives longer than its drain."""
    env = ray_env(group)
    drain = float(str(env.get("RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S") or 30))
    if env.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        drain = max(drain, float(str(env.get("RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S") or 120)))
    needed = max(int(context.params["seconds"]), math.ceil(drain) + 10)
    grace = (group.template.get("spec") or {}).get("terminationGracePeriodSeconds")
    return str(needed) if grace is None or int(grace) < needed else None


@rule(
    SERVE,
    each=groups,
    message="{} differs from the head's: set it alike on the head and on every worker group",
    fix="Render the environment of all groups from one place; not in runtime_env, which the controller reads too late.",
    severity="high",
    params={
        "variables": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["RAY_SERVE_ENABLE_HA_PROXY", "RAY_SERVE_THROUGHPUT_OPTIMIZED"],
            "description": "switches that must agree",
        }
    },
)
def ray_haproxy_agrees(group: Group, context: Context) -> Found:
    """The switch to HAProxy is the same on head and workers."""
    head = next((ray_env(each) for each in ray_groups(context.resource) if each.head), Env({}))
    own = ray_env(group)
    return ", ".join(
        name for name in context.params["variables"] if own.get(name) != head.get(name)
    )


@rule(
    *RAY,
    each=heads,
    message="its autoscaler dies without a token for the Kubernetes API, and no worker is made:"
    f" mount a projected serviceAccountToken at {ACCOUNT_FOLDER} by autoscalerOptions.volumeMounts,"
    " or set automountServiceAccountToken to true on the head's pod",
    fix="Give the token to the autoscaler's container; jobs run on the head too and need none.",
    severity="high",
    stack=True,
)
def ray_autoscaler_has_token(head: Group, context: Context) -> Found:
    """The autoscaler beside Ray's head can ask Kubernetes for workers."""
    if ray_cluster(context.resource).get("enableInTreeAutoscaling") is not True:
        return None
    pod = head.template.get("spec") or {}
    if _token_mounts(ray_cluster(context.resource), pod):
        return None
    mounted = pod.get("automountServiceAccountToken")
    if mounted is None:  # what the account says holds where the pod says nothing
        mounted = _account(pod, context).get("automountServiceAccountToken")
    return mounted is False


def _token_mounts(cluster: Props, pod: Props) -> list[str]:
    """The volumes with a token that are mounted in the autoscaler where a client looks for one."""
    mounts = (cluster.get("autoscalerOptions") or {}).get("volumeMounts") or ()
    names = [mount.get("name") for mount in mounts if mount.get("mountPath") == ACCOUNT_FOLDER]
    volumes = [volume for volume in pod.get("volumes") or () if volume.get("name") in names]
    return [volume["name"] for volume in volumes if _holds_token(volume)]


def _holds_token(volume: Props) -> bool:
    sources = (volume.get("projected") or {}).get("sources") or ()
    return any(source.get("serviceAccountToken") for source in sources)


def _account(pod: Props, context: Context) -> Props:
    """The service account of a pod, where it is of this stack."""
    namespace = namespace_of(context.resource.props)
    for account in context.stack.of("kubernetes:core/*:ServiceAccount"):
        metadata = account.props.get("metadata") or {}
        named = metadata.get("name") == pod.get("serviceAccountName")
        if named and namespace_of(account.props) == namespace:
            return account.props
    return {}


@rule(
    SERVE,
    each=heads,
    message="no port of its container is named serve: KubeRay makes the serve service from it, and"
    " without one the RayService is never ready",
    fix='Name the port in the Ray container of the head: {"name": "serve", "containerPort": 8000}.',
    severity="high",
)
def ray_head_names_serve_port(head: Group, _: Context) -> Found:
    """KubeRay finds the port of the service on the head."""
    found = list((head.template.get("spec") or {}).get("containers") or ())
    ports = found[0].get("ports") or () if found else ()
    return not any(port.get("name") == "serve" for port in ports)


@rule(
    "kubernetes:policy/*:PodDisruptionBudget",
    message="its pods are of a RayCluster, which has no scale to count from, so none is evicted:"
    " set minAvailable to a number in place of {}",
    fix="State minAvailable as an integer; shares and maxUnavailable need a Deployment or such.",
    severity="high",
)
def ray_budget_counts_pods(budget: Props, _: Context) -> Found:
    """A disruption budget over Ray's pods is one that Kubernetes can compute: drains go on."""
    spec = budget.get("spec") or {}
    labels = (spec.get("selector") or {}).get("matchLabels") or {}
    of_kuberay = any(str(label).startswith("ray.io/") for label in labels)  # its own, on every pod
    if not of_kuberay and labels.get(COMPONENT) not in RAY_COMPONENTS:
        return None
    if spec.get("maxUnavailable") is not None:
        return f"maxUnavailable {_plain(spec['maxUnavailable'])}"
    least = spec.get("minAvailable")
    return f"minAvailable {least}" if isinstance(least, str) and not least.isdigit() else None


def _plain(value: Any) -> str:
    """A number without the decimals that it got on its way."""
    return f"{value:g}" if isinstance(value, float) else str(value)


@rule(
    *RAY,
    each=heads,
    message='it takes work like any worker: set rayStartParams["num-cpus"] to "0"',
    fix='Set num-cpus to "0" on the head; replicas and training then run on workers.',
    severity="medium",
)
def ray_head_without_work(head: Group, _: Context) -> Found:
    """Ray's head does nothing but lead."""
    return str((head.props.get("rayStartParams") or {}).get("num-cpus")) != "0"


@rule(
    SERVE,
    message="the loss of the head's pod takes every replica along: set gcsFaultToleranceOptions",
    fix="Give the GCS a Redis (ElastiCache) in gcsFaultToleranceOptions.",
    severity="medium",
)
def ray_head_recovers(_: Props, context: Context) -> Found:
    """Serving goes on while Ray's head restarts."""
    return not ray_cluster(context.resource).get("gcsFaultToleranceOptions")
