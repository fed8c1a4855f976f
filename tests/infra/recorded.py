"""Run a whole stack under Pulumi's mocks, and read back every resource that it registers.

Each stack has a process of its own: a failed run leaves Pulumi's runtime unusable for the next
one, and no other test has to import Pulumi.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from infra.settings import PlatformSettings
from infra.stack_keys import SECRET_KEYS
from infra.stack_settings import read_files

ROOT = Path(__file__).parent.parent.parent
CANARY = "canary-7f3a"
SECRETS = {key: f"{CANARY}-{key}" for key in SECRET_KEYS}
STACKS = ("dev", "prod", "local")


def changed(
    stack: str, *, serve: Any = None, drift: Any = None, train: Any = None, **values: Any
) -> PlatformSettings:
    """The settings of a stack with other values, by the names of the fields.

    Those of a room are validated with the others.
    """
    found = read_files(stack)
    rooms = {
        "serve": (found.serve, serve),
        "drift": (found.drift, drift),
        "train": (found.train, train),
    }
    told: dict[str, Any] = {
        name: type(room).from_values(**(dict(room) | (more or {})))
        for name, (room, more) in rooms.items()
    }
    return PlatformSettings.model_validate(dict(found) | told | values)


@dataclass(frozen=True)
class Resource:
    """One registration as the engine would see it.

    Secrets in `inputs` are unwrapped; their paths are in `secret_paths`.
    """

    type: str
    name: str
    inputs: dict[str, Any]
    urn: str
    parent: str
    custom: bool
    protect: bool
    retain_on_delete: bool
    provider: str
    dependencies: tuple[str, ...]
    secret_paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stack:
    """All that one run registered and exported.

    `secret_exports` names what Pulumi encrypts.
    """

    resources: tuple[Resource, ...]
    exports: Mapping[str, Any]
    secret_exports: tuple[str, ...]
    error: str = field(default="")

    def of(self, type_: str) -> list[Resource]:
        """The resources of one type.

        Where `type_` ends with a colon or slash: of all types that begin so.
        """
        prefix = type_.endswith((":", "/"))
        return [
            r for r in self.resources if (r.type.startswith(type_) if prefix else r.type == type_)
        ]

    def one(self, type_: str, name: str | None = None) -> Resource:
        """The only resource of this type (and name)."""
        found = [r for r in self.of(type_) if name in (None, r.name)]
        assert len(found) == 1, (
            f"{len(found)} of {type_} {name}: {[r.name for r in self.of(type_)]}"
        )
        return found[0]


def run(
    stack: str,
    overrides: Mapping[str, Any] | None = None,
    drop: tuple[str, ...] = (),
    root: Path = ROOT,
) -> Stack:
    """Run `stack` with its settings, and canaries for secrets.

    The settings are the defaults of Pulumi.yaml, its own file and `overrides`; `drop` unsets keys.
    A run that fails returns a Stack with its `error` and what it registered before.
    """
    config = {
        key: value for key, value in merged(stack, root, overrides).items() if key not in drop
    }
    asked = json.dumps(
        {"stack": stack, "config": config, "secrets": list(SECRETS), "program": str(root / "infra")}
    )
    environment = {**os.environ, "KUBECONFIG": "/nonexistent/kubeconfig"}
    command = [sys.executable, str(Path(__file__).with_name("mock_run.py"))]
    done = subprocess.run(
        command, input=asked, capture_output=True, text=True, cwd=root, env=environment, check=False
    )
    if done.returncode:
        raise AssertionError(f"the mock run of {stack} died:\n{done.stderr[-4000:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    resources = tuple(
        Resource(
            **{
                **r,
                "dependencies": tuple(r["dependencies"]),
                "secret_paths": tuple(r["secret_paths"]),
            }
        )
        for r in answer["resources"]
    )
    return Stack(
        resources,
        answer["exports"],
        tuple(answer["secret_exports"]),
        answer["error"],
    )


@cache
def recorded(stack: str) -> Stack:
    """One run of each stack as its file has it, shared by every test of the session."""
    found = run(stack)
    assert not found.error, found.error
    return found


def merged(
    stack: str, root: Path = ROOT, overrides: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """The configuration as the engine hands it over: everything as text, lists as JSON."""
    project = yaml.safe_load((root / "Pulumi.yaml").read_text())["config"]
    own = yaml.safe_load((root / f"Pulumi.{stack}.yaml").read_text())["config"]
    values = {
        key.split(":")[-1]: one["default"] for key, one in project.items() if "default" in one
    }
    values |= {key.split(":")[-1]: value for key, value in own.items()} | SECRETS
    values |= {
        "readyTimeoutS": 0,
        **(overrides or {}),
    }  # no platform comes up that could be waited for
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()
    }
