"""Peers that Vigil is measured against, each in an environment of its own.

They are no dependencies of the project.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from vigil.errors import VigilError
from vigil.settings import HomeSettings
from vigil.terminal import say

INSTALL_TIMEOUT_S = 900


class PeerUnavailable(VigilError):
    """A peer cannot be installed here.

    Report it beside the results, do not leave it out in silence.
    """


def interpreter(name: str, *requirements: str) -> Path:
    """The Python of an environment with the `requirements` of pip; made on first use.

    It has this interpreter's version, lies in `VIGIL_HOME/cache/peers` and is kept for the next
    run. Raises PeerUnavailable with the installer's last words.
    """
    key = hashlib.sha256(
        "\n".join([platform.python_version(), *requirements]).encode()
    ).hexdigest()[:8]
    folder = HomeSettings().open().cache / "peers" / f"{name}-{key}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if ready.exists():
        return python
    say(f"installing {name} into {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv") or shutil.which("uv", path=Path(__file__).parents[2] / ".tools" / "bin")
    if uv:
        commands = [[uv, "venv", "--quiet", "--python", sys.executable, str(folder)]]
        commands += [[uv, "pip", "install", "--quiet", "--python", str(python), *requirements]]
    else:
        commands = [[sys.executable, "-m", "venv", str(folder)]]
        commands += [
            [
                str(python),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                *requirements,
            ]
        ]
    for command in commands:
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
            )
        except subprocess.TimeoutExpired as error:
            raise PeerUnavailable(
                f"{name} was not installed within {INSTALL_TIMEOUT_S} s"
            ) from error
        if done.returncode:
            raise PeerUnavailable(
                f"{name} cannot be installed: {' '.join(done.stderr.split())[-400:]}"
            )
    ready.touch()
    return python
