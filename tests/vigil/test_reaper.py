"""The reaper ends what carries the mark of its platform, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.running import eventually
from vigil import reaper

ROOT = Path(__file__).parents[2]
SLEEP = "import time; time.sleep(120)"
# A parent with a child in a session of its own; says that both are there.
TREE = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""
# Deaf to a polite end.
DEAF = (
    f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(0, flush=True); {SLEEP}"
)
# What `vigil up` and `vigil train` do: a reaper on the pipe, then marked children.
UP = f"""
import subprocess, sys
from vigil import reaper
with reaper.reap_at_exit(sys.argv[1]):
    child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
    print(child.pid, flush=True)
    child.wait()
"""

Spawn = Callable[..., tuple[subprocess.Popen[str], psutil.Process]]


@pytest.fixture
def platform() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """spawn(program, mark, *args): the process and the child whose pid it prints.

    A pid of 0 is the process itself.
    """
    started: list[subprocess.Popen[str]] = []
    seen: list[psutil.Process] = []

    def start(
        program: str, mark: str | None, *args: str
    ) -> tuple[subprocess.Popen[str], psutil.Process]:
        environment = {k: v for k, v in os.environ.items() if k != reaper.PLATFORM_VARIABLE} | (
            {reaper.PLATFORM_VARIABLE: mark} if mark else {}
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program, *args],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        child = psutil.Process(int(process.stdout.readline()) or process.pid)
        seen.append(child)
        return process, child

    yield start
    for child in seen:
        if child.is_running():
            child.kill()
    for process in started:
        process.kill()
        process.communicate()


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_marked_tree_ends_and_others_live(platform: str, spawn: Spawn) -> None:
    starter, child = spawn(TREE, platform)
    parent = psutil.Process(starter.pid)
    other, unmarked = spawn(TREE, uuid.uuid4().hex)[1], spawn(TREE, None)[1]
    eventually(
        lambda: {p.pid for p in reaper.marked_processes(platform)} == {parent.pid, child.pid}, 20
    )
    assert reaper.reap(platform) >= 2
    assert not alive(parent)
    assert not alive(child)
    assert alive(other)
    assert alive(unmarked)
    assert reaper.reap(platform) == 0


def test_one_that_does_not_listen_is_killed(platform: str, spawn: Spawn) -> None:
    _, itself = spawn(DEAF, platform)
    assert reaper.reap(platform, timeout_s=0.3) == 1
    assert not alive(itself)


def test_the_death_of_the_starter_ends_its_platform(platform: str, spawn: Spawn) -> None:
    starter, child = spawn(UP, None, platform)
    guards = [p for p in psutil.Process(starter.pid).children() if p.pid != child.pid]
    eventually(
        lambda: [p.pid for p in reaper.marked_processes(platform)] == [child.pid], 20
    )  # not in the moment of its exec
    starter.kill()
    eventually(lambda: not alive(child), 20)
    eventually(lambda: not any(alive(guard) for guard in guards), 20)
    assert len(guards) == 1
