"""Network and stores of a stack under mocks: closed, encrypted, logged, kept."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from fnmatch import fnmatch

import pytest

from tests.infra.recorded import Stack, recorded, run

GROUP = "aws:cloudwatch/logGroup:LogGroup"


@pytest.fixture
def prod() -> Stack:
    return recorded("prod")


@pytest.mark.parametrize(("name", "nats", "zones"), [("dev", 1, 2), ("prod", 3, 3)])
def test_the_network_has_its_ways_in_and_out(name: str, nats: int, zones: int) -> None:
    found = recorded(name)
    assert len(found.of("aws:ec2/natGateway:NatGateway")) == nats
    assert len(found.of("aws:ec2/subnet:Subnet")) == 3 * zones
    assert not any(
        subnet.inputs["mapPublicIpOnLaunch"] for subnet in found.of("aws:ec2/subnet:Subnet")
    )
    ways_out = {r.name: r.inputs for r in found.of("aws:ec2/route:Route")}
    assert all("natGatewayId" in way for label, way in ways_out.items() if "private" in label)
    assert not any("intra" in label for label in ways_out)
    endpoints = {
        r.inputs["serviceName"].split(".", 3)[3]: r.inputs["vpcEndpointType"]
        for r in found.of("aws:ec2/vpcEndpoint:VpcEndpoint")
    }
    assert endpoints == {"s3": "Gateway"} | dict.fromkeys(
        ("ecr.api", "ecr.dkr", "sts", "logs"), "Interface"
    )
    default = found.one("aws:ec2/defaultSecurityGroup:DefaultSecurityGroup").inputs
    assert (default["ingress"], default["egress"]) == ([], [])
    assert found.one("aws:ec2/flowLog:FlowLog").inputs["trafficType"] == "ALL"


def test_no_security_group_opens_to_the_world(prod: Stack) -> None:
    assert "0.0.0.0/0" not in json.dumps(
        [asdict(r) for r in prod.of("aws:ec2/securityGroup:SecurityGroup")]
    )


def test_the_database_is_private_encrypted_and_keeps_its_own_password(prod: Stack) -> None:
    database = prod.one("aws:rds/instance:Instance").inputs
    assert "password" not in database
    wanted = {
        "manageMasterUserPassword": True,
        "publiclyAccessible": False,
        "storageEncrypted": True,
        "backupRetentionPeriod": 30,
        "autoMinorVersionUpgrade": True,
        "iamDatabaseAuthenticationEnabled": True,
    }
    assert {key: database[key] for key in wanted} == wanted
    assert {"name": "rds.force_ssl", "value": "1"} in prod.one(
        "aws:rds/parameterGroup:ParameterGroup"
    ).inputs["parameters"]
    assert all(
        "intra" in subnet
        for subnet in prod.one("aws:rds/subnetGroup:SubnetGroup").inputs["subnetIds"]
    )


def test_a_database_always_leaves_a_last_snapshot() -> None:
    """`protect: false` is how an environment is deleted: the snapshot stays all the same, and the
    second zone of one that goes on."""
    given_up = run("prod", {"protect": False})
    stacks = [(recorded("dev"), False, 1), (given_up, False, 2), (recorded("prod"), True, 2)]
    for stack, protected, zones in stacks:
        database = stack.one("aws:rds/instance:Instance").inputs
        assert database["skipFinalSnapshot"] is False
        name = database["finalSnapshotIdentifier"]
        assert re.fullmatch(r"vigil-\w+-mlflow-last-[0-9a-f]{10}", name)
        assert database["deletionProtection"] is protected
        assert database["multiAz"] is (zones == 2)


def test_the_last_snapshot_of_the_next_database_has_another_name() -> None:
    """It comes from what AWS makes anew with each database: its security group, its key."""
    from infra.database import last_snapshot

    made = [[group, key] for group in ("sg-1", "sg-2") for key in ("a", "b")]
    assert len({last_snapshot("vigil-dev-mlflow", each) for each in made}) == 4
    assert len({last_snapshot("vigil-dev-mlflow", made[0]) for _ in range(2)}) == 1
    dependencies = recorded("dev").one("aws:rds/instance:Instance").dependencies
    assert any("ec2/securityGroup:SecurityGroup" in urn for urn in dependencies)


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_every_service_writes_to_a_log_group_of_ours_with_our_key(name: str) -> None:
    """What is not made before, the service makes: without end, without a key, and left behind."""
    stack = recorded(name)
    groups = {r.inputs["name"]: r for r in stack.of(GROUP)}
    assert groups.keys() == {
        f"/vigil/vigil-{name}/flow",
        f"/aws/eks/vigil-{name}/cluster",
        f"/aws/rds/instance/vigil-{name}-mlflow/postgresql",
        f"/aws/rds/instance/vigil-{name}-mlflow/upgrade",
    }
    data = f"arn:aws:kms:eu-west-1:111122223333:key/vigil-{name}-data"
    days = {"dev": 30, "prod": 365}[name]
    for group in groups.values():
        assert (group.inputs["kmsKeyId"], group.inputs["retentionInDays"]) == (data, days)
    database = stack.one("aws:rds/instance:Instance")
    assert {r.urn for path, r in groups.items() if "/rds/" in path} <= set(database.dependencies)
    policy = json.loads(stack.one("aws:kms/key:Key", f"vigil-{name}-data").inputs["policy"])
    allowed = policy["Statement"][1]["Condition"]["ArnLike"]["kms:EncryptionContext:aws:logs:arn"]
    for path in groups:
        arn = f"arn:aws:logs:eu-west-1:111122223333:log-group:{path}"
        assert any(fnmatch(arn, pattern) for pattern in allowed), path


def test_every_bucket_has_all_its_guards(prod: Stack) -> None:
    buckets = {r.inputs["bucket"] for r in prod.of("aws:s3/bucket:Bucket")}
    assert {name.split("-")[2] for name in buckets} == {
        "models",
        "data",
        "captured",
        "charts",
        "logs",
    }
    for part in (
        "PublicAccessBlock",
        "OwnershipControls",
        "Versioning",
        "ServerSideEncryptionConfiguration",
        "Policy",
        "LifecycleConfiguration",
    ):
        assert {
            r.inputs["bucket"] for r in prod.of(f"aws:s3/bucket{part}:Bucket{part}")
        } == buckets, part
    logged = {r.inputs["bucket"] for r in prod.of("aws:s3/bucketLogging:BucketLogging")}
    assert buckets - logged == {name for name in buckets if "-logs-" in name}
    for block in prod.of("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock"):
        assert sum(value is True for value in block.inputs.values()) == 4


def test_images_stream_and_keys_follow_the_rules(prod: Stack) -> None:
    repository = prod.one("aws:ecr/repository:Repository").inputs
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    stream = prod.one("aws:kinesis/stream:Stream").inputs
    assert (stream["encryptionType"], stream["retentionPeriod"], "shardCount" in stream) == (
        "KMS",
        168,
        False,
    )
    assert recorded("dev").one("aws:kinesis/stream:Stream").inputs["shardCount"] == 1
    assert all(
        key.inputs["enableKeyRotation"] and key.inputs["deletionWindowInDays"] == 30
        for key in prod.of("aws:kms/key:Key")
    )


def test_without_a_shared_folder_there_is_no_file_system_and_nothing_that_mounts_one() -> None:
    found = run("dev", {"sharedFolder": False})
    assert not found.error
    assert found.of("aws:efs/") == []
    assert "aws-efs-csi-driver" not in {
        one.inputs["addonName"] for one in found.of("aws:eks/addon:Addon")
    }
    assert not [one for one in found.of("kubernetes:") if one.name == "home"]


def test_a_stream_that_is_consumed_has_a_table_for_its_leases() -> None:
    table = recorded("prod").one("aws:dynamodb/table:Table").inputs
    assert (table["name"], table["hashKey"], table["billingMode"]) == (
        "vigil-prod-leases",
        "key",
        "PAY_PER_REQUEST",
    )
    assert table["serverSideEncryption"]["enabled"]
    assert recorded("dev").of("aws:dynamodb/table:Table") == []
