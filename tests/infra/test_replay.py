"""The recorded AWS inputs, created for real in a moto server.

This is AWS' own validation of blocks, names, documents and values.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from infra import state
from infra.tags import Tags
from tests.infra.recorded import recorded
from tests.infra.replay import REGION, Replay, client


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    """A moto server of this module's own; its URL is where boto3 goes."""
    os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for key, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(key, value)
        yield url
    server.stop()


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_everything_that_moto_knows_can_be_created(aws: str, name: str) -> None:
    replay = Replay(recorded(name))
    for step in (
        replay.vpc,
        replay.ways_out,
        replay.keys,
        replay.groups,
        replay.buckets,
        replay.roles,
        replay.stores,
        replay.files,
        replay.cluster,
        replay.cache,
    ):
        step()
    assert client("eks").describe_nodegroup(
        clusterName=f"vigil-{name}", nodegroupName=f"vigil-{name}-system"
    )["nodegroup"]
    assert len(client("elasticache").describe_replication_groups()["ReplicationGroups"]) == (
        name == "prod"
    )
    database = client("rds").describe_db_instances(DBInstanceIdentifier=f"vigil-{name}-mlflow")[
        "DBInstances"
    ][0]
    assert (database["StorageEncrypted"], database["PubliclyAccessible"], database["MultiAZ"]) == (
        True,
        False,
        name == "prod",
    )
    assert (
        client("kinesis").describe_stream_summary(StreamName=f"vigil-{name}")[
            "StreamDescriptionSummary"
        ]["EncryptionType"]
        == "KMS"
    )


@pytest.mark.parametrize(
    ("block", "code"),
    [
        ("10.99.0.0/20", "InvalidSubnet.Range"),
        ("10.20.0.0/19", "InvalidSubnet.Conflict"),
        ("10.20.0.0/33", "InvalidParameterValue"),
    ],
)
def test_a_wrong_block_is_refused(aws: str, block: str, code: str) -> None:
    with pytest.raises(ClientError, match=code):
        Replay(recorded("dev")).vpc({"vigil-dev-public-b": block})


def test_a_broken_policy_is_refused(aws: str) -> None:
    iam = client("iam")
    iam.create_role(RoleName="canary", AssumeRolePolicyDocument="{}")
    with pytest.raises(ClientError, match="MalformedPolicyDocument"):
        iam.put_role_policy(
            RoleName="canary",
            PolicyName="p",
            PolicyDocument=json.dumps(
                {"Version": "2012-10-17", "Statement": [{"Effect": "Allow"}]}
            ),
        )


def test_the_state_bucket_is_made_once_and_guarded(aws: str) -> None:
    tags = Tags("shared", "platform", "1000")
    first = state.bootstrap("vigil-state-test", REGION, tags)
    assert state.bootstrap("vigil-state-test", REGION, tags) == first
    s3, bucket = client("s3"), {"Bucket": "vigil-state-test"}
    assert s3.get_bucket_versioning(**bucket)["Status"] == "Enabled"
    assert all(s3.get_public_access_block(**bucket)["PublicAccessBlockConfiguration"].values())
    default = s3.get_bucket_encryption(**bucket)["ServerSideEncryptionConfiguration"]["Rules"][0][
        "ApplyServerSideEncryptionByDefault"
    ]
    assert default == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": first.key_arn}
    assert "aws:SecureTransport" in s3.get_bucket_policy(**bucket)["Policy"]
    rules = s3.get_bucket_lifecycle_configuration(**bucket)["Rules"]
    assert {
        rule["NoncurrentVersionExpiration"]["NoncurrentDays"]
        for rule in rules
        if "NoncurrentVersionExpiration" in rule
    } == {
        365,
        1,
    }
    aliases = [one["AliasName"] for one in client("kms").list_aliases()["Aliases"]]
    assert aliases.count(state.KEY_ALIAS) == 1
    assert client("kms").get_key_rotation_status(KeyId=first.key_arn)["KeyRotationEnabled"]
    assert first.login == "s3://vigil-state-test?region=eu-west-1&awssdk=v2"


def test_the_password_file_follows_the_secret(aws: str, tmp_path: Any) -> None:
    from infra.manifests import pgpass

    secrets = client("secretsmanager")
    made = secrets.create_secret(
        Name="rds!db-1", SecretString=json.dumps({"username": "mlflow", "password": "a:b\\c"})
    )
    pgpass.refresh(tmp_path / "pgpass", "db.example", made["ARN"])
    assert (tmp_path / "pgpass").read_text() == "db.example:5432:*:mlflow:a\\:b\\\\c\n"
    assert (tmp_path / "pgpass").stat().st_mode & 0o777 == 0o600
    secrets.put_secret_value(
        SecretId=made["ARN"], SecretString=json.dumps({"username": "mlflow", "password": "new"})
    )
    pgpass.refresh(tmp_path / "pgpass", "db.example", made["ARN"])
    assert (tmp_path / "pgpass").read_text().endswith(":new\n")
