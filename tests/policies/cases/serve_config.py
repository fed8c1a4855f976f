"""Cases of the rules of policies/serve_config.py."""

from __future__ import annotations

from typing import Any

import yaml

from tests.policies.parts import serve_config
from tests.policies.table import REMOVED, Break, Case

NAMED = (
    "serveConfigV2 names a model version in {}: a promotion would restart or unroute replicas;"
    " move the alias instead"
)
QUEUE = "deployment Detector: requests may queue without end: set max_queued_requests"
FEW = "deployment Detector: {} replicas serve: set autoscaling_config.min_replicas to 2 or more"
UNREADABLE = "serveConfigV2 holds no applications: write YAML with a list of them"


def config(**detector: Any) -> str:
    """serveConfigV2 with the Detector changed."""
    return yaml.safe_dump(serve_config(**detector))


def versions(message: str, **detector: Any) -> Break:
    """A break of serveConfigV2."""
    return Break("serve", "spec.serveConfigV2", config(**detector), message)


SERVE_CONFIG_CASES = [
    Case(
        "serve-config-readable",
        ("serve", "spec.serveConfigV2"),
        [
            Break("serve", "spec.serveConfigV2", value, UNREADABLE)
            for value in ("a: [", "applications: []", REMOVED)
        ],
    ),
    Case(
        "serve-config-without-versions",
        ("serve", "spec.serveConfigV2"),
        [
            versions(
                NAMED.replace("{}", "vigil.deployments.0.user_config.model_version"),
                user_config={"model_version": "3"},
            ),
            versions(
                NAMED.replace("{}", "vigil.deployments.0.user_config.uri"),
                user_config={"uri": "models:/vigil/3"},
            ),
        ],
    ),
    Case(
        "serve-queue-bounded",
        ("serve", "spec.serveConfigV2"),
        [versions(QUEUE, max_queued_requests=-1), versions(QUEUE, max_queued_requests=None)],
    ),
    Case(
        "serve-survives-a-node",
        ("serve", "spec.serveConfigV2"),
        [
            versions(FEW.replace("{}", "1"), autoscaling_config={"min_replicas": 1}),
            versions(FEW.replace("{}", "1"), autoscaling_config=None),
            versions(FEW.replace("{}", "1"), autoscaling_config={"max_replicas": 8}),
        ],
    ),
]
