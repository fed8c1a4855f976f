"""Folders of manifests, and reports on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from policies.cli import main
from policies.manifest_files import FileOutcome, read_manifests

POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "namespace": "n"},
    "spec": {"containers": [{"name": "c", "image": "r.example/x:1.2.3"}]},
}
PRIVILEGED: dict[str, Any] = {
    **POD,
    "spec": {
        "containers": [
            {"name": "c", "image": "nginx:latest", "securityContext": {"privileged": True}}
        ]
    },
}
WITHOUT_KIND = "apiVersion: v1\nmetadata: {name: p}\n"


def report(path: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["report", str(path), *options])


def outcome_of(folder: Path, content: str | bytes, name: str = "a.yaml") -> FileOutcome:
    """What becomes of one file in a folder."""
    data = content.encode() if isinstance(content, str) else content
    (folder / name).write_bytes(data)
    (outcome,) = read_manifests(folder)[1]
    return outcome
