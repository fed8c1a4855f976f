"""What a program in Python has of the package, without what `pulumi package add` generates."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.engine.home import Engine
from tests.infra.recorded import ROOT, SECRETS
from tests.quiet_uv import uv

PLUGIN = ROOT / "infra" / "package"
EXAMPLES = ROOT / "docs" / "examples" / "package"
NEEDED = ("rayToken", "apiKeys", "mlflowPassword", "mlflowSecretKey")
THIS_PYTHON = {"name": "python", "options": {"toolchain": "uv", "virtualenv": sys.prefix}}
# Without it, and its lock, Pulumi's own host of Python programs takes no environment of uv.
PROJECT_FILE = '[project]\nname = "consumer"\nversion = "0"\nrequires-python = ">=3.11"\n'
# As far as the example needs it, what `pulumi package add` writes: a name for a remote component.
SDK = """
import pulumi
from pydantic.alias_generators import to_camel


class Platform(pulumi.ComponentResource):
    def __init__(self, name, **inputs):
        props = {to_camel(key): value for key, value in inputs.items()}
        super().__init__("vigil:index:Platform", name, {**props, "namespace": None}, remote=True)
"""


def plugged(file: Path, runtime: object) -> None:
    """Say in a Pulumi.yaml where the package is, and what runs the program."""
    project = yaml.safe_load(file.read_text())
    project |= {
        "runtime": runtime,
        "packages": {"vigil": str(PLUGIN)},
        "plugins": {"providers": [{"name": "vigil", "path": str(PLUGIN)}]},
    }
    file.write_text(yaml.safe_dump(project))
    if runtime == THIS_PYTHON:
        _as_project(file.parent)


def consumer(engine: Engine, language: str, runtime: object, stack: str) -> Engine:
    """A copy of an example beside the engine's state, with its stack and its secrets."""
    folder = Path(tempfile.mkdtemp(dir=engine.folder)) / language
    shutil.copytree(EXAMPLES / language, folder)
    plugged(folder / "Pulumi.yaml", runtime)
    state = {"PULUMI_BACKEND_URL": f"file://{folder.parent}"}
    made = replace(engine, project=folder, env=engine.env | state)
    made.must("stack", "init", stack)
    pairs = [part for key in NEEDED for part in ("--secret", f"{key}={SECRETS[key]}")]
    made.must("config", "set-all", "--stack", stack, *pairs)
    return made


def _as_project(folder: Path) -> None:
    """Lock a project that depends on nothing."""
    (folder / "pyproject.toml").write_text(PROJECT_FILE)
    command = [uv() or "uv", "lock", "--offline", "--quiet"]
    subprocess.run(command, cwd=folder, check=True)


def package_program(engine: Engine, folder: Path, stack: str) -> tuple[Engine, dict[str, str]]:
    """The example in Python with its stack, and what its environment has; its SDK in `folder`."""
    (folder / "pulumi_vigil.py").write_text(SDK)
    return consumer(engine, "python", THIS_PYTHON, stack), {"PYTHONPATH": str(folder)}


def added(engine: Engine, example: str, stack: str) -> Engine:
    """A copy of an example with the SDK that Pulumi generates and installs, as a user does it."""
    runtime = yaml.safe_load((EXAMPLES / example / "Pulumi.yaml").read_text())["runtime"]
    made = consumer(engine, example, runtime, stack)
    made.must("package", "add", str(PLUGIN))
    return made


def generate_sdk(engine: Engine, folder: Path) -> None:
    """Lay the SDK that Pulumi generates for Python into `folder`, without installing it.

    `pulumi package add` would install it into the environment that the tests themselves run in.
    """
    out = Path(tempfile.mkdtemp(dir=engine.folder))
    to = ("--language", "python", "--out", str(out))
    made = engine.pulumi("package", "gen-sdk", str(PLUGIN), *to)
    if "GeneratePackage not implemented" in made.output:
        pytest.skip("this `pulumi-language-python` generates no SDK: Pulumi's own archive has one")
    assert made.code == 0, made.output[-3000:]
    shutil.copytree(out / "python" / "pulumi_vigil", folder / "pulumi_vigil")
    # The SDK asks for its version as that of an installed package.
    metadata = folder / "pulumi_vigil-0.0.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: pulumi_vigil\nVersion: 0.0.0\n")


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip where one of the programs is missing, and say how to get it."""
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason="; ".join(map(_missing, missing)))


def _missing(program: str) -> str:
    if program.startswith("pulumi-"):
        return f"no `{program}`: Pulumi's own archive has it beside `pulumi`"
    return f"no `{program}`: the language of the example needs it"
