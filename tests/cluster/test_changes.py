"""What `vigil doctor change` foretells is what the operator does.

One change of each effect, under load.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.manifests.bindings import TRACKING_NAMESPACE
from tests.cluster.kube import eventually, name_of
from tests.cluster.platform import Platform
from tests.cluster.proxy import way_to
from tests.cluster.stack import foretold


def test_more_replicas_restart_nothing(
    platform: Platform, current: dict[str, Any], tmp_path: Path
) -> None:
    change = {"serve": current["serve"] | {"minReplicas": 4}}
    assert foretold(current, current | change, tmp_path) == {"in-process"}
    platform.workers(2)
    before, serving = platform.pods_of("serve-worker"), platform.active_cluster()
    with platform.load() as load:
        platform.stack.set(change)
        platform.stack.up()
        eventually(
            "four replicas report", lambda: len(platform.drift().get("replicas", [])) >= 4, 180
        )
    assert platform.active_cluster() == serving
    assert not platform.restarted(before)
    assert load.result["failed"] == 0, load.result["failures"]
    platform.stack.preview("--expect-no-changes")


def test_a_limit_is_taken_by_the_replicas_that_run(
    platform: Platform, current: dict[str, Any], tmp_path: Path
) -> None:
    change = {"serve": current["serve"] | {"maxRows": 2}}
    assert foretold(current, current | change, tmp_path) == {"reconfigure"}
    replicas = {one["replica"] for one in platform.drift()["replicas"]}
    features = platform.ask("/readyz")[1]["features"]
    three = {"instances": [[0.0] * len(features)] * 3}
    assert platform.ask("/predict", three)[0] == 200
    with platform.load() as load:
        platform.stack.set(change)
        platform.stack.up()
        eventually("a third row is refused", lambda: platform.ask("/predict", three)[0] == 413, 120)
    assert {one["replica"] for one in platform.drift()["replicas"]} == replicas
    assert load.result["failed"] == 0, load.result["failures"]


def test_what_training_is_told_reaches_the_pods_that_run(
    platform: Platform, current: dict[str, Any], tmp_path: Path
) -> None:
    change = {"train": {"nEstimators": 31}}
    assert foretold(current, current | change, tmp_path) == {"in-process"}
    (head,) = platform.cluster.ready("train-head")
    platform.stack.set(change)
    platform.stack.up()
    asked = ["vigil", "settings", "train", "--json"]

    def told() -> list[dict[str, Any]]:
        found = json.loads(platform.cluster.execute(head, asked))["settings"]
        return [one for one in found if one["key"] == "train.nEstimators" and one["value"] == 31]

    (one,) = eventually("the training head reads it", told, 180)
    assert one["from"] == "file /etc/vigil-settings/vigil.yaml"
    assert platform.cluster.ready("train-head") == [head]


def test_a_setting_of_the_replicas_restarts_them_in_turn(
    platform: Platform, current: dict[str, Any], tmp_path: Path
) -> None:
    change = {"serve": current["serve"] | {"cpusPerReplica": 0.2}}
    assert foretold(current, current | change, tmp_path) == {"rolling restart"}
    before, serving = platform.pods_of("serve-worker"), platform.active_cluster()
    replicas = {one["replica"] for one in platform.drift()["replicas"]}
    with platform.load() as load:
        platform.stack.set(change)
        platform.stack.up()

        def others() -> bool:
            found = {one["replica"] for one in platform.drift().get("replicas", [])}
            return len(found) >= len(replicas) and not found & replicas

        eventually("all replicas are new", others, 300)
    assert platform.active_cluster() == serving
    assert not platform.restarted(before)
    platform.figures["rolling replicas"] = load.result
    assert load.result["failed"] == 0, load.result["failures"]


def test_a_scale_up_gets_its_worker_from_a_training(
    platform: Platform, current: dict[str, Any], tmp_path: Path
) -> None:
    """Training workers fill what is left of the node; a new serving worker takes one's place."""
    change = {"minWorkers": 3, "serve": current["serve"] | {"minReplicas": 5}}
    assert foretold(current, current | change, tmp_path) == {"in place", "in-process"}
    platform.cluster.apply(_filler(platform))
    try:
        eventually("the node is full", lambda: _pending(platform), 120)
        platform.stack.set(change)
        platform.stack.up()
        with platform.timed("third worker on a full node"):
            platform.workers(3)
    finally:
        platform.cluster.kubectl(
            "delete", "deployment", "filler", "-n", "vigil", "--ignore-not-found"
        )
        platform.stack.set({key: current[key] for key in change})
        platform.stack.up()


def _filler(platform: Platform) -> dict[str, Any]:
    """Pods of the rank of training, more than the node holds."""
    from infra.manifests.bindings import TRAINING_PRIORITY
    from infra.manifests.parts import CONTAINER_SECURITY, POD_SECURITY

    container = {
        "name": "filler",
        "image": platform.image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"],
        "resources": {"requests": {"cpu": "500m", "memory": "64Mi"}},
        "securityContext": CONTAINER_SECURITY,
    }
    spec = {
        "containers": [container],
        "priorityClassName": TRAINING_PRIORITY,
        "securityContext": POD_SECURITY,
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
    }
    labels = {"app": "filler"}
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "filler", "namespace": "vigil"},
        "spec": {"replicas": 30, "selector": {"matchLabels": labels}, "template": template},
    }


def _pending(platform: Platform) -> bool:
    found = platform.cluster.list("pods", "app=filler")
    waiting = [pod for pod in found if pod["status"]["phase"] == "Pending"]
    refused = [
        one
        for pod in waiting
        for one in pod["status"].get("conditions", [])
        if one.get("reason") == "Unschedulable"
    ]
    return bool(refused)


def test_a_training_worker_of_another_size_makes_the_training_cluster_anew(
    platform: Platform, current: dict[str, Any], tmp_path: Path
) -> None:
    change = {"trainMemoryGib": int(current["trainMemoryGib"]) + 1}
    assert foretold(current, current | change, tmp_path) == {"replacement"}
    heads, serving = set(platform.cluster.ready("train-head")), platform.pods_of("serve-worker")
    with platform.load() as load:
        platform.stack.set(change)
        platform.stack.up()
        eventually(
            "the training head is new",
            lambda: heads.isdisjoint(platform.cluster.ready("train-head")),
            300,
        )
        eventually("it is ready", lambda: platform.cluster.ready("train-head"), 240)
    assert not platform.restarted(serving)
    assert load.result["failed"] == 0, load.result["failures"]


def test_another_image_is_a_second_cluster_that_takes_over(
    platform: Platform, current: dict[str, Any], tmp_path: Path
) -> None:
    other = os.environ.get("VIGIL_TEST_NEXT_IMAGE")
    if not other:
        pytest.skip("no second image: set VIGIL_TEST_NEXT_IMAGE to one that is on the nodes")
    change = {"image": other}
    assert foretold(current, current | change, tmp_path) == {
        "second cluster",
        "rolling pods",
        "replacement",
        "in place",
    }
    serving, former = platform.active_cluster(), beside(platform)
    with platform.load() as load:
        platform.stack.set(change)
        with platform.timed("second cluster"):
            platform.stack.up()
            eventually("another cluster serves", lambda: platform.active_cluster() != serving, 600)
        with platform.timed("first cluster gone"):
            eventually(
                "the first cluster is gone",
                lambda: platform.cluster.get("raycluster", serving) is None,
                400,
            )
    assert former.isdisjoint(beside(platform))
    platform.figures["another image"] = load.result
    assert load.result["failed"] == 0, load.result["failures"]


def beside(platform: Platform) -> set[str]:
    """The pods of MLflow and the training cluster's head: they too run the image."""
    servers = platform.cluster.list(
        "pods", "app.kubernetes.io/component=server", namespace=TRACKING_NAMESPACE
    )
    return {name_of(pod) for pod in (*servers, *platform.cluster.pods("train-head"))}


def test_an_api_server_that_goes_away_is_named_and_the_next_update_mends_it(
    platform: Platform, current: dict[str, Any], tmp_path: Path
) -> None:
    with way_to(platform.cluster.kubeconfig, tmp_path) as (kubeconfig, way):
        environment = {**platform.stack.environment, "KUBECONFIG": str(kubeconfig)}
        cut = replace(platform.stack, environment=environment)
        cut.set({"maxTrainWorkers": int(current["maxTrainWorkers"]) + 1})
        with cut.start("up", "--yes", "--skip-preview") as process:
            assert process.stdout is not None
            printed = ""
            while "kubernetes:" not in printed and (line := process.stdout.readline()):
                printed += (
                    line  # the program has looked at the cluster by then, and objects are under way
                )
            way.cut()
            printed += process.stdout.read()
        assert process.returncode != 0
        assert f"127.0.0.1:{way.port}" in printed or str(kubeconfig) in printed
        assert "Traceback" not in printed
    platform.stack.up()
    platform.stack.preview("--expect-no-changes")
