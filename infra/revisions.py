"""A rendering to compare: of a folder, or of any git revision by that revision's own code."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

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
        _render(where, environment, checkout=checkout, out=out)
        return _read(out)


def _check_out(revision: str, folder: Path) -> None:
    archive = ["git", "archive", revision]
    done = subprocess.run(archive, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        why = done.stderr.decode().strip()
        raise BadSettings(f"{revision!r} is neither a folder nor a git revision: {why}")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
        tar.extractall(folder, filter="data")


def _render(revision: str, environment: str, *, checkout: Path, out: Path) -> None:
    """Render by that revision's own code: that is what would have been applied."""
    code = _RENDER_CODE.format(environment=environment, out=str(out))
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1]
        raise BadSettings(f"{revision} does not render {environment}: {why}")


def _read(folder: Path) -> dict[str, str]:
    files = [*folder.glob("*/*.yaml"), *folder.glob(SETTINGS_JSON)]
    if not files:
        write = f"`vigil render --env E --out {folder}` writes them"
        raise BadSettings(f"{folder} holds no rendered manifests: {write}")
    return {str(file.relative_to(folder)): file.read_text() for file in files}
