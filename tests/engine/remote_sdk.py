"""What a program in Python has of the package, without what `pulumi package add` generates."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from tests.infra.recorded import ROOT

PLUGIN = ROOT / "infra" / "package"
NEEDED = ("rayToken", "apiKeys", "mlflowPassword", "mlflowSecretKey")
THIS_PYTHON = {"name": "python", "options": {"toolchain": "pip", "virtualenv": sys.prefix}}
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
