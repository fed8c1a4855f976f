"""With Redis a lost head costs nothing.

What it knew is there for the next one, and no replica asks it for anything meanwhile.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from infra.manifests.parts import CONTAINER_SECURITY, POD_SECURITY
from tests.cluster.kube import NAMESPACE, eventually
from tests.cluster.platform import Platform
from tests.cluster.test_faults import kill, lose_head


@pytest.fixture(scope="module")
def with_redis(platform: Platform) -> Iterator[Platform]:
    """The platform, with what its head knows in a Redis beside it."""
    image = os.environ.get("VIGIL_TEST_REDIS_IMAGE")
    if not image:
        pytest.skip(
            "no Redis: set VIGIL_TEST_REDIS_IMAGE to an image with `redis-server`"
            " that is on the nodes"
        )
    password = secrets.token_hex(16)
    platform.cluster.apply(*_redis(image, password))
    platform.cluster.kubectl(
        "wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/redis", "--timeout=120s"
    )
    before = platform.active_cluster()
    platform.stack.pulumi("config", "set", "--secret", "vigil:redisPassword", text=password)
    platform.stack.set(
        {"gcsFaultTolerance": "redis", "redisAddress": f"redis://redis.{NAMESPACE}.svc:6379"}
    )
    platform.stack.up()
    eventually("the cluster with Redis serves", lambda: platform.active_cluster() != before, 600)
    platform.workers(2, 400)
    yield platform
    last = platform.active_cluster()
    platform.stack.set({"gcsFaultTolerance": None, "redisAddress": None})
    platform.stack.up()
    # It removes from Redis what it kept there, and needs the password and Redis for it.
    eventually(
        "the cluster with Redis is gone",
        lambda: platform.cluster.get("raycluster", last) is None,
        600,
    )
    platform.cluster.kubectl("delete", "pod/redis", "service/redis", "-n", NAMESPACE)


def _redis(image: str, password: str) -> tuple[dict[str, object], dict[str, object]]:
    container = {
        "name": "redis",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": [
            "redis-server",
            "--requirepass",
            password,
            "--save",
            "",
            "--protected-mode",
            "no",
        ],
        "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
        "securityContext": CONTAINER_SECURITY,
        "readinessProbe": {"tcpSocket": {"port": 6379}, "periodSeconds": 1},
        "workingDir": "/tmp",
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "containers": [container],
        "securityContext": POD_SECURITY,
        "automountServiceAccountToken": False,
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}],
    }
    metadata = {"name": "redis", "namespace": NAMESPACE, "labels": {"app": "redis"}}
    ports = [{"port": 6379}]
    return (
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": {"app": "redis"}, "ports": ports},
        },
    )


def delete(platform: Platform, pod: str) -> None:
    platform.cluster.kubectl("delete", "pod", pod, "-n", NAMESPACE, "--wait=false")


def test_a_head_that_is_deleted_costs_nothing(with_redis: Platform) -> None:
    result = lose_head(with_redis, lambda head: delete(with_redis, head), workers_too=False)
    with_redis.figures["head deleted, with Redis"] = result
    assert result["failed"] == 0, result["failures"]


def test_a_second_cluster_keeps_a_state_of_its_own_and_a_killed_head_costs_nothing(
    with_redis: Platform, current: dict[str, Any]
) -> None:
    first = with_redis.active_cluster()
    with_redis.stack.set({"serve": current["serve"] | {"maxHeaderBytes": 20_000}})
    with_redis.stack.up()
    eventually("a second cluster serves", lambda: with_redis.active_cluster() != first, 600)
    eventually(
        "the first one is gone", lambda: with_redis.cluster.get("raycluster", first) is None, 600
    )
    with_redis.workers(2, 400)
    result = lose_head(with_redis, lambda head: kill(with_redis.cluster, head), workers_too=False)
    with_redis.figures["head killed, with Redis"] = result
    assert result["failed"] == 0, result["failures"]
