"""Ray on Kubernetes: what KubeRay would start, and what its own defaults would open."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

from policies.network import INGRESS, SERVICE, backend_ports, exposed
from policies.pods import RAY, Env, Group, namespace_of, quantity, ray_cluster, ray_groups
from policies.rule import Context, Found, Props, Resource, Stack, Subjects, rule

SERVE = "kubernetes:ray.io/*:RayService"
POOL = "kubernetes:karpenter.sh/*:NodePool"
NODE_GROUPS = ("aws:eks/nodeGroup:NodeGroup", "eks:index:ManagedNodeGroup")
CAPACITY = {"karpenter.sh/capacity-type": "on-demand", "eks.amazonaws.com/capacityType": "ON_DEMAND"}
PORTS = {
    "ports": {
        "type": "array",
        "items": {"type": ["integer", "string"]},
        "default": [8265, 10001, 6379, 8404, 5000, "dashboard", "client", "gcs-server", "gcs", "redis", "stats", "mlflow"],
        "description": "ports and port names that stay inside: Ray's dashboard, client and GCS, HAProxy's statistics, MLflow",
    }
}


def groups(resource: Resource) -> Subjects:
    """(place, group) of the head and of every worker group."""
    yield from ((group.place, group) for group in ray_groups(resource))


def heads(resource: Resource) -> Subjects:
    """(place, group) of the head alone."""
    yield from ((group.place, group) for group in ray_groups(resource) if group.head)


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
    params=PORTS,
)
def ray_ports_inside(_: Props, context: Context) -> Found:
    """Ray's dashboard, client and GCS, HAProxy's statistics and MLflow are never on a public load balancer (ShadowRay)."""
    if not exposed(context.resource):
        return None
    closed = list(context.params["ports"])
    found = (int(port) if isinstance(port, float) else port for port in backend_ports(context.resource))
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
    return (head.props.get("serviceType") or "ClusterIP") != "ClusterIP" or head.props.get("enableIngress") is True


@rule(
    *RAY,
    message="Ray {} has no usable authentication: set rayVersion to the minimum or later",
    fix="Upgrade Ray, in the image and in rayVersion alike.",
    severity="critical",
    params={"minimum": {"type": "string", "default": "2.52.0", "description": "first Ray version that may run"}},
)
def ray_version_supported(_: Props, context: Context) -> Found:
    """Ray is new enough to ask for a token (CVE-2023-48022)."""
    stated = str(ray_cluster(context.resource).get("rayVersion") or "")
    return None if version(stated) >= version(context.params["minimum"]) else stated or "(no rayVersion)"


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
    message="it may land on a spot node: select nodes that are on demand",
    fix='Set nodeSelector {"karpenter.sh/capacity-type": "on-demand"}, or a pool that is on demand only.',
    severity="high",
    stack=True,
)
def ray_head_on_demand(head: Group, context: Context) -> Found:
    """Ray's head, whose loss stops the cluster, runs on demand."""
    pod = head.template.get("spec") or {}
    selector = pod.get("nodeSelector") or {}
    if any(selector.get(key) == value for key, value in CAPACITY.items()) or _asks_on_demand(pod):
        return None
    pools = [pool for pool in context.stack.of(POOL) if selector and _takes(pool, selector)]
    if pools:
        return not all(_on_demand_only(pool) for pool in pools)
    matching = [each for each in context.stack.of(*NODE_GROUPS) if selector and _labelled(each, selector)]
    return not matching or any(each.props.get("capacityType") == "SPOT" for each in matching)


def _asks_on_demand(pod: Props) -> bool:
    affinity = ((pod.get("affinity") or {}).get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = list(affinity.get("nodeSelectorTerms") or ())
    return bool(terms) and all(_demands(term.get("matchExpressions") or ()) for term in terms)


def _demands(requirements: Any) -> bool:
    return any(
        each.get("operator", "In") == "In" and list(each.get("values") or ()) == [CAPACITY.get(each["key"])]
        for each in requirements
        if each["key"] in CAPACITY
    )


def _pool_template(pool: Resource) -> Props:
    return (pool.props.get("spec") or {}).get("template") or {}


def _on_demand_only(pool: Resource) -> bool:
    return _demands((_pool_template(pool).get("spec") or {}).get("requirements") or ())


def _takes(pool: Resource, selector: Props) -> bool:
    """Whether the pool can make nodes that the selector accepts."""
    template = _pool_template(pool)
    labels = dict((template.get("metadata") or {}).get("labels") or {})
    labels["karpenter.sh/nodepool"] = (pool.props.get("metadata") or {}).get("name") or pool.name
    offered = {each["key"]: list(each.get("values") or ()) for each in (template.get("spec") or {}).get("requirements") or ()}
    return all(labels.get(key) == value or value in offered.get(key, ()) for key, value in selector.items())


def _labelled(group: Resource, selector: Props) -> bool:
    labels = group.props.get("labels") or {}
    return all(labels.get(key) == value for key, value in selector.items())


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
    return not kept and str(notes.get("cluster-autoscaler.kubernetes.io/safe-to-evict")).lower() != "false"


@rule(
    SERVE,
    each=groups,
    message="it is killed while it still drains: set terminationGracePeriodSeconds to {} or more",
    fix="Give the pod longer than RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S and RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S.",
    severity="high",
    params={"seconds": {"type": "integer", "minimum": 30, "default": 60, "description": "shortest grace period of Serve pods"}},
)
def ray_drains_in_peace(group: Group, context: Context) -> Found:
    """A Serve pod lives longer than its drain."""
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
    return ", ".join(name for name in context.params["variables"] if own.get(name) != head.get(name))


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


def _config(resource: Resource) -> Any:
    """The parsed serveConfigV2; None where it is no YAML."""
    try:
        return yaml.safe_load(str((resource.props.get("spec") or {}).get("serveConfigV2") or ""))
    except yaml.YAMLError:
        return None


def applications(resource: Resource) -> list[Props]:
    """The applications of serveConfigV2."""
    config = _config(resource)
    return list(config.get("applications") or ()) if isinstance(config, dict) else []


def deployments(resource: Resource) -> Subjects:
    """(place, deployment) of every deployment that serveConfigV2 sets up, in applications that answer HTTP."""
    for application in applications(resource):
        for each in application.get("deployments") or () if application.get("route_prefix", "/") else ():
            yield f"deployment {each.get('name')}", each


@rule(
    SERVE,
    message="serveConfigV2 holds no applications: write YAML with a list of them",
    fix="Render it from the settings and check it with ray.serve.schema.ServeDeploySchema.",
    severity="high",
)
def serve_config_readable(_: Props, context: Context) -> Found:
    """The Serve configuration can be read, and says what to serve."""
    return not applications(context.resource)


@rule(
    SERVE,
    message="serveConfigV2 names a model version in {}: a promotion would restart or unroute replicas; move the alias instead",
    fix="Leave versions, digests and models:/name/N out of args and user_config; replicas follow the registry alias.",
    severity="high",
    params={
        "keys": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["model_version", "version", "model_digest", "digest"],
            "description": "keys that name one version of a model",
        }
    },
)
def serve_config_without_versions(_: Props, context: Context) -> Found:
    """A new model never edits the Serve configuration."""
    keys = set(context.params["keys"])
    found = [path for each in applications(context.resource) for path in _versions(each, str(each.get("name")), keys)]
    return ", ".join(found)


def _versions(value: Any, path: str, keys: set[str]) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key in keys:
                yield f"{path}.{key}"
            else:
                yield from _versions(each, f"{path}.{key}", keys)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _versions(each, f"{path}.{number}", keys)
    elif isinstance(value, str) and re.search(r"models:/[^/@]+/\d+", value):
        yield path


@rule(
    SERVE,
    each=deployments,
    message="requests may queue without end: set max_queued_requests",
    fix="Set max_queued_requests; more requests then get 503 with Retry-After instead of a timeout.",
    severity="medium",
)
def serve_queue_bounded(deployment: Props, _: Context) -> Found:
    """Overload is answered, not queued without end."""
    return int(deployment.get("max_queued_requests") or -1) < 1


@rule(
    SERVE,
    each=deployments,
    message="{} replicas serve: set autoscaling_config.min_replicas to 2 or more",
    fix="Keep two replicas at rest, on two nodes; a node can then go without a failed request.",
    severity="medium",
    params={
        "deployments": {
            "type": "array",
            "items": {"type": "string"},
            "default": ["Detector"],
            "description": "deployments that answer requests",
        }
    },
)
def serve_survives_a_node(deployment: Props, context: Context) -> Found:
    """Requests are answered while one node is lost."""
    if deployment.get("name") not in context.params["deployments"]:
        return None
    scaling = deployment.get("autoscaling_config") or {}
    replicas = int(scaling.get("min_replicas", 1) if scaling else deployment.get("num_replicas") or 1)
    return str(replicas) if replicas < 2 else None


def _bounds(group: Group) -> tuple[int, int]:
    lowest = int(group.props.get("minReplicas") or 0)
    return lowest, int(group.props.get("maxReplicas") or group.props.get("replicas") or 0)


@rule(
    *RAY,
    each=groups,
    message="replica bounds {}: set minReplicas <= maxReplicas, and maxReplicas within the parameter `most`",
    fix="Set both bounds on every worker group.",
    severity="medium",
    params={"most": {"type": "integer", "minimum": 1, "default": 100, "description": "most workers of one group"}},
)
def ray_replicas_bounded(group: Group, context: Context) -> Found:
    """Every worker group has a floor and a ceiling that make sense."""
    if group.head:
        return None
    lowest, highest = _bounds(group)
    return None if lowest <= highest and 0 < highest <= context.params["most"] else f"{lowest}..{highest} are wrong"


def _cpus(group: Group) -> float:
    """CPUs that one pod of the group asks for."""
    asked = 0.0
    for container in (group.template.get("spec") or {}).get("containers") or ():
        resources = container.get("resources") or {}
        asked += quantity((resources.get("requests") or {}).get("cpu") or (resources.get("limits") or {}).get("cpu") or 0)
    return asked


def _most_cpus(group: Group) -> float:
    return _cpus(group) * (1 if group.head else _bounds(group)[1])


@rule(
    *RAY,
    message="at its largest the cluster asks for {}: raise the quota, or lower maxReplicas",
    fix="Make room in the ResourceQuota for the largest cluster; a RayService upgrade needs it twice.",
    severity="medium",
    stack=True,
)
def ray_within_quota(_: Props, context: Context) -> Found:
    """The largest cluster fits into the quota of its namespace."""
    asked = sum(_most_cpus(group) for group in ray_groups(context.resource))
    for quota in context.stack.of("kubernetes:core/*:ResourceQuota"):
        if namespace_of(quota.props) != namespace_of(context.resource.props):
            continue
        hard = (quota.props.get("spec") or {}).get("hard") or {}
        allowed = [hard[key] for key in ("requests.cpu", "cpu") if hard.get(key) is not None]
        if allowed and asked > quantity(allowed[0]):
            return f"{asked:g} CPUs of a quota of {quantity(allowed[0]):g}"
    return None


@rule(
    SERVE,
    message="an upgrade needs {}: raise the node limits, or set upgradeStrategy.type to None",
    fix="Any change of rayClusterConfig but replica counts starts a second cluster beside the first: leave room for both.",
    severity="high",
    stack=True,
    params={
        "nodeCpus": {
            "type": "number",
            "minimum": 0,
            "default": 0,
            "description": "CPUs that nodes outside Karpenter's pools offer; 0 counts NodePool limits alone",
        }
    },
)
def ray_upgrade_has_room(_: Props, context: Context) -> Found:
    """A second cluster is made on upgrade only where the nodes have room for two."""
    strategy = (context.resource.props.get("spec") or {}).get("upgradeStrategy") or {}
    kind = strategy.get("type") or "NewCluster"
    if kind == "None":
        return None
    surge = (strategy.get("clusterUpgradeOptions") or {}).get("maxSurgePercent", 100) if kind != "NewCluster" else 100
    asked: dict[frozenset[str], float] = {}
    for group in ray_groups(context.resource):
        pools = _pools_for(group, context.stack)
        asked[pools] = asked.get(pools, 0.0) + _most_cpus(group) * (1 + float(surge) / 100)
    limits = {pool.name: _limit(pool) for pool in context.stack.of(POOL)}
    for pools, needed in asked.items():
        room = sum(limits[name] for name in pools) + float(context.params["nodeCpus"])
        if needed > room:
            where = " and ".join(sorted(pools)) or "no node pool"
            return f"{needed:g} CPUs where the limits ({where}) allow {room:g}"
    return None


def _pools_for(group: Group, stack: Stack) -> frozenset[str]:
    selector = (group.template.get("spec") or {}).get("nodeSelector") or {}
    return frozenset(pool.name for pool in stack.of(POOL) if _takes(pool, selector))


def _limit(pool: Resource) -> float:
    return quantity(((pool.props.get("spec") or {}).get("limits") or {}).get("cpu") or 0)


def _delivers_ray(application: Props, charts: list[str]) -> bool:
    spec = application.get("spec") or {}
    sources = [*([spec["source"]] if spec.get("source") else ()), *(spec.get("sources") or ())]
    return any(each.get("path") or each.get("chart") in charts for each in sources)


CHARTS = {
    "charts": {
        "type": "array",
        "items": {"type": "string"},
        "default": ["vigil"],
        "description": "charts that hold Ray objects; applications from a folder of manifests are always judged",
    }
}


@rule(
    "kubernetes:argoproj.io/*:Application",
    message="Argo CD would fight Ray's autoscaler: add {}",
    fix="Ignore /spec/rayClusterConfig/workerGroupSpecs/*/replicas of RayService and respect that on sync.",
    severity="high",
    params=CHARTS,
)
def argocd_leaves_replicas(application: Props, context: Context) -> Found:
    """Argo CD leaves alone what Ray's autoscaler writes."""
    if not _delivers_ray(application, list(context.params["charts"])):
        return None
    spec = application.get("spec") or {}
    ignored = any(
        each.get("group") == "ray.io"
        and any("replicas" in path for path in [*(each.get("jsonPointers") or ()), *(each.get("jqPathExpressions") or ())])
        for each in spec.get("ignoreDifferences") or ()
    )
    missing = [] if ignored else ["ignoreDifferences of ray.io for the replicas of worker groups"]
    if "RespectIgnoreDifferences=true" not in list((spec.get("syncPolicy") or {}).get("syncOptions") or ()):
        missing.append("the sync option RespectIgnoreDifferences=true")
    return " and ".join(missing)


@rule(
    "kubernetes:argoproj.io/*:Application",
    message="KubeRay's CRDs exceed the annotation of client-side apply: add the sync option ServerSideApply=true",
    fix="Add ServerSideApply=true to spec.syncPolicy.syncOptions.",
    severity="medium",
    params=CHARTS,
)
def argocd_server_side(application: Props, context: Context) -> Found:
    """Argo CD applies on the server."""
    options = list(((application.get("spec") or {}).get("syncPolicy") or {}).get("syncOptions") or ())
    return _delivers_ray(application, list(context.params["charts"])) and "ServerSideApply=true" not in options
