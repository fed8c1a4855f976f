"""Rules about Ray and MLflow, where one changed property does not say it all."""

from __future__ import annotations

from typing import Any

import pytest

from policies.rules import POLICIES
from tests.policies.good import GOOD
from tests.policies.harness import Given, changed, run
from tests.policies.table import broken, varied

POLICY = {policy.name: policy for policy in POLICIES}
CAPACITY = "karpenter.sh/capacity-type"
WORKERS = "spec.rayClusterConfig.workerGroupSpecs.0.template.spec"


@pytest.mark.parametrize(
    ("strategy", "limit", "needed"),
    [
        ({"type": "None"}, 1, None),
        ({"type": "NewCluster"}, 16, None),
        ({"type": "NewCluster"}, 15, 16),
        ({}, 15, 16),
        ({"type": "NewClusterWithIncrementalUpgrade"}, 15, 16),
        (
            {
                "type": "NewClusterWithIncrementalUpgrade",
                "clusterUpgradeOptions": {"maxSurgePercent": 50},
            },
            12,
            None,
        ),
        (
            {
                "type": "NewClusterWithIncrementalUpgrade",
                "clusterUpgradeOptions": {"maxSurgePercent": 50},
            },
            11,
            12,
        ),
    ],
)
def test_an_upgrade_needs_room_for_what_it_adds(
    strategy: dict[str, Any], limit: int, needed: int | None
) -> None:
    """The worker group of the good stack asks for 8 CPUs at most.

    Its pool is found by the label of its nodes, too.
    """
    pool = {
        "limits": {"cpu": str(limit)},
        "template": {"metadata": {"labels": {"vigil/pool": "serve"}}},
    }
    resources = [
        changed(
            changed(each, "spec.upgradeStrategy", strategy),
            f"{WORKERS}.nodeSelector",
            {"vigil/pool": "serve"},
        )
        if each.name == "serve"
        else each
        for each in varied("ray-serve", "spec", pool)
    ]
    text = f"an upgrade needs {needed} CPUs where the limits (ray-serve) allow {limit}: "
    said = [("serve", f"{text}raise the limits, or set upgradeStrategy.type to None")]
    assert run(POLICY["ray-upgrade-has-room"], resources).violations == (said if needed else [])


def test_room_outside_karpenter_is_a_parameter() -> None:
    """A stack without node pools, such as one on a cluster that exists, is not told of any."""
    resources = [each for each in GOOD if not each.type.endswith(":NodePool")]
    ending = "or set upgradeStrategy.type to None"
    limits = "20 CPUs of nodes that this stack does not limit"
    for cpus, said in (
        (0, f"{limits}: say how many they offer in the parameter nodeCpus"),
        (19, "20 CPUs where the nodes offer 19 (nodeCpus): add nodes"),
    ):
        result = run(POLICY["ray-upgrade-has-room"], resources, {"nodeCpus": cpus})
        assert result.violations == [("serve", f"an upgrade needs {said}, {ending}")]
    assert run(POLICY["ray-upgrade-has-room"], resources, {"nodeCpus": 20}).status == "passed"


def test_a_group_counts_by_its_limits_where_it_requests_nothing() -> None:
    resources = broken("serve", f"{WORKERS}.containers.0.resources", {"limits": {"cpu": "5500m"}})
    message = (
        "at its largest the cluster asks for 24 CPUs of a quota of 22: raise the quota, or lower"
        " maxReplicas"
    )
    small = [
        changed(each, "spec.hard", {"requests.cpu": "22"}) if each.name == "quota" else each
        for each in resources
    ]
    assert run(POLICY["ray-within-quota"], small).violations == [("serve", message)]
    assert run(POLICY["ray-within-quota"], resources).status == "passed"


def test_the_drain_of_the_default_proxy_counts_without_haproxy() -> None:
    drain = {"name": "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S", "value": "145"}
    resources = broken("serve", f"{WORKERS}.containers.0.env", [drain])
    message = (
        "worker group serve: it is killed while it still drains: set terminationGracePeriodSeconds"
        " to 155 or more"
    )
    assert run(POLICY["ray-drains-in-peace"], resources).violations == [("serve", message)]


def test_workers_of_an_autoscaling_cluster_still_choose_their_account() -> None:
    """KubeRay gives the head an account, the workers none."""
    resources = broken("serve", "spec.rayClusterConfig.enableInTreeAutoscaling", True)
    resources = [
        changed(each, f"{WORKERS}.automountServiceAccountToken", True)
        if each.name == "serve"
        else each
        for each in resources
    ]
    assert [
        message.split(":")[0]
        for _, message in run(POLICY["pod-no-idle-token"], resources).violations
    ] == ["worker group serve"]


def test_a_head_on_a_static_node_group_must_not_meet_spot_capacity() -> None:
    head = {"role": "system"}
    pod = "spec.rayClusterConfig.headGroupSpec.template.spec.nodeSelector"
    resources = [
        changed(each, "capacityType", "SPOT") if each.name == "nodes" else each
        for each in varied("serve", pod, head)
    ]
    assert run(POLICY["ray-head-on-demand"], resources).status == "violated"


@pytest.mark.parametrize(
    ("image", "command", "status"),
    [
        ("ghcr.io/acme/mlflow:3.17.2", None, "violated"),
        ("acme/vigil:1.0.0", ["mlflow", "server"], "violated"),
        ("acme/vigil:1.0.0", ["sh", "-c", "exec mlflow server --port 5000"], "violated"),
        ("acme/mlflow:3.17.2", ["mlflow", "db", "upgrade"], "passed"),
        ("mlflow/proxy:1.0.0", None, "passed"),
        ("acme/vigil:1.0.0", ["python", "server"], "passed"),
    ],
)
def test_an_mlflow_server_is_known_by_its_command_or_its_image(
    image: str, command: list[str] | None, status: str
) -> None:
    pod = Given(
        "kubernetes:core/v1:Pod",
        "p",
        {"spec": {"containers": [{"name": "c", "image": image, "command": command}]}},
    )
    assert run(POLICY["mlflow-asks-who-is-there"], [pod]).status == status


def test_mlflow_tells_its_version_by_the_tag_where_no_label_does() -> None:
    message = (
        "container mlflow: MLflow v3.15.0 is too old: run the minimum or later, and say so in the"
        " label app.kubernetes.io/version"
    )
    bare = broken("mlflow", "spec.template.metadata.labels", {})
    image = "spec.template.spec.containers.0.image"
    old = [
        changed(each, image, "registry:5000/mlflow:v3.15.0") if each.name == "mlflow" else each
        for each in bare
    ]
    assert run(POLICY["mlflow-version-supported"], old).violations == [("mlflow", message)]


def test_a_head_is_held_to_the_pools_that_its_selector_can_meet() -> None:
    """A label may be one that the pool's requirements give.

    Without any selector the head may land anywhere.
    """
    pod, arm = (
        "spec.rayClusterConfig.headGroupSpec.template.spec.nodeSelector",
        {"kubernetes.io/arch": "arm64"},
    )
    asks = [
        {"key": CAPACITY, "operator": "In", "values": ["on-demand"]},
        {"key": "kubernetes.io/arch", "values": ["arm64"]},
    ]
    selected = broken("serve", pod, arm)
    met = [
        changed(each, "spec.template.spec.requirements", asks) if each.name == "ray-head" else each
        for each in selected
    ]
    assert run(POLICY["ray-head-on-demand"], met).status == "passed"
    everywhere = [
        changed(each, "spec.template.spec.requirements", asks)
        if each.type.endswith(":NodePool")
        else each
        for each in broken("serve", pod, {})
    ]
    assert run(POLICY["ray-head-on-demand"], everywhere).status == "violated"
