"""The parts of the package on AWS: a program of all of them in the real engine, on stand-ins."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.engine.home import DEADLINE_S, Engine
from tests.engine.remote_sdk import added, needs, package_program
from tests.engine.run import Run, kind
from tests.engine.stacks import APPLY

pytestmark = pytest.mark.timeout(DEADLINE_S)

PROGRAM = """
import pulumi
import pulumi_kubernetes as k8s


class Remote(pulumi.ComponentResource):
    def __init__(self, kind, name, inputs, outputs):
        owned = {"environment": "dev", "owner": "ml", "costCenter": "1"}
        props = {"ownership": owned, **inputs, **dict.fromkeys(outputs)}
        super().__init__(f"vigil:index:{kind}", name, props, remote=True)


place = {"account": "111122223333", "region": "eu-west-1"}
zones = ["eu-west-1a", "eu-west-1b"]
keys = Remote("PlatformKeys", "site", place, ["dataArn", "secretsArn"])
subnets = ["vpcId", "privateSubnetIds", "intraSubnetIds"]
network = Remote(
    "PlatformNetwork", "site", {**place, "zones": zones, "logKey": keys.dataArn}, subnets
)
cluster = Remote(
    "PlatformCluster",
    "site",
    {
        **place,
        "vpcId": network.vpcId,
        "subnetIds": network.privateSubnetIds,
        "secretsKey": keys.secretsArn,
        "logKey": keys.dataArn,
        "admins": {"ops": "arn:aws:iam::111122223333:role/ops"},
        "autoMode": AUTO_MODE,
    },
    ["kubeconfig", "securityGroup"],
)
placed = {
    "vpcId": network.vpcId,
    "subnetIds": network.intraSubnetIds,
    "clients": cluster.securityGroup,
    "key": keys.dataArn,
}
database = Remote("PlatformDatabase", "site-mlflow", placed, ["address", "secretArn"])
for region in ("eu", "us"):
    names = {purpose: f"{region}-{purpose}" for purpose in ("models", "captured", "logs")}
    kept = {"names": names, "key": keys.dataArn, "expireDays": {"captured": 30}}
    Remote("PlatformBuckets", region, {**place, **kept}, ["arns"])
Remote("TelemetryStream", "rows", {"key": keys.dataArn, "hours": 24}, ["arn"])
provider = k8s.Provider("here", kubeconfig=cluster.kubeconfig)
inside = pulumi.ResourceOptions(provider=provider)
k8s.core.v1.ConfigMap("mark", metadata={"namespace": "kube-system"}, opts=inside)
pulumi.export("address", database.address)
"""
MADE = {
    "aws:ec2/subnet:Subnet": 6,
    "aws:ec2/natGateway:NatGateway": 1,
    "aws:eks/cluster:Cluster": 1,
    "aws:kinesis/stream:Stream": 1,
    "aws:kms/key:Key": 2,
    "aws:rds/instance:Instance": 1,
    "aws:s3/bucket:Bucket": 6,
}


def program(engine: Engine, folder: Path, auto_mode: bool) -> tuple[Engine, dict[str, str]]:
    """The program with its stack, and what its environment has."""
    made, env = package_program(engine, folder, "dev")
    text = PROGRAM.replace("AUTO_MODE", str(auto_mode))
    (made.project / "__main__.py").write_text(text)
    return made, env


def counted(run: Run) -> Counter[str]:
    return Counter(kind(urn) for _, urn in run.steps)


def test_all_parts_stand_under_the_policies_and_stay(engine: Engine, tmp_path: Path) -> None:
    made, env = program(engine, tmp_path, auto_mode=True)
    up = made.under_policies("up", "dev", *APPLY, env=env)
    assert up.code == 0, up.output[-3000:]
    assert up.violations() == []
    found = counted(up)
    assert {typ: found[typ] for typ in MADE} == MADE
    assert found["aws:eks/nodeGroup:NodeGroup"] == 0
    order = [kind(urn) for _, urn in up.steps]
    assert order.index("aws:eks/addon:Addon") < order.index("kubernetes:core/v1:ConfigMap")
    again = made.must("preview", "--stack", "dev", env=env)
    assert again.changes == {}


def test_a_cluster_of_own_nodes_is_planned_of_unknown_subnets(
    engine: Engine, tmp_path: Path
) -> None:
    made, env = program(engine, tmp_path, auto_mode=False)
    run = made.under_policies("preview", "dev", env=env)
    assert run.code == 0, run.output[-3000:]
    assert run.violations() == []
    found = counted(run)
    assert found["aws:eks/nodeGroup:NodeGroup"] == 1
    assert found["aws:eks/addon:Addon"] == 6


def test_buckets_without_one_for_access_logs_are_refused(engine: Engine, tmp_path: Path) -> None:
    made, env = program(engine, tmp_path, auto_mode=True)
    file = made.project / "__main__.py"
    file.write_text(file.read_text().replace(', "logs")', ")"))
    run = made.pulumi("preview", "--stack", "dev", env=env)
    assert run.code != 0
    assert "name a bucket for logs" in f"{run.output} {run.events}"


@needs("pulumi-language-nodejs", "node", "npm")
def test_a_program_in_typescript_plans_it_by_typed_inputs(engine: Engine) -> None:
    made = added(engine, "typescript-aws", "dev")
    run = made.under_policies("preview", "dev")
    assert run.code == 0, run.output[-3000:]
    assert run.violations() == []
    found = counted(run)
    assert found["aws:eks/cluster:Cluster"] == found["aws:rds/instance:Instance"] == 1
    assert found["aws:s3/bucket:Bucket"] == 2
