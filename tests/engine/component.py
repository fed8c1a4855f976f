"""A stand-in for the component `eks.Cluster`: it registers the children that the real one does, as far as rules judge them."""

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

PACKAGE = "eks"
AWS = importlib.metadata.version("pulumi-aws")


def construct(request: Any) -> proto.ConstructResponse:
    """Register the component, its cluster and the access entries with the engine that asks for them.

    As the real one, it tells the engine nothing of what it was given: policies see the component
    without properties, and its children with theirs.
    """
    inputs = json_format.MessageToDict(request.inputs)
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
        role = _arn(monitor, inputs["serviceRole"])
        cluster = _child(monitor, request, own.urn, "cluster:Cluster", "eksCluster", _cluster(inputs, role))
        for label, entry in (inputs.get("accessEntries") or {}).items():
            taken = {key: entry[key] for key in ("principalArn", "type", "tags") if key in entry}
            taken["clusterName"] = inputs["name"]
            _child(monitor, request, own.urn, "accessEntry:AccessEntry", label, taken)
        state = _outputs(json_format.MessageToDict(cluster.object))
        outputs = json_format.ParseDict(state, struct_pb2.Struct())
        monitor.RegisterResourceOutputs(resource_pb2.RegisterResourceOutputsRequest(urn=own.urn, outputs=outputs))
    depends = proto.ConstructResponse.PropertyDependencies(urns=[cluster.urn])
    return proto.ConstructResponse(urn=own.urn, state=outputs, stateDependencies=dict.fromkeys(state, depends))


def _child(monitor: Any, request: Any, parent: str, typ: str, name: str, inputs: Mapping[str, Any]) -> Any:
    return monitor.RegisterResource(
        resource_pb2.RegisterResourceRequest(
            type=f"aws:eks/{typ}",
            name=f"{request.name}-{name}",
            parent=parent,
            custom=True,
            object=json_format.ParseDict(dict(inputs), struct_pb2.Struct()),
            protect=request.protect,
            provider=request.providers.get("aws", ""),
            version=AWS,
            acceptSecrets=True,
        )
    )


def _arn(monitor: Any, reference: Mapping[str, Any]) -> str:
    """The ARN of a resource that the component got whole: the engine tells what it has of it."""
    asked = json_format.ParseDict({"urn": reference["urn"]}, struct_pb2.Struct())
    found = monitor.Invoke(resource_pb2.ResourceInvokeRequest(tok="pulumi:pulumi:getResource", args=asked))
    state = json_format.MessageToDict(getattr(found, "return")).get("state", {})
    return state.get("arn", UNKNOWN)


def _cluster(inputs: Mapping[str, Any], role: str) -> dict[str, Any]:
    """What the component makes of its arguments; it always asks for an administrator of its own."""
    subnets = inputs.get("privateSubnetIds") or inputs.get("subnetIds") or []
    network = {
        "endpointPrivateAccess": inputs.get("endpointPrivateAccess", False),
        "endpointPublicAccess": inputs.get("endpointPublicAccess", True),
        "publicAccessCidrs": inputs.get("publicAccessCidrs"),
        "subnetIds": UNKNOWN if UNKNOWN in subnets else subnets,
    }
    key = inputs.get("encryptionConfigKeyArn")
    encryption: Any = {"provider": {"keyArn": key}, "resources": ["secrets"]} if key else None
    made = {
        "accessConfig": {
            "authenticationMode": inputs.get("authenticationMode"),
            "bootstrapClusterCreatorAdminPermissions": True,
        },
        "bootstrapSelfManagedAddons": inputs.get("bootstrapSelfManagedAddons"),
        "deletionProtection": inputs.get("deletionProtection"),
        "enabledClusterLogTypes": inputs.get("enabledClusterLogTypes"),
        "encryptionConfig": UNKNOWN if key == UNKNOWN else encryption,
        "kubernetesNetworkConfig": {"serviceIpv4Cidr": inputs.get("kubernetesServiceIpAddressRange")},
        "name": inputs["name"],
        "roleArn": role,
        "tags": inputs.get("tags"),
        "upgradePolicy": inputs.get("upgradePolicy"),
        "version": inputs.get("version"),
        "vpcConfig": {key: value for key, value in network.items() if value is not None},
    }
    return {key: value for key, value in made.items() if value is not None}


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
