"""Which commit of the code this is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def checked_out_commit() -> str:
    """The commit that is checked out; empty where there is no checkout, as in an image."""
    root = Path(__file__).parent.parent
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return ""
    asked = subprocess.run(
        [git, "-C", str(root), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip()
