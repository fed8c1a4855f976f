"""What serveConfigV2 says: applications, deployments, and that no model version is in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from policies.ray_cluster import SERVE
from policies.rule import Context, Found, Props, Resource, Subjects, rule


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
        for each in (
            application.get("deployments") or () if application.get("route_prefix", "/") else ()
        ):
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
    found = [
        path
        for each in applications(context.resource)
        for path in _versions(each, str(each.get("name")), keys)
    ]
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
    replicas = int(
        scaling.get("min_replicas", 1) if scaling else deployment.get("num_replicas") or 1
    )
    return str(replicas) if replicas < 2 else None
