"""The embedded log: a folder of append-only JSON-lines files, each of them a shard; as a source, a
sink and for dead letters."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from serve.stream.json_values import is_whole
from serve.stream.records import (
    MAX_RECORD_BYTES,
    DeadLetter,
    Id,
    RawRecord,
    RecentIds,
    RecordBatch,
    Refusals,
    Result,
    StreamError,
)
from vigil.locks import HeldLock, try_lock

READ_BYTES = 4 * MAX_RECORD_BYTES
MAX_REMEMBERED_LETTERS = 50_000
TAIL_BYTES = 64 * 2**20  # of an output that is read for recent ids
SEEK_BYTES = 2**16
SUFFIX = ".jsonl"
_HEAD_BYTES = 16
_NO_TEXT = {
    b"\x1f\x8b": "compressed by gzip",
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"BZh": "compressed by bzip2",
    b"PK\x03\x04": "a zip file",
    b"PAR1": "a Parquet file",
    b"\xff\xfe": "text in UTF-16",
    b"\xfe\xff": "text in UTF-16",
}
log = logging.getLogger("vigil.stream")


class FileLog:
    """A folder as a source. A position is the offset of a line in its file.

    A line counts once its newline is there, or once it is made of whole JSON values. What is not
    read is said once: sub-folders, and files that are no text.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ignored: set[str] = set()
        if not folder.is_dir():
            raise StreamError(
                f"{folder} is no folder: make it, or name the one that the records are in"
            )

    def output_name(self, shard: str) -> str:
        """The shard; with a mark where another file has the name that its results would have."""
        name = shard
        while not shard.endswith(SUFFIX) and (self._folder / f"{name}{SUFFIX}").exists():
            name += "~"
        return name

    def shards(self, finished: set[str]) -> list[str]:
        paths = (path for path in self._folder.iterdir() if not path.name.startswith("."))
        return sorted(path.name for path in paths if self._is_read(path))

    def _is_read(self, path: Path) -> bool:
        if path.name in self._ignored:
            return False
        reason = _why_ignored(path)
        if reason is None:
            return True
        self._ignored.add(path.name)
        log.warning("%s is not read: %s", path, reason)
        return False

    def read(self, shard: str, position: str | None, max_records: int) -> RecordBatch:
        start = int(position or 0)
        path = self._folder / shard
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if size < start:
                raise _shrunk(path, size, start)
            file.seek(start)
            data = file.read(READ_BYTES)
            if len(data) == READ_BYTES and b"\n" not in data:
                return _read_overlong(file, start, size, data=data)
        return _read_lines(data, start, size, max_records=max_records)


def _read_lines(data: bytes, start: int, size: int, *, max_records: int) -> RecordBatch:
    """The first records of `data`, which begin at the offset `start` of a file of this size."""
    lines = _Lines(data, start)
    lines.split(max_records)
    torn = 0
    is_at_end = start + len(data) == size
    if is_at_end and len(lines.records) < max_records:
        lines.take_last()
        torn = len(lines.rest)
    return RecordBatch(lines.records, str(lines.end), float(size - lines.end), torn=torn)


def _why_ignored(path: Path) -> str | None:
    if path.is_dir():
        return "it is a folder. Name it as a source of its own, or put its files into this one"
    if not path.is_file():
        return "it is no file"
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    kinds = (kind for magic, kind in _NO_TEXT.items() if head.startswith(magic))
    kind = next(kinds, None)
    return f"it is {kind}. Put its lines there as text" if kind else None


def _shrunk(path: Path, size: int, start: int) -> StreamError:
    return StreamError(
        f"{path} has {size} bytes, {start} were read before: a log is only appended to. "
        "Put the file back, or write on under another name"
    )


class _Lines:
    """The records in `data`, which begin at the offset `start` of a file."""

    def __init__(self, data: bytes, start: int) -> None:
        self.records: list[RawRecord] = []
        self._data = data
        self._start = start
        self._at = 0

    @property
    def end(self) -> int:
        """The offset behind what was taken."""
        return self._start + self._at

    @property
    def rest(self) -> bytes:
        """What is no whole line."""
        return self._data[self._at :]

    def split(self, max_records: int) -> None:
        """Take whole lines; blank ones are no records."""
        while len(self.records) < max_records:
            end = self._data.find(b"\n", self._at)
            if end < 0:
                return
            self._take(end)
            self._at += 1

    def take_last(self) -> None:
        """Take a last line whose newline is missing, where nothing else of it can be."""
        if is_whole(self.rest):
            self._take(len(self._data))

    def _take(self, end: int) -> None:
        line = self._data[self._at : end].strip()
        if line:
            self.records.append(RawRecord(str(self.end), line))
        self._at = end


def _read_overlong(file: IO[bytes], start: int, size: int, *, data: bytes) -> RecordBatch:
    """A line that is longer than a read: one record, which will be a dead letter, once its end is
    there."""
    at = start + len(data)
    while block := file.read(READ_BYTES):
        end = block.find(b"\n")
        if end >= 0:
            after = at + end + 1
            return RecordBatch([RawRecord(str(start), data)], str(after), float(size - after))
        at += len(block)
    return RecordBatch([], str(start), float(size - start))


class LogWriter:
    """Appends whole lines to the files of a folder. One writer a file; a torn last line is dealt
    with before the first."""

    def __init__(self, folder: Path, *, drop_torn: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._drop_torn = drop_torn
        self._files: dict[str, _LockedFile] = {}

    def path(self, shard: str) -> Path:
        return self._folder / (shard if shard.endswith(SUFFIX) else shard + SUFFIX)

    def append(self, shard: str, lines: bytes) -> None:
        """Hand `lines`, each with its newline, to the operating system: they outlive this
        process."""
        left = memoryview(lines)
        while left:  # a full disk may take a part
            left = left[self._file(shard).write(left) :]

    def flush(self, shard: str) -> int:
        """Make all lines outlive the machine; return the length of the file."""
        file = self._file(shard)
        os.fsync(file.fileno())
        return file.seek(0, os.SEEK_END)

    def _file(self, shard: str) -> IO[bytes]:
        return self._files[shard].file if shard in self._files else self.open(shard)

    def open(self, shard: str) -> IO[bytes]:
        """Take the file anew. Raises StreamError when another process writes it."""
        self.close(shard)
        path = self.path(shard)
        lock = try_lock(path)
        if lock is None:
            raise StreamError(f"another process writes {path}: give each stream folders of its own")
        file = path.open("ab", buffering=0)
        self._files[shard] = _LockedFile(file, lock)
        torn = _torn_bytes(path)
        if torn and self._drop_torn:
            file.truncate(path.stat().st_size - torn)
        elif torn:
            file.write(b"\n")
        return file

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
    if not path.exists():
        return 0
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        at = size
        while at > 0:
            step = min(at, SEEK_BYTES)
            at -= step
            file.seek(at)
            newline = file.read(step).rfind(b"\n")
            if newline >= 0:
                return size - at - newline - 1
        return size


def read_tail(path: Path, since: int) -> Iterator[bytes]:
    """The whole lines from the offset `since` on, and those of some megabytes before it."""
    if not path.exists():
        return
    start = max(0, min(since, path.stat().st_size) - TAIL_BYTES)
    with path.open("rb") as file:
        file.seek(start)
        if start:
            file.readline()
        for line in file:
            if line.endswith(b"\n"):
                yield line


class _IdOnly(msgspec.Struct):
    id: Id


class FileSink:
    """Results as lines of `<folder>/<shard>.jsonl`. The file itself tells which ids it has."""

    name = "file"

    def __init__(self, folder: Path) -> None:
        self.writer = LogWriter(folder)
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(_IdOnly)

    def recover(self, shard: str, state: Any) -> Iterable[Id]:
        self.writer.open(shard)
        lines = read_tail(self.writer.path(shard), int(state or 0))
        return [self._decoder.decode(line).id for line in lines]

    def write(self, shard: str, results: list[Result]) -> Refusals:
        self.writer.append(shard, self._encoder.encode_lines(results))
        return []

    def flush(self, shard: str) -> int:
        return self.writer.flush(shard)

    def close(self, shard: str) -> None:
        self.writer.close(shard)


class DeadLetters:
    """Dead letters as lines of `<folder>/<shard>.jsonl`, each record once."""

    def __init__(self, folder: Path) -> None:
        self.writer = LogWriter(folder)
        self._written: dict[str, RecentIds] = {}  # positions
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(DeadLetter)

    def recover(self, shard: str, state: Any) -> None:
        """Learn from the file what was written since the checkpoint."""
        self.writer.open(shard)
        lines = read_tail(self.writer.path(shard), int(state or 0))
        written = RecentIds(MAX_REMEMBERED_LETTERS)
        written.add(self._decoder.decode(line).position for line in lines)
        self._written[shard] = written

    def write(self, shard: str, letters: list[DeadLetter]) -> int:
        """Write those that are not there yet; return how many these were."""
        new = [letter for letter in letters if letter.position not in self._written[shard]]
        if new:
            self.writer.append(shard, self._encoder.encode_lines(new))
        return len(new)

    def flush(self, shard: str) -> int:
        return self.writer.flush(shard)

    def close(self, shard: str) -> None:
        self._written.pop(shard, None)
        self.writer.close(shard)
