"""Writes an environment's manifests as YAML: the same objects that `pulumi up` applies.

Without a cluster and without secrets. What only AWS knows (the database's address, the file
system's id) is left out; Pulumi applies the folder `foundation` itself.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from infra.manifests import all_objects
from infra.manifests.bindings import Bindings
from infra.manifests.parts import Manifest
from infra.settings import PlatformSettings
from infra.stack_settings import ROOT, read_files

SETTINGS_JSON = "settings.json"


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", value, style="|" if "\n" in value else None
    )


_Dumper.add_representer(str, _text)


def render_manifests(settings: PlatformSettings) -> dict[str, str]:
    """Path -> text of every file; equal settings give equal text."""
    found: dict[str, str] = {}
    for folder, objects in all_objects(settings, Bindings()).items():
        for one in objects:
            found[f"{folder}/{_name(one)}.yaml"] = yaml.dump(
                one, Dumper=_Dumper, sort_keys=True, width=130
            )
    # Not for the cluster: what `vigil doctor change` compares of AWS.
    found[SETTINGS_JSON] = (
        json.dumps(settings.model_dump(mode="json"), indent=1, sort_keys=True) + "\n"
    )
    return dict(sorted(found.items()))


def write_manifests(environment: str, out: Path, root: Path = ROOT) -> list[Path]:
    """Write the files of `environment`, whose settings are in `root`, below `out`.

    Files of an earlier rendering that are no more are removed.
    """
    files = render_manifests(read_files(environment, root))
    for old in [*out.glob("*/*.yaml"), out / SETTINGS_JSON]:
        if old.is_file() and str(old.relative_to(out)) not in files:
            old.unlink()
    for path, text in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text)
    return [out / path for path in files]


def _name(one: Manifest) -> str:
    metadata = one["metadata"]
    parts = [one["kind"], metadata.get("namespace", ""), metadata["name"]]
    return re.sub(r"[^a-z0-9.-]", "-", "-".join(part for part in parts if part).lower())
