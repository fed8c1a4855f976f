"""The embedded log: a folder of append-only JSON-lines files, each of them a shard; as a source, a
sink and for dead letters."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from serve.stream.json_values import is_whole
from serve.stream.log_writer import SUFFIX, LogWriter, size_of
from serve.stream.recent_ids import RecentIds
from serve.stream.records import (
    MAX_RECORD_BYTES,
    DeadLetter,
    Id,
    RawRecord,
    RecordBatch,
    Refusals,
    Result,
    StreamError,
)

READ_BYTES = 4 * MAX_RECORD_BYTES
MAX_REMEMBERED_LETTERS = 50_000
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
        if shard.endswith(SUFFIX):
            return shard
        name = shard
        while self._has_file(name + SUFFIX):
            name += "~"
        return name

    def _has_file(self, name: str) -> bool:
        return (self._folder / name).exists()

    def shards(self, finished: set[str]) -> list[str]:
        entries = self._folder.iterdir()
        return sorted(path.name for path in entries if self._is_read(path))

    def _is_read(self, path: Path) -> bool:
        name = path.name
        if name.startswith(".") or name in self._ignored:
            return False
        reason = _why_ignored(path)
        if reason is not None:
            self._ignore(path, reason)
        return reason is None

    def _ignore(self, path: Path, reason: str) -> None:
        self._ignored.add(path.name)
        log.warning("%s is not read: %s", path, reason)

    def read(
        self,
        shard: str,
        position: str | None,
        max_records: int,
    ) -> RecordBatch:
        start = int(position or 0)
        path = self._folder / shard
        with path.open("rb") as file:
            size = size_of(file)
            if size < start:
                raise _shrunk(path, size, start)
            file.seek(start)
            data = file.read(READ_BYTES)
            if len(data) == READ_BYTES and b"\n" not in data:
                return _read_overlong(
                    file,
                    start,
                    size,
                    data=data,
                )
        return _read_lines(
            data,
            start,
            size,
            max_records=max_records,
        )


def _read_lines(
    data: bytes,
    start: int,
    size: int,
    *,
    max_records: int,
) -> RecordBatch:
    """The first records of `data`, which begin at the offset `start` of a file of this size."""
    lines = _Lines(data, start)
    lines.split(max_records)
    torn = 0
    is_at_end = start + len(data) == size
    if is_at_end and len(lines.records) < max_records:
        lines.take_last()
        torn = len(lines.rest)
    unread = size - lines.end
    return RecordBatch(
        lines.records,
        str(lines.end),
        float(unread),
        torn=torn,
    )


def _why_ignored(path: Path) -> str | None:
    if path.is_dir():
        return "it is a folder. Name it as a source of its own, or put its files into this one"
    if not path.is_file():
        return "it is no file"
    kind = _binary_kind(path)
    return f"it is {kind}. Put its lines there as text" if kind else None


def _binary_kind(path: Path) -> str | None:
    """What a file is that is no text, by its first bytes."""
    magics = filter(_read_head(path).startswith, _NO_TEXT)
    return next((_NO_TEXT[magic] for magic in magics), None)


def _read_head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _shrunk(
    path: Path,
    size: int,
    start: int,
) -> StreamError:
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
            self._add(line)
        self._at = end

    def _add(self, line: bytes) -> None:
        record = RawRecord(str(self.end), line)
        self.records.append(record)


def _read_overlong(
    file: IO[bytes],
    start: int,
    size: int,
    *,
    data: bytes,
) -> RecordBatch:
    """A line that is longer than a read: one record, which will be a dead letter, once its end is
    there."""
    record = RawRecord(str(start), data)
    end = _next_line(file, start + len(data))
    if end is None:
        torn = size - start
        return RecordBatch(
            [],
            str(start),
            float(torn),
            torn=torn,
        )
    unread = size - end
    return RecordBatch([record], str(end), float(unread))


def _next_line(
    file: IO[bytes],
    at: int,
) -> int | None:
    """The offset of the next line, read on from the offset `at`; None where no newline is left."""
    while block := file.read(READ_BYTES):
        newline = block.find(b"\n")
        if newline >= 0:
            return at + newline + 1
        at += len(block)
    return None


class _IdOnly(msgspec.Struct):
    id: Id


class FileSink:
    """Results as lines of `<folder>/<shard>.jsonl`. The file itself tells which ids it has."""

    name = "file"

    def __init__(self, folder: Path) -> None:
        self.writer = LogWriter(folder)
        self._encoder = msgspec.json.Encoder()
        self._decoder = msgspec.json.Decoder(_IdOnly)

    def recover(
        self,
        shard: str,
        state: Any,
    ) -> Iterable[Id]:
        lines = self.writer.reopen(shard, state)
        return [self._decoder.decode(line).id for line in lines]

    def write(
        self,
        shard: str,
        results: list[Result],
    ) -> Refusals:
        lines = self._encoder.encode_lines(results)
        self.writer.append(shard, lines)
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
        written = RecentIds(MAX_REMEMBERED_LETTERS)
        written.add(self._positions(shard, state))
        self._written[shard] = written

    def _positions(
        self,
        shard: str,
        state: Any,
    ) -> Iterator[str]:
        lines = self.writer.reopen(shard, state)
        for letter in map(self._decoder.decode, lines):
            yield letter.position

    def write(
        self,
        shard: str,
        letters: list[DeadLetter],
    ) -> int:
        """Write those that are not there yet; return how many these were."""
        new = self._not_written(shard, letters)
        if new:
            lines = self._encoder.encode_lines(new)
            self.writer.append(shard, lines)
        return len(new)

    def _not_written(
        self,
        shard: str,
        letters: list[DeadLetter],
    ) -> list[DeadLetter]:
        written = self._written[shard]
        return [letter for letter in letters if letter.position not in written]

    def flush(self, shard: str) -> int:
        return self.writer.flush(shard)

    def close(self, shard: str) -> None:
        self._written.pop(shard, None)
        self.writer.close(shard)
