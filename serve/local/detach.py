"""`vigil up -d`: the platform in a process of its own, and how to wait until it is ready."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from serve.local.deploy import START_TIMEOUT_S
from serve.local.parts import wait_until
from serve.local.platform import is_deployed
from vigil.errors import PlatformError
from vigil.home import Home, RunningPlatform


def start_in_background(home: Home, arguments: list[str]) -> RunningPlatform:
    """Start `vigil up` with these arguments, and return once its applications are deployed.

    Its output goes to logs/up.log. Raises PlatformError when one runs already or does not start.
    """
    running = home.platform()
    if running is not None:
        raise PlatformError(
            f"a platform runs already in {home.root} (pid {running.pid}, {running.url}): "
            "`vigil down` stops it"
        )
    start = _BackgroundStart(home, arguments)
    wait_until(
        lambda: start.deployed() is not None,
        START_TIMEOUT_S * 2,
        f"the platform is not ready, see {start.output}",
    )
    platform = start.deployed()
    assert platform is not None
    return platform


class _BackgroundStart:
    """A `vigil up` that is starting."""

    def __init__(self, home: Home, arguments: list[str]) -> None:
        self._home = home
        self.output = home.logs / "up.log"
        with self.output.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "vigil", "up", *arguments],
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def deployed(self) -> RunningPlatform | None:
        """The platform, once it is deployed; raises PlatformError when its process has ended."""
        if self._process.poll() is not None:
            raise PlatformError(
                f"the platform did not start: {_last_line(self.output)} (all of it: {self.output})"
            )
        platform = self._home.platform()
        if platform is None or not is_deployed(self._home, platform):
            return None
        return platform


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    if lines:
        return lines[-1]
    return "no output"
