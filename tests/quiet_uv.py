"""A `uv` for the engine of tests, which leaves the environment alone."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.running import ROOT

SYNC_NOTHING = '#!/bin/sh\n[ "$1" = sync ] || exec "{uv}" "$@"\n'


def uv() -> str | None:
    """The path of uv: that of the machine, or what `make setup` has brought."""
    return shutil.which("uv") or shutil.which("uv", path=str(ROOT / ".tools" / "bin"))


def without_sync(folder: Path) -> Path:
    """Put a `uv` into a folder for the PATH, and return the folder.

    Pulumi runs `uv sync --inexact` before each program, which UV_NO_SYNC does not keep from: it
    would install the copy of the project that a test made in place of this checkout, in the
    environment that the tests run in, and leave it broken once the copy is gone.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "uv"
    file.write_text(SYNC_NOTHING.format(uv=uv() or "uv"))
    file.chmod(0o755)
    return folder
