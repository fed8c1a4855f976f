"""Locks between processes: flock on a file, by filelock.

The operating system lets go of such a lock when its process ends, however that ends, and at no
other time. The file stays, with what is in it: whether it exists says nothing. It may be on a file
system that machines share. Processes that call flock by themselves are excluded as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from filelock import BaseFileLock  # imported where it is used: a replica only reads keys


class HeldLock(Protocol):
    """A lock of this process. Losing the last reference to it lets go as well."""

    def release(self) -> None:
        """Let go, in any thread."""
        ...


def try_lock(path: Path) -> HeldLock | None:
    """Lock `path`, which is created if need be; None, at once, while another has it.

    Another is a process, or this one by an earlier call.
    """
    from filelock import Timeout

    lock = _file_lock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Wait for the lock of `path`, and hold it for the length of the block."""
    with _file_lock(path):
        yield


def _file_lock(path: Path) -> BaseFileLock:
    from filelock import FileLock

    # A link names the file that it points to. Where there is no flock an error is better than a
    # lock that outlives its process.
    return FileLock(path.resolve(), thread_local=False, fallback_to_soft=False)
