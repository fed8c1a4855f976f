"""A folder for Pulumi: plugins, state, and a copy of the project with stack files to write to."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.engine.run import Run, read_events
from tests.quiet_uv import uv, without_sync
from tests.running import ROOT

ROOMS = ("drift", "infra", "policies", "serve", "train", "vigil")
SHARED = ("pyproject.toml", "uv.lock", "README.md")
PACKAGES = ("aws", "eks", "kubernetes")
DEADLINE_S = 900
INSTALL = "install Pulumi (https://www.pulumi.com/docs/install) so that `pulumi` is on PATH"
# The plugin's own program: the engine finds it by its name.
SCRIPT = """#!/bin/sh
PYTHONPATH='{root}' exec '{python}' -u -m tests.engine.provider {package} {version}
"""


def sdk_version(package: str) -> str:
    """The version of a package's Python SDK, and so of the plugin that it asks for."""
    return importlib.metadata.version(f"pulumi-{package}")


def missing() -> str:
    """What this machine lacks to run the engine, and how to get it; empty: nothing."""
    if shutil.which("pulumi") is None:
        return f"no `pulumi` on PATH: {INSTALL}"
    if shutil.which("pulumi-language-python") is None:
        return f"no `pulumi-language-python` on PATH: {INSTALL}"
    if uv() is None:
        return "no `uv` on PATH nor in .tools/bin: `make setup` brings it"
    return ""


def missing_kubernetes() -> str:
    """The same of the real provider of Kubernetes."""
    if installed("kubernetes") is None:
        version = sdk_version("kubernetes")
        return f"no such plugin: `pulumi plugin install resource kubernetes {version}` brings it"
    return ""


def installed(package: str) -> Path | None:
    """The folder of a real plugin, as `pulumi plugin install` makes it."""
    home = Path(os.environ.get("PULUMI_HOME", Path.home() / ".pulumi"))
    folder = home / "plugins" / f"resource-{package}-v{sdk_version(package)}"
    return folder if folder.is_dir() else None


@dataclass(frozen=True)
class Engine:
    """The real engine over one project, with a state of its own."""

    folder: Path
    project: Path
    env: dict[str, str]

    def pulumi(self, *arguments: str, env: Mapping[str, str] | None = None) -> Run:
        """Run a command of Pulumi to its end, whatever that is."""
        log = Path(tempfile.mkstemp(suffix=".json", dir=self.folder / "events")[1])
        events = ("--event-log", str(log)) if arguments[0] in OPERATIONS else ()
        command = ["pulumi", "--non-interactive", "--color", "never", *arguments, *events]
        done = subprocess.run(
            command,
            cwd=self.project,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        return Run(done.returncode, done.stdout + done.stderr, read_events(log))

    def must(self, *arguments: str, env: Mapping[str, str] | None = None) -> Run:
        """Run a command that has to succeed."""
        run = self.pulumi(*arguments, env=env)
        assert run.code == 0, f"pulumi {' '.join(arguments)}: {run.output[-6000:]}"
        return run

    def under_policies(
        self, operation: str, stack: str, *more: str, env: Mapping[str, str] | None = None
    ) -> Run:
        """Run an operation on a stack under the policy pack, as strict as the stack's file says."""
        policies = ROOT / "policies"
        config = policies / "environments" / f"{stack}.json"
        pack = ("--policy-pack", str(policies), "--policy-pack-config", str(config))
        return self.pulumi(operation, "--stack", stack, *pack, *more, env=env)


OPERATIONS = ("destroy", "preview", "refresh", "up")


def lay_out(folder: Path, kubeconfig: str, real: tuple[str, ...] = ("eks",)) -> Engine:
    """Make the folder. Plugins are stand-ins, but for the `real` ones where they are installed."""
    for name in ("home/plugins", "state", "project", "events"):
        (folder / name).mkdir(parents=True)
    without_sync(folder / "bin")
    plugins = folder / "home" / "plugins"
    for package in PACKAGES:
        _plugin(plugins, package, installed(package) if package in real else None)
    for name in (*ROOMS, *SHARED):
        (folder / "project" / name).symlink_to(ROOT / name)
    for file in ROOT.glob("Pulumi*.yaml"):
        shutil.copy(file, folder / "project")
    (folder / "kubeconfig").write_text(kubeconfig)
    if installed("eks") and "eks" in real:
        _any_version(plugins, folder / "project" / "Pulumi.yaml")
    return Engine(folder, folder / "project", _environment(folder))


def _plugin(plugins: Path, package: str, found: Path | None) -> None:
    """The files of the real plugin, or a program that stands in for it."""
    version = sdk_version(package)
    folder = plugins / f"resource-{package}-v{version}"
    folder.mkdir()  # the engine takes no link for a plugin's folder, but links in it
    if found is not None:
        for file in found.iterdir():
            (folder / file.name).symlink_to(file)
        return
    program = folder / f"pulumi-resource-{package}"
    text = SCRIPT.format(root=ROOT, python=sys.executable, package=package, version=version)
    program.write_text(text)
    program.chmod(0o755)


def _any_version(plugins: Path, project: Path) -> None:
    """The component of EKS is built on SDKs of its own, and asks for plugins of their versions."""
    providers = [
        {"name": package, "path": str(plugins / f"resource-{package}-v{sdk_version(package)}")}
        for package in ("aws", "kubernetes")
    ]
    plugged = json.dumps({"providers": providers})
    project.write_text(f"{project.read_text()}plugins: {plugged}\n")


def _environment(folder: Path) -> dict[str, str]:
    """What the commands see: nothing of the user's own Pulumi, AWS or Kubernetes."""
    own = ("AWS_", "PULUMI_", "VIGIL_", "KUBE")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(own)}
    return kept | {
        "PATH": f"{folder / 'bin'}:{kept['PATH']}",
        "KUBECONFIG": str(folder / "kubeconfig"),
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "of a test",
        "PULUMI_DEBUG_COMMANDS": "true",  # for --event-log
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "UV_PROJECT_ENVIRONMENT": sys.prefix,
    }
