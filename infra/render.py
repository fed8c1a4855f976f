"""Writes an environment's manifests as YAML: the same objects that `pulumi up` applies.

Without a cluster and without secrets. What only AWS knows (the database's address, the file
system's id) is left out; Pulumi applies the folder `foundation` itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from infra.manifests import all_objects
from infra.manifests.bindings import Bindings
from infra.manifests.parts import Manifest, names_of_manifest
from infra.settings import PlatformSettings
from infra.stack_settings import ROOT, read_files

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9.-]")
SETTINGS_JSON = "settings.json"


class _Dumper(yaml.SafeDumper):
    """Long texts as blocks; no anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def render_manifests(settings: PlatformSettings) -> dict[str, str]:
    """Path -> text of every file; equal settings give equal text."""
    files = {SETTINGS_JSON: _settings_json(settings)}
    for folder, objects in all_objects(settings, Bindings()).items():
        for manifest in objects:
            files[f"{folder}/{_name(manifest)}.yaml"] = _to_yaml(manifest)
    return dict(sorted(files.items()))


def _to_yaml(manifest: Manifest) -> str:
    return yaml.dump(
        manifest,
        Dumper=_Dumper,
        sort_keys=True,
        width=130,
    )


def _settings_json(settings: PlatformSettings) -> str:
    """Not for the cluster: what `vigil doctor change` compares of AWS."""
    values = settings.model_dump(mode="json")
    return f"{json.dumps(values, indent=1, sort_keys=True)}\n"


def write_manifests(
    environment: str,
    out: Path,
    root: Path = ROOT,
) -> list[Path]:
    """Write the files of `environment`, whose settings are in `root`, below `out`.

    Files of an earlier rendering that are no more are removed.
    """
    files = render_manifests(read_files(environment, root))
    _remove_others(out, files)
    return [_write(out / path, text) for path, text in files.items()]


def _remove_others(folder: Path, kept: Mapping[str, str]) -> None:
    for old in (*folder.glob("*/*.yaml"), *folder.glob(SETTINGS_JSON)):
        if str(old.relative_to(folder)) not in kept:
            old.unlink()


def _write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def _name(manifest: Manifest) -> str:
    name = "-".join(names_of_manifest(manifest))
    return _NOT_IN_A_NAME.sub("-", name.lower())
