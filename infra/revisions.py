"""A rendering to compare: of a folder, or of any git revision by that revision's own code."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml

from infra.render import SETTINGS_JSON
from infra.stack_settings import ROOT
from vigil.errors import BadSettings

# Runs in a checkout of any revision; `write` is what older ones call it.
_RENDER_CODE = """
from pathlib import Path
from infra import render
write = getattr(render, "write_manifests", None) or render.write
write({environment!r}, Path({out!r}))
"""


def read_rendering(where: str, environment: str) -> dict[str, str]:
    """The files (path -> text) of a rendered folder, or of `environment` at a git revision.

    Raises BadSettings where it is neither, does not render or holds nothing.
    """
    folder = Path(where)
    if folder.is_dir():
        return _read(folder)
    with tempfile.TemporaryDirectory() as temporary:
        checkout = Path(temporary) / "tree"
        out = Path(temporary) / "out"
        _check_out(where, checkout)
        _render(
            where,
            environment,
            checkout=checkout,
            out=out,
        )
        return _read(out)


def _check_out(revision: str, folder: Path) -> None:
    archive = ["git", "archive", revision]
    done = subprocess.run(
        archive,
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        why = done.stderr.decode().strip()
        raise BadSettings(f"{revision!r} is neither a folder nor a git revision: {why}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="data")


def _render(
    revision: str,
    environment: str,
    *,
    checkout: Path,
    out: Path,
) -> None:
    """Render by that revision's own code: that is what would have been applied."""
    code = _RENDER_CODE.format(environment=environment, out=str(out))
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command,
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1]
        raise BadSettings(f"{revision} does not render {environment}: {why}")


def _read(folder: Path) -> dict[str, str]:
    manifests = list(folder.glob("*/*.yaml"))
    if not manifests:
        write = f"`vigil render --env E --out {folder}` writes them"
        raise BadSettings(f"{folder} holds no rendered manifests: {write}")
    files = (*manifests, *folder.glob(SETTINGS_JSON))
    return {str(file.relative_to(folder)): _text(file) for file in files}


def _text(file: Path) -> str:
    """The text of a file that `vigil render` can have written."""
    try:
        text = file.read_text()
        content = yaml.load(text, yaml.CSafeLoader)  # it is the safe one; JSON is YAML
    except (yaml.YAMLError, ValueError) as error:
        raise BadSettings(f"{file} is no rendered file: {error}") from error
    if file.name == SETTINGS_JSON or _is_object(content):
        return text
    raise BadSettings(f"{file} is no rendered file: it holds no single object of Kubernetes")


def _is_object(content: Any) -> bool:
    if not isinstance(content, dict) or "kind" not in content:
        return False
    metadata = content.get("metadata")
    return isinstance(metadata, dict) and "name" in metadata
