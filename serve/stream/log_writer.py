"""Files of lines that are only appended to, each by one process at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from serve.stream.records import StreamError
from vigil.locks import HeldLock, try_lock

TAIL_BYTES = 64 * 2**20  # of an output that is read for recent ids
SEEK_BYTES = 2**16
SUFFIX = ".jsonl"


class LogWriter:
    """Appends whole lines to the files of a folder. One writer a file; a torn last line is dealt
    with before the first."""

    def __init__(
        self,
        folder: Path,
        *,
        drop_torn: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._drop_torn = drop_torn
        self._files: dict[str, _LockedFile] = {}

    def path(self, shard: str) -> Path:
        name = shard if shard.endswith(SUFFIX) else shard + SUFFIX
        return self._folder / name

    def append(self, shard: str, lines: bytes) -> None:
        """Hand `lines`, each with its newline, to the operating system: they outlive this
        process."""
        file = self._file(shard)
        left = memoryview(lines)
        while left:  # a full disk may take a part
            written = file.write(left)
            left = left[written:]

    def flush(self, shard: str) -> int:
        """Make all lines outlive the machine; return the length of the file."""
        file = self._file(shard)
        os.fsync(file.fileno())
        return size_of(file)

    def _file(self, shard: str) -> IO[bytes]:
        held = self._files.get(shard)
        return held.file if held else self.open(shard)

    def open(self, shard: str) -> IO[bytes]:
        """Take the file anew. Raises StreamError when another process writes it."""
        self.close(shard)
        path = self.path(shard)
        lock = try_lock(path)
        if lock is None:
            raise StreamError(f"another process writes {path}: give each stream folders of its own")
        file = path.open("ab", buffering=0)
        self._files[shard] = _LockedFile(file, lock)
        self._mend(file, _torn_bytes(path))
        return file

    def _mend(
        self,
        file: IO[bytes],
        torn: int,
    ) -> None:
        """Deal with a last line of which so many bytes are there, and no newline."""
        if not torn:
            return
        if self._drop_torn:
            file.truncate(size_of(file) - torn)
        else:
            file.write(b"\n")

    def reopen(
        self,
        shard: str,
        length: int | None,
    ) -> Iterator[bytes]:
        """Take the file anew; yield its lines since it had this length, and some before them."""
        self.open(shard)
        return read_tail(self.path(shard), length or 0)

    def close(self, shard: str) -> None:
        """Let go of the file: another consumer writes it from now on."""
        if shard in self._files:
            self._files.pop(shard).close()


@dataclass(frozen=True)
class _LockedFile:
    """A file that one process appends to. The lock is that of the file itself, and changes nothing
    in it."""

    file: IO[bytes]
    lock: HeldLock

    def close(self) -> None:
        self.file.close()
        self.lock.release()


def _torn_bytes(path: Path) -> int:
    """How many bytes follow the last newline."""
    with path.open("rb") as file:
        return size_of(file) - _last_line(file)


def _last_line(file: IO[bytes]) -> int:
    """The offset behind the last newline."""
    at = size_of(file)
    while at > 0:
        step = min(at, SEEK_BYTES)
        at -= step
        file.seek(at)
        newline = file.read(step).rfind(b"\n")
        if newline >= 0:
            return at + newline + 1
    return 0


def read_tail(path: Path, since: int) -> Iterator[bytes]:
    """The whole lines from the offset `since` on, and those of some megabytes before it."""
    if not path.exists():
        return
    with path.open("rb") as file:
        end = min(since, size_of(file))
        start = end - TAIL_BYTES
        if start > 0:
            file.seek(start)
            file.readline()
        yield from (line for line in file if line.endswith(b"\n"))


def size_of(file: IO[bytes]) -> int:
    """The length of an open file."""
    return os.fstat(file.fileno()).st_size
