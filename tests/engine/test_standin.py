"""The stand-in alone, asked as the engine asks: what it knows when, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, struct_pb2
from pulumi.runtime.proto import provider_pb2 as proto
from pulumi.runtime.proto import provider_pb2_grpc

from tests.engine.answers import UNKNOWN
from tests.running import ROOT

ROLE, DATABASE = "aws:iam/role:Role", "aws:rds/instance:Instance"
CLUSTER = "aws:eks/cluster:Cluster"


@pytest.fixture(scope="module")
def provider() -> Iterator[Any]:
    """A running stand-in."""
    command = [sys.executable, "-u", "-m", "tests.engine.provider", "aws", "7.0.0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield provider_pb2_grpc.ResourceProviderStub(channel)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def urn(typ: str) -> str:
    return f"urn:pulumi:dev::vigil::vigil:infra:Thing${typ}::thing"


def struct(value: dict[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(value, struct_pb2.Struct())


def made(answer: Any) -> dict[str, Any]:
    return json_format.MessageToDict(answer.properties)


def test_a_preview_knows_what_was_given_and_nothing_that_aws_adds(provider: Any) -> None:
    inputs = struct({"identifier": "db", "engine": "postgres"})
    ask = proto.CreateRequest(urn=urn(DATABASE), properties=inputs, preview=True)
    answer = provider.Create(ask)
    assert answer.id == ""
    assert made(answer)["engine"] == "postgres"
    assert {made(answer)[key] for key in ("arn", "address", "masterUserSecrets")} == {UNKNOWN}
    ask = proto.CreateRequest(urn=urn(DATABASE), properties=inputs)
    answer = provider.Create(ask)
    assert answer.id
    assert UNKNOWN not in str(made(answer))


def test_what_aws_adds_inside_of_an_input_is_unknown_as_well(provider: Any) -> None:
    inputs = struct({"name": "vigil", "vpcConfig": {"endpointPublicAccess": False}})
    answer = provider.Create(proto.CreateRequest(urn=urn(CLUSTER), properties=inputs, preview=True))
    assert made(answer)["vpcConfig"] == {
        "endpointPublicAccess": False,
        "clusterSecurityGroupId": UNKNOWN,
    }


def test_a_name_is_made_up_before_anything_is_created_and_stays(provider: Any) -> None:
    first = provider.Check(proto.CheckRequest(urn=urn(ROLE), news=struct({"path": "/"})))
    name = json_format.MessageToDict(first.inputs)["name"]
    assert name.startswith("thing-")
    olds = struct({"name": "thing-of-old"})
    second = provider.Check(proto.CheckRequest(urn=urn(ROLE), olds=olds, news=struct({})))
    assert json_format.MessageToDict(second.inputs) == {"name": "thing-of-old"}


def test_a_change_in_place_keeps_what_aws_added(provider: Any) -> None:
    olds = struct({"engine": "postgres", "address": "db.of.old", "arn": "arn:of:old"})
    news = struct({"engine": "postgres", "multiAz": True})
    for preview in (True, False):
        ask = proto.UpdateRequest(urn=urn(DATABASE), olds=olds, news=news, preview=preview)
        answer = made(provider.Update(ask))
        assert (answer["address"], answer["multiAz"]) == ("db.of.old", True)


@pytest.mark.parametrize(
    ("change", "replaces"),
    [({"engine": "mysql"}, ["engine"]), ({"multiAz": True}, [])],
)
def test_what_was_decided_once_replaces(
    provider: Any,
    change: dict[str, Any],
    replaces: list[str],
) -> None:
    olds = {"engine": "postgres"}
    news = struct({**olds, **change})
    ask = proto.DiffRequest(urn=urn(DATABASE), old_inputs=struct(olds), news=news)
    answer = provider.Diff(ask)
    assert (list(answer.diffs), list(answer.replaces)) == (list(change), replaces)


def test_a_guarded_database_is_not_deleted(provider: Any) -> None:
    guarded = struct({"deletionProtection": True})
    with pytest.raises(grpc.RpcError, match="deletion protection"):
        provider.Delete(proto.DeleteRequest(urn=urn(DATABASE), properties=guarded))
    provider.Delete(proto.DeleteRequest(urn=urn(DATABASE), properties=struct({})))


@pytest.mark.parametrize(
    ("object_", "fault"),
    [
        ({"kind": "Pod"}, "kind"),
        ({"apiVersion": "v2"}, "apiVersion"),
        ({"metadata": {"name": "Vigil_1"}}, "metadata.name"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "vigil"}}, ""),
    ],
)
def test_an_object_that_no_api_server_takes_is_refused(
    provider: Any,
    object_: dict[str, Any],
    fault: str,
) -> None:
    ask = proto.CheckRequest(urn=urn("kubernetes:core/v1:ConfigMap"), news=struct(object_))
    assert [one.property for one in provider.Check(ask).failures] == ([fault] if fault else [])
