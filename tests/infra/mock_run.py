"""The other process of recorded.py.

It reads what to run as JSON from stdin, and writes what was registered as JSON to stdout.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import runpy
import sys
from pathlib import Path
from typing import Any

import pulumi
from pulumi.runtime import config, mocks, rpc, settings
from pulumi.runtime.stack import run_pulumi_func

# This file is run by its path: its own folder stands first on the path, the project does not.
sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from infra import preflight
from tests.infra import eks_component
from tests.infra.shapes import state

COMPONENT = "eks:index:Cluster"
SECRET, SIGNATURE = (
    "4dabf18193072939515e22adb298388d",
    "1b47061264138c4ac30d75fd1eb44270",
)  # how Pulumi marks a secret
RESOURCE = "5cf8f73096256a8f31e491e813e4eb8e"  # and a reference to a resource


def flatten(value: Any) -> None:
    """Replace references to resources by their URNs, in place.

    Reading one back would wait for the loop that waits for us.
    """
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        for one in value.list_value.values:
            flatten(one)
    elif kind == "struct_value":
        fields = value.struct_value.fields
        if SECRET in fields and fields[SECRET].string_value == RESOURCE:
            value.string_value = fields["urn"].string_value
        else:
            for one in fields.values():
                flatten(one)


def plain(value: Any, path: str, secrets: list[str]) -> Any:
    """`value` without Pulumi's wrappers; paths of secrets are noted."""
    if isinstance(value, dict):
        if value.get(SECRET) == SIGNATURE:
            secrets.append(path)
            return plain(value.get("value"), path, secrets)
        return {
            key: plain(one, f"{path}.{key}" if path else key, secrets) for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [plain(one, f"{path}[{i}]", secrets) for i, one in enumerate(value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value


class Recorder(mocks.Mocks):
    """Answers like AWS would, and keeps the transforms of each component of a provider."""

    def __init__(self) -> None:
        self.transforms: dict[str, list[pulumi.ResourceTransform]] = {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if args.typ == COMPONENT:
            self.transforms[args.name] = args.transforms or []
        return (f"{args.name}-id" if args.custom else None), state(args.typ, args.name, args.inputs)

    def call(self, args: mocks.MockCallArgs) -> Any:
        raise AssertionError(
            f"the program asks AWS or Kubernetes ({args.token}):"
            " a preview would depend on what it finds"
        )


class Monitor(mocks.MockMonitor):
    """Keeps what MockResourceArgs leaves out: parent, protection, provider, dependencies."""

    def __init__(self, answers: Recorder) -> None:
        super().__init__(answers)
        self._answers = answers
        self.seen: list[dict[str, Any]] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  # the protocol's name
        for value in request.object.fields.values():
            flatten(value)
        answer = super().RegisterResource(request)
        if request.type != "pulumi:pulumi:Stack":
            secrets: list[str] = []
            inputs = plain(
                rpc.deserialize_properties(request.object, keep_unknowns=True), "", secrets
            )
            self.seen.append(
                {
                    "type": request.type,
                    "name": request.name,
                    "inputs": inputs,
                    "urn": answer.urn,
                    "parent": request.parent,
                    "custom": request.custom,
                    "protect": request.protect,
                    "retain_on_delete": request.retainOnDelete,
                    "provider": request.provider or request.providers.get("aws", ""),
                    "dependencies": sorted(request.dependencies),
                    "secret_paths": secrets,
                }
            )
            if request.type == COMPONENT:
                self.seen.append(self._child(self.seen[-1]))
        return answer

    def _child(self, component: dict[str, Any]) -> dict[str, Any]:
        """The cluster that the component would make."""
        transforms = self._answers.transforms[component["name"]]
        name, inputs = eks_component.cluster(component["name"], component["inputs"], transforms)
        kind = eks_component.CLUSTER
        urn = self.make_urn(component["urn"], kind, name)
        made = {"type": kind, "name": name, "inputs": inputs, "urn": urn, "custom": True}
        return {**component, **made, "parent": component["urn"]}


def main() -> None:
    asked = json.load(sys.stdin)
    logging.disable(logging.CRITICAL)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    recorder = Recorder()
    monitor = Monitor(recorder)
    mocks.set_mocks(recorder, project="vigil", stack=asked["stack"], preview=False, monitor=monitor)
    keys = {f"vigil:{key}": value for key, value in asked["config"].items()}
    config.set_all_config(keys, [f"vigil:{key}" for key in asked["secrets"]])
    error, exports, hidden = "", {}, []

    # There is no cluster to ask: tests/infra/test_preflight.py and test_readiness.py have one.
    preflight.preflight = lambda wanted: None

    def program() -> None:
        # As Pulumi's language host does: the program's folder is run, and stands first on the path.
        runpy.run_path(asked["program"], run_name="__main__")

    try:
        with contextlib.redirect_stderr(io.StringIO()):
            loop.run_until_complete(run_pulumi_func(program))
        outputs = getattr(settings.get_root_resource(), "outputs", {}) or {}
        for key, value in outputs.items():
            output = pulumi.Output.from_input(value)
            exports[key] = plain(loop.run_until_complete(output.future(with_unknowns=True)), "", [])
            if loop.run_until_complete(output.is_secret()):
                hidden.append(key)
    except BaseException as failure:
        error = f"{type(failure).__name__}: {failure}"
    found = {
        "resources": sorted(monitor.seen, key=lambda r: r["urn"]),
        "exports": exports,
        "secret_exports": hidden,
        "error": error,
    }
    print(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
