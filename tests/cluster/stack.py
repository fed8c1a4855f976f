"""A Pulumi project of its own over this checkout.

Its stacks and its state lie in a temporary folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from infra.render import render_manifests
from infra.settings import settings_from
from tests.quiet_uv import without_sync
from tests.running import ROOT

# Read by the program; the stack files are copies, for `pulumi` writes into them.
LINKED = (
    "infra",
    "policies",
    "train",
    "serve",
    "drift",
    "vigil",
    "pyproject.toml",
    "uv.lock",
    ".venv",
)
SECRETS = ("rayToken", "mlflowPassword", "mlflowSecretKey")


class PulumiFailed(AssertionError):
    """The engine ended with an error; the message is what it printed."""


def project(folder: Path) -> Path:
    """A folder that the engine takes for this project."""
    folder.mkdir(parents=True)
    (folder / "state").mkdir()
    for name in LINKED:
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "Pulumi.yaml", folder)
    return folder


@dataclass
class Stack:
    """One stack of the project at `folder`, made from the file of `like`."""

    folder: Path
    environment: Mapping[str, str]
    name: str = "cluster"
    like: str = "local"
    pack: bool = True
    seconds: dict[str, float] = field(default_factory=dict)

    def init(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> None:
        """Make the stack: the file of `like`, with `config` and `secrets` over it."""
        shutil.copy(ROOT / f"Pulumi.{self.like}.yaml", self.file)
        self.pulumi("stack", "init", self.name)
        self.set(config)
        for key, value in secrets.items():
            self.pulumi("config", "set", "--secret", f"vigil:{key}", text=value)

    @property
    def file(self) -> Path:
        """Its settings."""
        return self.folder / f"Pulumi.{self.name}.yaml"

    def set(self, config: Mapping[str, Any]) -> None:
        """Write keys into the stack's file, as a user's editor does; None restores the default."""
        text = yaml.safe_load(self.file.read_text())
        for key, value in config.items():
            text["config"][f"vigil:{key}"] = value
        text["config"] = {key: value for key, value in text["config"].items() if value is not None}
        self.file.write_text(yaml.safe_dump(text))

    def up(self, *options: str, timeout_s: float = 1500) -> str:
        """`pulumi up` under the policies; what it printed."""
        return self.pulumi(
            "up", "--yes", "--skip-preview", *self._policies(), *options, timeout_s=timeout_s
        )

    def preview(self, *options: str) -> str:
        return self.pulumi("preview", *self._policies(), *options, timeout_s=600)

    def destroy(self) -> str:
        return self.pulumi("destroy", "--yes", "--skip-preview", timeout_s=900)

    def state(self) -> dict[str, Any]:
        return json.loads(self.pulumi("stack", "export"))

    def _policies(self) -> list[str]:
        if not self.pack:
            return []
        config = ROOT / "policies" / "environments" / f"{self.like}.json"
        return ["--policy-pack", "policies", "--policy-pack-config", str(config)]

    def pulumi(self, *arguments: str, text: str | None = None, timeout_s: float = 300) -> str:
        """What the engine prints; raises PulumiFailed with all of it."""
        began = time.monotonic()
        process = self.start(*arguments)
        try:
            printed, _ = process.communicate(text, timeout=timeout_s)
        finally:
            if process.poll() is None:
                process.terminate()  # the engine then leaves no lock
                process.communicate(timeout=60)
        self.seconds[arguments[0]] = round(time.monotonic() - began, 1)
        if process.returncode:
            raise PulumiFailed(f"pulumi {' '.join(arguments)}:\n{printed}")
        return printed

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The engine in the background."""
        command = ["pulumi", *arguments, "--non-interactive", "--color", "never"]
        if arguments[:2] != ("stack", "init"):
            command += ["--stack", self.name]
        state = {
            "PULUMI_BACKEND_URL": f"file://{self.folder / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE": "test",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PATH": f"{without_sync(self.folder / 'bin')}:{os.environ['PATH']}",
        }
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env={**self.environment, **state},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def foretold(old: Mapping[str, Any], new: Mapping[str, Any], folder: Path) -> set[str]:
    """The effects that `vigil doctor change` names, between two stacks."""
    for name, config in (("old", old), ("new", new)):
        for path, text in render_manifests(settings_from("cluster", config)).items():
            file = folder / name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    command = [sys.executable, "-m", "vigil", "doctor", "change", "--json"]
    done = subprocess.run(
        [*command, "--from", str(folder / "old"), "--to", str(folder / "new")],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    return {one["effect"] for one in json.loads(done.stdout)["changes"]}
