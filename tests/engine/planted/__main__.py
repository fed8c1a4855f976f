"""Registers the resources of a JSON file, as they are written there."""

from __future__ import annotations

import importlib.metadata
import json
import os
from pathlib import Path

import pulumi

for each in json.loads(Path(os.environ["VIGIL_PLANTED"]).read_text()):
    package = each["type"].split(":")[0]
    opts = pulumi.ResourceOptions(version=importlib.metadata.version(f"pulumi-{package}"))
    pulumi.CustomResource(each["type"], each["name"], each["props"], opts)
