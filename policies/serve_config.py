"""What serveConfigV2 says: applications, deployments, and that no model version is in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from policies.params import strings
from policies.resource_types import RAY_SERVICE_TYPE
from policies.rule import Violation, rule
from policies.subjects import Context, Props, Resource, Subjects, list_at, props_at

SERVE_CONFIG_IS_TEXT = "serveConfigV2 is a text, and CEL reads no YAML"
_MODEL_VERSION_URI = re.compile(r"models:/[^/@]+/\d+")


def _serve_config(resource: Resource) -> Any:
    """Return the parsed serveConfigV2; None where it is no YAML."""
    try:
        return yaml.safe_load(str(resource.value("spec.serveConfigV2") or ""))
    except yaml.YAMLError:
        return None


def serve_applications(resource: Resource) -> list[Props]:
    """Return the applications of serveConfigV2."""
    config = _serve_config(resource)
    return list(config.get("applications") or ()) if isinstance(config, dict) else []


def each_deployment(resource: Resource) -> Subjects:
    """Yield (place, deployment) of what serveConfigV2 sets up in applications that answer HTTP."""
    applications = serve_applications(resource)
    answering = [
        application for application in applications if application.get("route_prefix", "/")
    ]
    for application in answering:
        for deployment in list_at(application, "deployments"):
            yield f"deployment {deployment.get('name')}", deployment


@rule(
    RAY_SERVICE_TYPE,
    message="serveConfigV2 holds no applications: write YAML with a list of them",
    fix="Render it from the settings and check it with ray.serve.schema.ServeDeploySchema.",
    severity="high",
    without_cel=SERVE_CONFIG_IS_TEXT,
)
def serve_config_readable(_: Props, context: Context) -> Violation:
    """The Serve configuration can be read, and says what to serve."""
    return not serve_applications(context.resource)


@rule(
    RAY_SERVICE_TYPE,
    message="serveConfigV2 names a model version in {}: a promotion would restart or unroute"
    " replicas; move the alias instead",
    fix="Leave versions, digests and models:/name/N out of args and user_config; replicas follow"
    " the registry alias.",
    severity="high",
    params={
        "keys": strings(
            "keys that name one version of a model",
            ["model_version", "version", "model_digest", "digest"],
        )
    },
    without_cel=SERVE_CONFIG_IS_TEXT,
)
def serve_config_without_versions(_: Props, context: Context) -> Violation:
    """A new model never edits the Serve configuration."""
    keys = set(context.params["keys"])
    paths: list[str] = []
    for application in serve_applications(context.resource):
        paths.extend(_version_paths(application, str(application.get("name")), keys))
    return ", ".join(paths)


def _version_paths(
    value: Any,
    path: str,
    keys: set[str],
) -> Iterator[str]:
    """Yield the path of everything below a value that names one version of a model."""
    for key, child in _children(value):
        child_path = f"{path}.{key}"
        if key in keys or _is_version_uri(child):
            yield child_path
        else:
            yield from _version_paths(child, child_path, keys)


def _children(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _is_version_uri(value: Any) -> bool:
    return isinstance(value, str) and _MODEL_VERSION_URI.search(value) is not None


@rule(
    RAY_SERVICE_TYPE,
    each=each_deployment,
    message="requests may queue without end: set max_queued_requests",
    fix="Set max_queued_requests; more requests then get 503 with Retry-After instead of a"
    " timeout.",
    severity="medium",
    without_cel=SERVE_CONFIG_IS_TEXT,
)
def serve_queue_bounded(deployment: Props, _: Context) -> Violation:
    """Overload is answered, not queued without end."""
    return int(deployment.get("max_queued_requests") or -1) < 1


@rule(
    RAY_SERVICE_TYPE,
    each=each_deployment,
    message="{} replicas serve: set autoscaling_config.min_replicas to 2 or more",
    fix="Keep two replicas at rest, on two nodes; a node can then go without a failed request.",
    severity="medium",
    params={"deployments": strings("deployments that answer requests", ["Detector"])},
    without_cel=SERVE_CONFIG_IS_TEXT,
)
def serve_survives_a_node(deployment: Props, context: Context) -> Violation:
    """Requests are answered while one node is lost."""
    if deployment.get("name") not in context.params["deployments"]:
        return None
    replicas = _replicas_at_rest(deployment)
    return str(replicas) if replicas < 2 else None


def _replicas_at_rest(deployment: Props) -> int:
    if scaling := props_at(deployment, "autoscaling_config"):
        return int(scaling.get("min_replicas", 1))
    return int(deployment.get("num_replicas") or 1)
