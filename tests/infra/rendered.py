"""Stacks whose manifests are looked at, and what is in them."""

from __future__ import annotations

from typing import Any

from infra.manifests import all_objects
from infra.manifests.bindings import Bindings
from infra.manifests.parts import Manifest
from infra.settings import PlatformSettings
from tests.infra.recorded import STACKS, changed

BOUND = Bindings(
    "db.example",
    "arn:aws:secretsmanager:eu-west-1:111122223333:secret:rds",
    "fs-1",
    "rediss://redis.example:6379",
)


def settings_of(stack: str, **changes: Any) -> PlatformSettings:
    return changed(stack, **changes)


SIGNED_IMAGE = f"registry.example.com/team/vigil@sha256:{'0' * 64}"
VARIANTS = [
    *((stack, {}) for stack in STACKS),
    (
        "dev",
        {
            "nodes": "auto",
            "ingress": "gateway",
            "hostname": "vigil.example",
            "serve": {"grpc_port": 9001},
        },
    ),
    (
        "dev",
        {
            "ingress": "gateway",
            "hostname": "vigil.example",
            "upgrade_strategy": "NewClusterWithIncrementalUpgrade",
        },
    ),
    (
        "dev",
        {
            "shared_folder": False,
            "admission": "deny",
            "image": SIGNED_IMAGE,
            "image_admission": "kyverno",
            "github_repository": "example/vigil",
            "state_bucket": "state",
        },
    ),
    ("dev", {"nodes": "static", "haproxy": False, "spot_serving": False, "monitoring": False}),
    (
        "local",
        {
            "monitoring": True,
            "train_schedule": "0 3 * * *",
            "train_data": "/var/lib/vigil/a.csv",
            "gcs_fault_tolerance": "redis",
            "redis_address": "redis://redis:6379",
        },
    ),
]


def objects_of(settings: PlatformSettings) -> list[Manifest]:
    return [one for group in all_objects(settings, BOUND).values() for one in group]


def pods_of(one: Manifest) -> list[Manifest]:
    """Every pod template in an object."""
    spec = one.get("spec", {})
    cluster = spec.get("rayClusterConfig", spec)
    if "headGroupSpec" in cluster:
        return [
            cluster["headGroupSpec"]["template"],
            *(group["template"] for group in cluster["workerGroupSpecs"]),
        ]
    return (
        [spec["jobTemplate"]["spec"]["template"]]
        if "jobTemplate" in spec
        else [spec["template"]]
        if "template" in spec and "containers" in str(spec)
        else []
    )
