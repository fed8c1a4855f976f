"""Ends every process of a platform, or of a training that has a Ray of its own.

It does so whatever became of the process that started it.

All of them inherit `VIGIL_PLATFORM=<id>` in their environment: Ray, its workers, HAProxy, MLflow.
`vigil up` and `vigil train` start this module with the write end of a pipe in hand; when the pipe
closes, they are gone, however they ended. Ray by itself ends most of its processes when its driver
is killed, but an agent that is just starting stays for more than a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

PLATFORM_VARIABLE = "VIGIL_PLATFORM"
TERMINATE_TIMEOUT_S = 5.0
_MAX_ROUNDS = 10
# A process that is just being replaced by another program shows no environment for a moment.
EXEC_S = 0.1


@contextmanager
def reap_at_exit(platform: str) -> Iterator[None]:
    """All that is started in the block ends with it, also when this process is killed."""
    os.environ[PLATFORM_VARIABLE] = platform
    with start_reaper(platform):  # leaving closes its standard input, and waits for it
        try:
            yield
        finally:
            reap(platform)
            del os.environ[PLATFORM_VARIABLE]


def start_reaper(platform: str) -> subprocess.Popen[bytes]:
    """Start the reaper of `platform`; it waits until this process closes its stdin or dies."""
    environment = {key: value for key, value in os.environ.items() if key != PLATFORM_VARIABLE}
    return subprocess.Popen(
        [sys.executable, "-m", "vigil.reaper", platform],
        stdin=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


def marked_processes(platform: str) -> list[psutil.Process]:
    """The living processes that carry the mark of `platform`, but for the caller."""
    return [process for process in psutil.process_iter() if _is_marked(process, platform)]


def _is_marked(process: psutil.Process, platform: str) -> bool:
    try:
        if process.pid == os.getpid() or process.environ().get(PLATFORM_VARIABLE) != platform:
            return False
        return process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False


def reap(platform: str, timeout_s: float = TERMINATE_TIMEOUT_S) -> int:
    """Ask, after `timeout_s` kill; return how many processes there were.

    Repeats while others appear: they restart one another.
    """
    count = 0
    for _ in range(_MAX_ROUNDS):
        members = marked_processes(platform) or _at_second_sight(platform)
        if not members:
            break
        count += len(members)
        _end(members, timeout_s)
    return count


def _end(processes: list[psutil.Process], timeout_s: float) -> None:
    for process in processes:
        _signal(process, kill=False)
    _, alive = psutil.wait_procs(processes, timeout_s)
    for process in alive:
        _signal(process, kill=True)
    psutil.wait_procs(alive, timeout_s)


def _at_second_sight(platform: str) -> list[psutil.Process]:
    """The members that the first look could not see, as they were between two programs."""
    time.sleep(EXEC_S)
    return marked_processes(platform)


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
