"""The loop, as it is meant.

Drift leads to a retraining on the training cluster, and that to a swap that nobody notices.
"""

from __future__ import annotations

import time

from tests.cluster.kube import eventually
from tests.cluster.platform import Platform

DRIFT_SD = 3.0
LOOP_S = 900


def retrained(platform: Platform) -> dict[str, object] | None:
    """How the last retraining ended, once one has."""
    return platform.drift().get("last_retraining") or None


def test_drift_leads_to_a_retraining_on_the_training_cluster_and_a_swap(platform: Platform) -> None:
    before = platform.served()
    workers = 0
    began = time.monotonic()
    with platform.load(shift=DRIFT_SD) as load:

        def ended() -> dict[str, object] | None:
            nonlocal workers
            workers = max(workers, len(platform.cluster.pods("train-worker")))
            return retrained(platform)

        found = eventually("a retraining has ended", ended, LOOP_S)
        assert found["outcome"] == "promoted", found
        version = str(found["version"])
        eventually(f"all replicas serve {version}", lambda: platform.served() == {version}, 60)
        platform.figures["drift to swap"] = round(time.monotonic() - began, 1)
    assert before == {str(int(version) - 1)}
    assert workers >= 1  # the autoscaler made them: it ran where it should
    assert load.result["failed"] == 0, load.result["failures"]
    assert set(load.result["versions"]) == {*before, version}
    platform.figures["loop"] = load.result


def test_a_rollback_and_a_promotion_by_hand_cost_nothing(platform: Platform) -> None:
    platform.mode("observe")  # faults are next: no retraining may start by itself
    with platform.load() as load:
        platform.end_rest()
    assert load.result["failed"] == 0, load.result["failures"]
    assert len(load.result["versions"]) == 2
