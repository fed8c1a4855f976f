"""The life of `dev` in the real engine, under the policies, on stand-ins of AWS and Kubernetes."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
import yaml

from policies.rules import RULES
from policies.subjects import matches
from tests.engine.home import DEADLINE_S, Engine
from tests.engine.provider import DRIFT
from tests.engine.run import Run, kind
from tests.engine.stacks import APPLY, configure, new_stack
from tests.infra.recorded import CANARY, ROOT

pytestmark = pytest.mark.timeout(DEADLINE_S)  # of the runs that its tests read

PREVIEW_BUDGET = 0.1  # of all judgements
# What an autoscaler writes while a training runs.
WORKERS = {"spec.workerGroupSpecs.0.replicas": 2}
# What has to be gone before AWS, or the cluster, lets the other go.
BEFORE = [
    ("kubernetes:ray.io/v1:RayService", "kubernetes:core/v1:Namespace"),
    ("kubernetes:ray.io/v1:RayService", "kubernetes:helm.sh/v3:Release"),
    ("kubernetes:core/v1:Namespace", "aws:eks/cluster:Cluster"),
    ("kubernetes:helm.sh/v3:Release", "aws:eks/cluster:Cluster"),
    ("aws:eks/nodeGroup:NodeGroup", "aws:eks/cluster:Cluster"),
    ("aws:eks/addon:Addon", "aws:eks/cluster:Cluster"),
    ("aws:eks/cluster:Cluster", "aws:ec2/subnet:Subnet"),
    ("aws:ec2/subnet:Subnet", "aws:ec2/vpc:Vpc"),
    ("aws:ec2/natGateway:NatGateway", "aws:ec2/eip:Eip"),
    ("aws:efs/mountTarget:MountTarget", "aws:efs/fileSystem:FileSystem"),
    ("aws:rds/instance:Instance", "aws:rds/subnetGroup:SubnetGroup"),
    ("aws:s3/bucketPolicy:BucketPolicy", "aws:s3/bucket:Bucket"),
]


@dataclass(frozen=True)
class Life:
    """Everything that was run, in this order."""

    first: Run
    bootstrap: Run
    up: Run
    second: Run
    change: Run
    refresh: Run
    state: str
    destroy: Run


@pytest.fixture(scope="module")
def life(engine: Engine) -> Life:
    """The whole life, once; each part is judged by a test of its own."""
    new_stack(engine, "dev")
    first = engine.under_policies("preview", "dev")
    bootstrap = engine.under_policies("up", "dev", *APPLY, "--exclude", "**vigil:infra:Platform**")
    up = engine.under_policies("up", "dev", *APPLY)
    second = engine.under_policies("preview", "dev")
    serving = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["config"]["vigil:serve"]
    configure(engine, "dev", {"minWorkers": 3, "serve": serving | {"minReplicas": 3}})
    change = engine.pulumi("preview", "--stack", "dev", "--diff")
    configure(engine, "dev", {"minWorkers": None, "serve": serving})
    drift = engine.folder / "drift.json"
    drift.write_text(json.dumps({"kubernetes:ray.io/v1:RayCluster": WORKERS}))
    refresh = engine.pulumi("preview", "--stack", "dev", "--refresh", env={DRIFT: str(drift)})
    state = engine.must("stack", "export", "--stack", "dev").output
    destroy = engine.pulumi("destroy", "--stack", "dev", *APPLY)
    return Life(first, bootstrap, up, second, change, refresh, state, destroy)


def test_the_first_preview_is_refused_by_no_policy(life: Life) -> None:
    assert life.first.violations() == []
    assert life.first.code == 0, life.first.output[-3000:]


def test_what_the_first_preview_cannot_know_is_counted_and_bounded(life: Life) -> None:
    assert 0 < life.first.skips <= PREVIEW_BUDGET * life.first.judged


def test_a_policy_over_objects_without_properties_says_that_it_could_not_judge(
    life: Life,
) -> None:
    """The cluster is not there yet: policies of a stack see its objects with nothing in them."""
    types = {kind(urn) for _, urn in life.first.steps if ":kubernetes:" in f":{kind(urn)}"}
    of_stacks = [rule for rule in RULES.values() if rule.stack]
    over_objects: set[str] = set()
    for rule in of_stacks:
        if any(matches(rule.types, each) for each in types):
            over_objects.add(rule.name)
    assert over_objects - {one.policy for one in life.first.skipped} == set()


def test_the_first_update_can_leave_the_platform_out_until_the_image_is_pushed(life: Life) -> None:
    assert life.bootstrap.code == 0, life.bootstrap.output[-3000:]
    made = {kind(urn) for op, urn in life.bootstrap.steps if op == "create"}
    assert "aws:ecr/repository:Repository" in made
    assert "vigil:infra:Platform" not in made
    assert {each for each in made if each.startswith("kubernetes:")} == set()


def test_the_update_makes_what_the_preview_promised(life: Life) -> None:
    assert life.up.code == 0, life.up.output[-3000:]
    promised = {urn for op, urn in life.first.steps if op == "create"}
    made = {urn for run in (life.bootstrap, life.up) for op, urn in run.steps if op == "create"}
    assert made == promised


def test_after_the_update_every_policy_judges(life: Life) -> None:
    assert life.second.violations() == []
    assert life.second.skipped == []
    assert life.second.judged > life.first.judged / 2


def test_a_second_preview_changes_nothing(life: Life) -> None:
    assert (life.second.code, life.second.changes) == (0, {})


def test_a_change_shows_what_it_changes_and_nothing_else(life: Life) -> None:
    assert life.change.code == 0
    # The workers of the RayService, how many of them a drain must leave, and what pods read of it.
    assert life.change.changes == {"update": 3}
    assert life.change.diffs() == {
        "vigil": ["spec"],
        "vigil-serve-worker": ["spec"],
        "settings": ["data"],
    }


def test_what_autoscalers_write_is_no_change_of_the_stack(life: Life) -> None:
    assert (life.refresh.code, life.refresh.changes) == (0, {}), life.refresh.output[-3000:]


def test_no_secret_lies_in_the_state_as_plain_text(life: Life) -> None:
    assert "ciphertext" in life.state
    assert CANARY not in life.state


def test_destroy_takes_everything_in_an_order_that_holds(life: Life) -> None:
    assert life.destroy.code == 0, life.destroy.output[-3000:]
    order = [kind(urn) for op, urn in life.destroy.steps if op == "delete"]
    assert len(order) == len({urn for _, urn in life.first.steps})
    for sooner, later in BEFORE:
        last = len(order) - 1 - order[::-1].index(sooner)
        assert last < order.index(later), f"{later} goes before the last {sooner}"
