"""Ends every process of a platform, whatever became of the one that started it.

All of them inherit `VIGIL_PLATFORM=<id>` in their environment: Ray, its workers, HAProxy, MLflow. `vigil up` starts this
module with the write end of a pipe in hand; when the pipe closes, `up` is gone, however it ended.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

MARK = "VIGIL_PLATFORM"
TERM_S = 5.0


def start(platform: str) -> subprocess.Popen[bytes]:
    """Start the reaper of `platform`; it waits for this process to close its standard input or to die."""
    environment = {key: value for key, value in os.environ.items() if key != MARK}
    return subprocess.Popen(
        [sys.executable, "-m", "serve.reaper", platform], stdin=subprocess.PIPE, env=environment, start_new_session=True
    )


def members(platform: str) -> list[psutil.Process]:
    """The living processes that carry the mark of `platform`, but for the caller."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid != os.getpid()
                and process.environ().get(MARK) == platform
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def reap(platform: str) -> int:
    """Ask, then kill; return how many processes there were. Repeats while others appear: they restart one another."""
    count = 0
    for _ in range(10):
        found = members(platform)
        if not found:
            break
        count += len(found)
        for process in found:
            _signal(process, kill=False)
        _, alive = psutil.wait_procs(found, TERM_S)
        for process in alive:
            _signal(process, kill=True)
        psutil.wait_procs(alive, TERM_S)
    return count


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        process.kill() if kill else process.terminate()
    except psutil.NoSuchProcess:
        pass


def main() -> None:
    """Wait for the end of standard input, then reap."""
    while sys.stdin.buffer.read(1):
        time.sleep(0)
    reap(sys.argv[1])


if __name__ == "__main__":
    main()
