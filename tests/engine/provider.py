"""A resource provider that answers from recorded shapes, in the engine's own protocol.

The engine starts it as the plugin of `aws`, `eks` or `kubernetes`; nothing behind it exists. It
keeps no state: the engine hands over all that it was told before.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2_grpc
from pulumi.runtime.proto import provider_pb2 as proto

from tests.engine import answers, component
from tests.engine.answers import Props

# A JSON file {type: {dotted.path: value}}: what somebody else wrote meanwhile, and `refresh` meets.
DRIFT = "VIGIL_STANDIN_DRIFT"
THREADS = 16


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Every method is named by the protocol. Secrets arrive unwrapped; the engine marks them."""

    def __init__(self, package: str, version: str) -> None:
        self._package = package
        self._version = version

    def Handshake(  # noqa: N802
        self,
        request: Any,
        context: Any,
    ) -> proto.ProviderHandshakeResponse:
        # A component hands on what it gets, secrets and unknown values with their marks.
        marks = self._package == component.PACKAGE
        return proto.ProviderHandshakeResponse(accept_secrets=marks, accept_resources=marks)

    def GetPluginInfo(self, request: Any, context: Any) -> plugin_pb2.PluginInfo:  # noqa: N802
        return plugin_pb2.PluginInfo(version=self._version)

    def GetSchema(self, request: Any, context: Any) -> proto.GetSchemaResponse:  # noqa: N802
        schema = {"name": self._package, "version": self._version}
        return proto.GetSchemaResponse(schema=json.dumps(schema))

    def CheckConfig(self, request: Any, context: Any) -> proto.CheckResponse:  # noqa: N802
        return proto.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> proto.DiffResponse:  # noqa: N802
        changed = answers.changes("", _dict(request.old_inputs), _dict(request.news))
        return _difference(changed, changed & {"clusterIdentifier"})

    def Configure(self, request: Any, context: Any) -> proto.ConfigureResponse:  # noqa: N802
        return proto.ConfigureResponse(supportsPreview=True)

    def Check(self, request: Any, context: Any) -> proto.CheckResponse:  # noqa: N802
        typ, name = _of(request.urn)
        news = _dict(request.news)
        failures = []
        for at, why in answers.faults(typ, news):
            failures.append(proto.CheckFailure(property=at, reason=why))
        inputs = answers.checked(typ, name, _dict(request.olds), news)
        return proto.CheckResponse(inputs=_struct(inputs), failures=failures)

    def Diff(self, request: Any, context: Any) -> proto.DiffResponse:  # noqa: N802
        typ, _ = _of(request.urn)
        changed = answers.changes(typ, _dict(request.old_inputs), _dict(request.news))
        return _difference(changed, answers.replacing(typ, changed))

    def Create(self, request: Any, context: Any) -> proto.CreateResponse:  # noqa: N802
        typ, name = _of(request.urn)
        inputs = _dict(request.properties)
        if request.preview:
            return proto.CreateResponse(properties=_struct(answers.planned(typ, name, inputs, {})))
        made = answers.made(typ, name, inputs)
        identity = answers.identity(typ, name, inputs)
        return proto.CreateResponse(id=identity, properties=_struct(made))

    def Update(self, request: Any, context: Any) -> proto.UpdateResponse:  # noqa: N802
        typ, name = _of(request.urn)
        news, olds = _dict(request.news), _dict(request.olds)
        if request.preview:
            planned = answers.planned(typ, name, news, olds)
            return proto.UpdateResponse(properties=_struct(planned))
        return proto.UpdateResponse(properties=_struct(answers.updated(typ, name, news, olds)))

    def Read(self, request: Any, context: Any) -> proto.ReadResponse:  # noqa: N802
        typ, _ = _of(request.urn)
        foreign = _drift().get(typ, {})
        return proto.ReadResponse(
            id=request.id,
            properties=_struct(_with(_dict(request.properties), foreign)),
            inputs=_struct(_with(_dict(request.inputs), foreign)),
        )

    def Delete(self, request: Any, context: Any) -> empty_pb2.Empty:  # noqa: N802
        typ, name = _of(request.urn)
        if why := answers.refusal(typ, name, _dict(request.properties)):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, why)
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> proto.InvokeResponse:  # noqa: N802
        answer = answers.INVOKES.get(request.tok)
        if answer is None:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"the stand-in answers no {request.tok}")
        response = proto.InvokeResponse()
        getattr(response, "return").CopyFrom(_struct(answer or {}))  # a keyword here
        return response

    def Construct(self, request: Any, context: Any) -> proto.ConstructResponse:  # noqa: N802
        return component.construct(request)

    def Cancel(self, request: Any, context: Any) -> empty_pb2.Empty:  # noqa: N802
        return empty_pb2.Empty()  # whoever ends before the engine says so is reported as broken


def _of(urn: str) -> tuple[str, str]:
    """Type and name."""
    _, _, types, name = urn.split("::", 3)
    return types.split("$")[-1], name


def _difference(changed: set[str], replaces: set[str]) -> proto.DiffResponse:
    kind = proto.DiffResponse.DIFF_SOME if changed else proto.DiffResponse.DIFF_NONE
    return proto.DiffResponse(
        changes=kind,
        diffs=sorted(key for key in changed if "." not in key),
        replaces=sorted(replaces),
        deleteBeforeReplace=bool(replaces),
    )


def _dict(given: struct_pb2.Struct) -> Props:
    return json_format.MessageToDict(given)


def _struct(value: Mapping[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(dict(value), struct_pb2.Struct())


def _drift() -> dict[str, dict[str, Any]]:
    path = os.environ.get(DRIFT)
    return json.loads(Path(path).read_text()) if path else {}


def _with(props: Props, foreign: Mapping[str, Any]) -> Props:
    for path, value in foreign.items():
        at: Any = props
        *parents, last = path.split(".")
        for key in parents:
            at = at[int(key)] if isinstance(at, list) else at[key]
        at[last] = value
    return props


def serve(package: str, version: str) -> None:
    """Answer until the engine cancels, or is gone."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the engine
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(THREADS), options=unlimited)
    provider = Provider(package, version)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)  # how the engine finds us
    engine = os.getppid()
    while not stop.wait(1) and os.getppid() == engine:
        pass
    server.stop(0).wait()


if __name__ == "__main__":
    serve(*sys.argv[1:3])
