"""Ray pods that serve: how they drain, what they agree on, and where they are found."""

from __future__ import annotations

import math

from policies.cel import Cel, as_cel, entries_of_variable
from policies.params import integer, strings
from policies.pods import Env, Group, ray_cluster, ray_groups
from policies.ray_cluster import each_group, each_head, each_worker_group
from policies.resource_types import RAY_SERVICE_TYPE
from policies.rule import Violation, rule
from policies.subjects import Context, Props, list_at

_MIN_DRAINING = "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S"
_HARD_STOP = "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S"


def _seconds_cel(variable: str, default: float) -> str:
    """Return the number that a variable of a group gives, in CEL."""
    values = f"it.env.filter(e, e.name == {as_cel(variable)} && e.?value.orValue('') != '')"
    return f"({values}.map(e, double(e.value)) + [{float(default)}])[0]"


_DRAIN_CEL = (
    f'(it.env.exists(e, e.name == "RAY_SERVE_ENABLE_HA_PROXY" && e.?value.orValue("") == "1")'
    f" ? [{_seconds_cel(_MIN_DRAINING, 30)}, {_seconds_cel(_HARD_STOP, 120)}].max()"
    f" : {_seconds_cel(_MIN_DRAINING, 30)})"
)
_NEEDED_GRACE = (
    f"[{_DRAIN_CEL}].map(d, [int(variables.params.seconds),"
    " int(d) + (double(int(d)) < d ? 1 : 0) + 10].max())[0]"
)


def _values_cel(env: str) -> str:
    """Return the values and references of the variable `v`, in CEL."""
    return f"{entries_of_variable('v', env)}.map(e, e.?value.orValue(e.?valueFrom.orValue('')))"


@rule(
    RAY_SERVICE_TYPE,
    each=each_worker_group,
    message="it is killed while it still drains: set terminationGracePeriodSeconds to {} or more",
    fix=f"Give the pod longer than {_MIN_DRAINING} and {_HARD_STOP}.",
    severity="high",
    params={"seconds": integer("shortest grace period of Serve pods", 60, minimum=30)},
    cel=Cel(
        "!has(it.pod.terminationGracePeriodSeconds)"
        f" || int(it.pod.terminationGracePeriodSeconds) < {_NEEDED_GRACE}",
        found=f"string({_NEEDED_GRACE})",
    ),
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
    cel=Cel(
        found=f"variables.params.variables.filter(v, {_values_cel('it.env')}"
        f" != {_values_cel('(variables.groups.filter(g, g.head).map(g, g.env) + [[]])[0]')})"
        '.join(", ")'
    ),
)
def ray_haproxy_agrees(group: Group, context: Context) -> Violation:
    """The switch to HAProxy is the same on head and workers."""
    heads = [each.env for each in ray_groups(context.resource) if each.is_head]
    head = heads[0] if heads else Env({})
    own = group.env
    variables = context.params["variables"]
    return ", ".join(name for name in variables if own.get(name) != head.get(name))


@rule(
    RAY_SERVICE_TYPE,
    each=each_head,
    message="no port of its container is named serve: KubeRay makes the serve service from it, and"
    " without one the RayService is never ready",
    fix='Name the port in the Ray container of the head: {"name": "serve", "containerPort": 8000}.',
    severity="high",
    cel=Cel('!it.ray.?ports.orValue([]).exists(p, p.?name.orValue("") == "serve")'),
)
def ray_head_names_serve_port(head: Group, _: Context) -> Violation:
    """KubeRay finds the port of the service on the head."""
    names = [port.get("name") for port in list_at(head.ray_container, "ports")]
    return "serve" not in names


@rule(
    RAY_SERVICE_TYPE,
    message="the loss of the head's pod takes every replica along: set gcsFaultToleranceOptions",
    fix="Give the GCS a Redis (ElastiCache) in gcsFaultToleranceOptions.",
    severity="medium",
    level="advisory",
    cel=Cel("!variables.cluster.?gcsFaultToleranceOptions.hasValue()"),
)
def ray_head_recovers(_: Props, context: Context) -> Violation:
    """Serving goes on while Ray's head restarts."""
    return not ray_cluster(context.resource).get("gcsFaultToleranceOptions")
