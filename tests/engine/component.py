"""A stand-in for the component `eks.Cluster`: it registers the cluster that the real one does."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf import json_format, struct_pb2
from pulumi.runtime.proto import provider_pb2 as proto
from pulumi.runtime.proto import resource_pb2, resource_pb2_grpc

from tests.engine.answers import UNKNOWN
from tests.infra import eks_component

PACKAGE = "eks"
AWS = importlib.metadata.version("pulumi-aws")


def construct(request: Any) -> proto.ConstructResponse:
    """Register the component and its cluster with the engine that asks for them.

    As the real one, it tells the engine nothing of what it was given: policies see the component
    without properties, and the cluster with its own.
    """
    given = json_format.MessageToDict(request.inputs)
    with grpc.insecure_channel(request.monitorEndpoint) as channel:
        monitor = resource_pb2_grpc.ResourceMonitorStub(channel)
        own = monitor.RegisterResource(
            resource_pb2.RegisterResourceRequest(
                type=request.type,
                name=request.name,
                parent=request.parent,
                protect=request.protect,
                providers=request.providers,
                dependencies=request.dependencies,
                acceptSecrets=True,
            )
        )
        given["serviceRole"] = _arn(monitor, given["serviceRole"])
        cluster = _cluster(monitor, request, own.urn, given)
        state = _outputs(json_format.MessageToDict(cluster.object))
        outputs = json_format.ParseDict(state, struct_pb2.Struct())
        told = resource_pb2.RegisterResourceOutputsRequest(urn=own.urn, outputs=outputs)
        monitor.RegisterResourceOutputs(told)
    depends = proto.ConstructResponse.PropertyDependencies(urns=[cluster.urn])
    sources = dict.fromkeys(state, depends)
    return proto.ConstructResponse(urn=own.urn, state=outputs, stateDependencies=sources)


def _cluster(monitor: Any, request: Any, parent: str, given: dict[str, Any]) -> Any:
    # The engine itself runs the transforms of the component on it.
    name, props = eks_component.cluster(request.name, given, transforms=())
    return monitor.RegisterResource(
        resource_pb2.RegisterResourceRequest(
            type=eks_component.CLUSTER,
            name=name,
            parent=parent,
            custom=True,
            object=json_format.ParseDict(_present(props), struct_pb2.Struct()),
            protect=request.protect,
            provider=request.providers.get("aws", ""),
            version=AWS,
            acceptSecrets=True,
        )
    )


def _present(value: Any) -> Any:
    """The value without what is None."""
    if isinstance(value, dict):
        return {key: _present(each) for key, each in value.items() if each is not None}
    return value


def _arn(monitor: Any, reference: Mapping[str, Any]) -> str:
    """The ARN of a resource that the component got whole: the engine tells what it has of it."""
    args = json_format.ParseDict({"urn": reference["urn"]}, struct_pb2.Struct())
    asked = resource_pb2.ResourceInvokeRequest(tok="pulumi:pulumi:getResource", args=args)
    found = monitor.Invoke(asked)
    state = json_format.MessageToDict(getattr(found, "return")).get("state", {})
    return state.get("arn", UNKNOWN)


def _outputs(cluster: Mapping[str, Any]) -> dict[str, Any]:
    """What the program reads of the component: unknown for as long as the endpoint is."""
    if "endpoint" not in cluster:
        return dict.fromkeys(("kubeconfig", "kubeconfigJson", "clusterSecurityGroupId"), UNKNOWN)
    endpoint = cluster["endpoint"]
    config = {"apiVersion": "v1", "clusters": [{"name": "eks", "cluster": {"server": endpoint}}]}
    return {
        "kubeconfig": config,
        "kubeconfigJson": json.dumps(config),
        "clusterSecurityGroupId": cluster["vpcConfig"]["clusterSecurityGroupId"],
    }
