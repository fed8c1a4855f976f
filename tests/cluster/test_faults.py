"""What breaks, under 100 requests a second: who is asked meanwhile, and what it costs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.manifests.bindings import TRACKING_NAMESPACE
from tests.cluster.kube import NAMESPACE, Cluster, KubectlFailed, eventually, is_ready, name_of
from tests.cluster.platform import Platform

RATE = 100
IN_FLIGHT = 16  # connections of the load: no more can be asked at one moment
HEAD_S, STEADY_S = 300, 45
AWAY_S = 60  # without Redis


def evict(cluster: Cluster, pod: str) -> None:
    """Ask for a pod's eviction, as a drain does; raises KubectlFailed where a budget forbids it."""
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": pod, "namespace": NAMESPACE},
    }
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction"
    cluster.kubectl("create", "--raw", path, "-f", "-", text=json.dumps(eviction))


def test_a_deleted_worker_costs_nothing(platform: Platform) -> None:
    first, _ = platform.workers(2)
    with platform.load(RATE) as load, platform.timed("worker deleted: back"):
        platform.cluster.kubectl("delete", "pod", first, "-n", NAMESPACE, "--wait=false")
        platform.workers(2)
    platform.figures["worker deleted"] = load.result
    assert load.result["failed"] == 0, load.result["failures"]


def test_an_evicted_worker_costs_nothing_and_the_next_one_stays(platform: Platform) -> None:
    first, second = platform.workers(2)
    with platform.load(RATE) as load:
        evict(platform.cluster, first)
        with pytest.raises(KubectlFailed, match="disruption budget"):
            evict(platform.cluster, second)
        platform.workers(2)
    platform.figures["worker evicted"] = load.result
    assert load.result["failed"] == 0, load.result["failures"]


def test_a_drained_node_gives_its_workers_away_one_by_one(platform: Platform) -> None:
    """On one node: the drain takes a worker, and goes on when another has started.

    The node is given back in between, so that the other can start.
    """
    workers = platform.workers(2)
    (node,) = {pod["spec"]["nodeName"] for pod in platform.cluster.pods("serve-worker")}
    drain = ["drain", node, "--pod-selector=app.kubernetes.io/component=serve-worker"]
    drain += ["--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=600s"]
    with platform.load(RATE) as load:
        with platform.cluster.started(*drain) as process:
            eventually(
                "the drain has taken a worker",
                lambda: (
                    len(platform.cluster.pods("serve-worker")) < 2
                    or {name_of(pod) for pod in platform.cluster.pods("serve-worker")}
                    != set(workers)
                ),
                120,
            )
            platform.cluster.kubectl("uncordon", node)
            printed, _ = process.communicate(timeout=600)
        assert process.returncode == 0, printed
        assert "violate the pod's disruption budget" in printed
        left = platform.workers(2)
    platform.figures["node drained"] = load.result
    assert not set(left) & set(workers)
    assert load.result["failed"] == 0, load.result["failures"]


def test_a_killed_worker_costs_at_most_what_it_had_in_flight(platform: Platform) -> None:
    first, _ = platform.workers(2)
    with platform.load(RATE) as load:
        kill(platform.cluster, first)
        platform.workers(2)
    platform.figures["worker killed"] = load.result
    assert load.result["failed"] <= IN_FLIGHT, load.result["failures"]


def test_a_worker_that_is_born_while_mlflow_is_away_serves_the_last_known_good(
    platform: Platform,
) -> None:
    first, _ = platform.workers(2)
    served = platform.served()
    scale = ["scale", "deployment/mlflow", "-n", TRACKING_NAMESPACE]
    with platform.load(RATE) as load:
        platform.cluster.kubectl(*scale, "--replicas=0")
        try:
            eventually(
                "MLflow is away",
                lambda: (
                    not platform.cluster.list(
                        "pods",
                        namespace=TRACKING_NAMESPACE,
                        selector="app.kubernetes.io/component=server",
                    )
                ),
                120,
            )
            platform.cluster.kubectl("delete", "pod", first, "-n", NAMESPACE, "--wait=false")
            platform.workers(2)
            assert platform.served() == served
        finally:
            platform.cluster.kubectl(*scale, "--replicas=1")
        platform.cluster.kubectl(
            "rollout",
            "status",
            "deployment/mlflow",
            "-n",
            TRACKING_NAMESPACE,
            "--timeout=240s",
            timeout_s=260,
        )
    platform.figures["MLflow away"] = load.result
    assert load.result["failed"] == 0, load.result["failures"]


def test_a_killed_mlflow_comes_back_with_all_that_it_knew(platform: Platform) -> None:
    served = platform.served()
    (pod,) = platform.cluster.list(
        "pods", "app.kubernetes.io/component=server", namespace=TRACKING_NAMESPACE
    )
    with platform.load(RATE) as load:
        platform.cluster.kubectl(
            "delete", "pod", name_of(pod), "-n", TRACKING_NAMESPACE, "--force", "--grace-period=0"
        )
        platform.cluster.kubectl(
            "rollout",
            "status",
            "deployment/mlflow",
            "-n",
            TRACKING_NAMESPACE,
            "--timeout=240s",
            timeout_s=260,
        )
    assert platform.served() == served
    assert load.result["failed"] == 0, load.result["failures"]


def test_monitor_and_training_workers_killed_in_a_retraining_make_one_promotion(
    platform: Platform,
) -> None:
    (last,) = platform.served()
    platform.end_rest()
    before = platform.drift()["retrains"]
    platform.mode("auto")
    try:
        with platform.load(RATE, shift=-3.0) as load:
            eventually("a retraining has begun", lambda: begun(platform), 600)
            workers = eventually(
                "a training worker runs", lambda: platform.cluster.ready("train-worker"), 240
            )
            (monitor,) = platform.cluster.ready("monitor")
            for pod in (monitor, *workers):
                kill(platform.cluster, pod)
            eventually("there is a monitor again", lambda: platform.drift().get("governor"), 300)
            eventually("the retraining has ended", lambda: idle(platform, before), 900)
    finally:
        platform.mode("observe")
    found = platform.drift()
    platform.figures["monitor and training workers killed"] = load.result
    assert found["retrains"] == before + 1
    assert found["last_retraining"]["outcome"] == "promoted", found["last_retraining"]
    assert set(load.result["versions"]) == {last, str(found["last_retraining"]["version"])}
    assert load.result["failed"] == 0, load.result["failures"]


def begun(platform: Platform) -> bool:
    return platform.drift().get("governor", {}).get("phase") == "retraining"


def idle(platform: Platform, before: int) -> bool:
    found = platform.drift()
    return found.get("retrains", 0) > before and found["governor"]["phase"] != "retraining"


def kill(cluster: Cluster, pod: str) -> None:
    """Take a pod away at once, as a machine that dies does."""
    cluster.kubectl("delete", "pod", pod, "-n", NAMESPACE, "--force", "--grace-period=0")


def lose_head(
    platform: Platform, take: Callable[[str], None], *, workers_too: bool
) -> dict[str, Any]:
    """Take the serving head, wait until all is well again, under load; what the load saw.

    `workers_too`: the workers are replaced with their head.
    """
    (head,), workers = platform.cluster.ready("serve-head"), set(platform.workers(2))
    with platform.load(RATE) as load:
        take(head)
        eventually(f"a head has led for {STEADY_S} s", lambda: led(platform, head), HEAD_S)
        if workers_too:
            eventually(
                "the workers are new",
                lambda: not workers & set(platform.cluster.ready("serve-worker")),
                HEAD_S,
            )
        platform.workers(2, HEAD_S)
        platform.running()
        eventually("the service answers", lambda: platform.ask("/readyz")[0] == 200, HEAD_S)
    return load.result


def led(platform: Platform, former: str) -> bool:
    """Whether there is another head, that has been ready long enough to have shown its cost."""
    found = [
        pod
        for pod in platform.cluster.pods("serve-head")
        if name_of(pod) != former and is_ready(pod)
    ]
    since = [
        datetime.fromisoformat(one["lastTransitionTime"])
        for pod in found
        for one in pod["status"]["conditions"]
        if one["type"] == "Ready"
    ]
    return any((datetime.now(UTC) - one).total_seconds() > STEADY_S for one in since)


def test_without_redis_a_lost_head_takes_the_service_away_for_a_while(platform: Platform) -> None:
    """KubeRay replaces all workers with their head; docs/cluster.md has the seconds and why."""
    result = lose_head(platform, lambda head: kill(platform.cluster, head), workers_too=True)
    platform.figures["head lost without Redis"] = result
    assert result["away_s"] <= AWAY_S, result
