"""One platform on one real cluster for all tests here.

The first test makes it, and it is destroyed after the last. The tests need a cluster that may be
filled and emptied, named by $VIGIL_TEST_KUBECONFIG, with the image on its nodes. They also need
`kubectl`, and a `pulumi` with its Kubernetes provider; docs/cluster.md says how to get them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.kube import Cluster
from tests.cluster.platform import Platform
from tests.cluster.stack import Stack, project

HELP = "docs/cluster.md says how to get one"
# Each builds on what the ones before it left.
ORDER = (
    "test_wrong_inputs",
    "test_up",
    "test_loop",
    "test_faults",
    "test_changes",
    "test_redis",
    "test_streams",
    "test_incidents",
    "test_destroy",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    ours = [item for item in items if item.path.parent == here]
    ours.sort(key=lambda item: ORDER.index(item.path.stem))
    places = [place for place, item in enumerate(items) if item.path.parent == here]
    for place, item in zip(places, ours, strict=True):
        items[place] = item


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that may be filled and emptied."""
    named = os.environ.get("VIGIL_TEST_KUBECONFIG")
    if not named:
        pytest.skip(f"no cluster: set VIGIL_TEST_KUBECONFIG to its kubeconfig; {HELP}")
    for program in ("kubectl", "pulumi"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program} on the PATH; {HELP}")
    return Cluster(Path(named).resolve())


@pytest.fixture(scope="session")
def image() -> str:
    """The Vigil image that is on the nodes."""
    return os.environ.get("VIGIL_TEST_IMAGE", "vigil:dev")


@pytest.fixture(scope="session")
def config(image: str) -> dict[str, Any]:
    """The stack of these tests: that of `Pulumi.local.yaml`, with two serving workers."""
    found: dict[str, Any] = {
        "image": image,
        "minWorkers": 2,
        "maxWorkers": 3,
        "serve": {"minReplicas": 3, "maxReplicas": 6},
        "deleteCrds": True,
    }
    if charts := os.environ.get("VIGIL_TEST_CHARTS"):
        found["chartRepository"] = charts
    return found


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An operator's API key, and the file of hashes that knows it."""
    home = tmp_path_factory.mktemp("keys")
    made = subprocess.run(
        [sys.executable, "-m", "vigil", "keys", "new", "test", "--operator"],
        env={**os.environ, "VIGIL_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip(), (home / "keys.json").read_text()


@pytest.fixture(scope="session")
def stack(
    cluster: Cluster,
    config: dict[str, Any],
    keys: tuple[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    """The stack with its settings and secrets; not up yet.

    Whatever is left of it in the end is destroyed.
    """
    folder = project(tmp_path_factory.mktemp("pulumi") / "project")
    made = Stack(folder, cluster.environment)
    made.init(
        config,
        {
            "rayToken": secrets.token_hex(24),
            "mlflowPassword": secrets.token_hex(12),
            "mlflowSecretKey": secrets.token_hex(24),
            "apiKeys": keys[1],
        },
    )
    yield made
    if made.state()["deployment"].get("resources"):
        made.destroy()


@pytest.fixture(scope="session")
def platform(
    cluster: Cluster, stack: Stack, image: str, keys: tuple[str, str]
) -> Iterator[Platform]:
    """The stack, up under the policies, with a champion."""
    token = stack.pulumi("config", "get", "vigil:rayToken").strip()
    made = Platform(cluster, stack, image, api_key=keys[0], ray_token=token)
    with made.timed("up"):
        stack.up()
    with made.timed("client"):
        made.start_client()
    with made.timed("running after up"):
        made.running()
    made.bring_table()
    with made.timed("train"):
        version = made.train()
    with made.timed("promote"):
        made.promote(version)
    began = time.monotonic()
    made.workers(2)
    made.figures["two workers after promote"] = round(time.monotonic() - began, 1)
    yield made
    made.stop_client()
    if figures := os.environ.get("VIGIL_TEST_FIGURES"):
        Path(figures).write_text(json.dumps(made.figures, indent=1))


@pytest.fixture(autouse=True)
def _tell(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print what was measured; `-rP` or `-s` shows it."""
    yield
    if "platform" in request.fixturenames:
        print(json.dumps(request.getfixturevalue("platform").figures))


@pytest.fixture
def current(platform: Platform) -> dict[str, Any]:
    """The stack's settings as they are now."""
    config = yaml.safe_load(platform.stack.file.read_text())["config"]
    found = {key.removeprefix("vigil:"): value for key, value in config.items()}
    return {
        key: value
        for key, value in found.items()
        if not (isinstance(value, dict) and "secure" in value)
    }
