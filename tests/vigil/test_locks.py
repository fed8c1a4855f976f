"""Locks between processes: who else is excluded, and when a lock ends."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vigil.locks import hold_lock, try_lock

HOLDER = """
import sys
from pathlib import Path
from vigil.locks import try_lock
lock = try_lock(Path(sys.argv[1]))
print(lock is not None, flush=True)
sys.stdin.read()
"""
BY_FLOCK = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
print(True, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@contextmanager
def another_process(program: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the lock, until it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        yield holder
        holder.kill()


@pytest.mark.parametrize("program", [HOLDER, BY_FLOCK], ids=["this module", "flock"])
def test_a_lock_ends_with_the_process_that_is_killed(path: Path, program: str) -> None:
    with another_process(program, path):
        assert try_lock(path) is None
    lock = try_lock(path)
    assert lock is not None
    lock.release()


def test_who_calls_flock_is_excluded(path: Path) -> None:
    lock = try_lock(path)
    with path.open("a") as file:
        with pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert lock is not None
        lock.release()
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_what_is_in_the_file_stays(path: Path) -> None:
    path.write_text("a record\n")
    lock = try_lock(path)
    assert path.read_text() == "a record\n"
    assert lock is not None
    lock.release()
    assert path.read_text() == "a record\n"


def test_the_same_process_is_excluded_through_a_link_too(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    lock = try_lock(link)
    assert lock is not None
    assert try_lock(path) is None
    lock.release()


def test_another_thread_may_let_go(path: Path) -> None:
    lock = try_lock(path)
    assert lock is not None
    thread = threading.Thread(target=lock.release)
    thread.start()
    thread.join()
    again = try_lock(path)
    assert again is not None
    again.release()


def test_who_waits_gets_the_lock_when_it_is_let_go(path: Path) -> None:
    order: list[str] = []

    def wait() -> None:
        with hold_lock(path):
            order.append("waiter")

    with hold_lock(path):
        thread = threading.Thread(target=wait)
        thread.start()
        order.append("holder")
    thread.join()
    assert order == ["holder", "waiter"]
