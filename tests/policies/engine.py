"""The engine's side of the Analyzer protocol.

Starts the real pack as Pulumi's language host does, and asks it over gRPC.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.protobuf import empty_pb2, struct_pb2
from pulumi.runtime.proto import analyzer_pb2 as proto
from pulumi.runtime.proto import analyzer_pb2_grpc, engine_pb2_grpc

from policies.levels import PolicyConfig
from tests.policies.harness import Given

PACK = Path(__file__).parent.parent.parent / "policies"
LEVELS = {"advisory": proto.ADVISORY, "mandatory": proto.MANDATORY, "disabled": proto.DISABLED}


class _Log(engine_pb2_grpc.EngineServicer):
    def Log(self, request: Any, context: Any) -> empty_pb2.Empty:  # noqa: N802  # the protocol's name
        return empty_pb2.Empty()


class Pack:
    """A running pack."""

    def __init__(self, channel: grpc.Channel, pid: int) -> None:
        self._stub = analyzer_pb2_grpc.AnalyzerStub(channel)
        self._process = psutil.Process(pid)

    def cpu_seconds(self) -> float:
        """CPU time of the pack's process since it started."""
        times = self._process.cpu_times()
        return times.user + times.system

    def info(self) -> Any:
        """Name, policies, levels, parameters."""
        return self._stub.GetAnalyzerInfo(empty_pb2.Empty(), timeout=20)

    def configure(self, config: Mapping[str, tuple[str, Mapping[str, Any]]]) -> None:
        """Set level and parameters of policies; as the engine does, of all of them at once."""
        policies = {
            name: proto.PolicyConfig(enforcementLevel=LEVELS[level], properties=_struct(params))
            for name, (level, params) in config.items()
        }
        self._stub.Configure(proto.ConfigureAnalyzerRequest(policyConfig=policies), timeout=20)

    def configure_for(self, config: PolicyConfig) -> None:
        """Set level and parameters of all policies as an environment does."""
        rules = config.rules()
        self.configure({each.rule.name: (each.rule.level, each.params) for each in rules})

    def ask(self, resources: Sequence[Given]) -> list[Any]:
        """The diagnostics of resource policies on each resource, then of stack policies on all."""
        urns = {each.name: each.urn for each in resources}
        states = [
            {
                "type": each.type,
                "urn": each.urn,
                "inputs": each.props,
                "propertyDependencies": {
                    key: [urns[name] for name in names if name in urns]
                    for key, names in each.links.items()
                },
            }
            for each in resources
        ]
        return [*self.ask_each(states), *self.ask_whole(states)]

    def ask_each(self, states: Sequence[Mapping[str, Any]]) -> list[Any]:
        """Return the diagnostics of resource policies on each resource of an exported state."""
        found = []
        for each in states:
            request = proto.AnalyzeRequest(**_asked(each))
            found += self._stub.Analyze(request, timeout=30).diagnostics
        return found

    def ask_whole(self, states: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The diagnostics of stack policies on all resources together."""
        whole = [
            proto.AnalyzerResource(
                **_asked(each),
                propertyDependencies={
                    key: proto.AnalyzerPropertyDependencies(urns=urns)
                    for key, urns in each["propertyDependencies"].items()
                },
            )
            for each in states
        ]
        request = proto.AnalyzeStackRequest(resources=whole)
        return list(self._stub.AnalyzeStack(request, timeout=60).diagnostics)


def _asked(state: Mapping[str, Any]) -> dict[str, Any]:
    """What both questions say of a resource."""
    return {
        "type": state["type"],
        "urn": state["urn"],
        "name": state["urn"].rsplit("::", 1)[-1],
        "properties": _struct(state["inputs"]),
        "options": proto.AnalyzerResourceOptions(),
        "provider": proto.AnalyzerProviderResource(),
    }


def _struct(value: Mapping[str, Any]) -> struct_pb2.Struct:
    made = struct_pb2.Struct()
    made.update(value)
    return made


@contextmanager
def running_pack() -> Iterator[Pack]:
    """The pack in a process of its own, started as `python -u FOLDER ENGINE`.

    It prints its port first.
    """
    server = grpc.server(futures.ThreadPoolExecutor(2))
    engine_pb2_grpc.add_EngineServicer_to_server(_Log(), server)
    engine = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    command = [sys.executable, "-u", str(PACK), engine]
    process = subprocess.Popen(
        command, cwd=PACK, stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        assert port.isdigit(), f"the pack did not start: {port!r}"
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Pack(channel, process.pid)
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()
        server.stop(0).wait()
