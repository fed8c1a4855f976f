"""Where a table is: the files of a path, folder, glob or s3:// prefix.

Each has what tells its content apart.
"""

from __future__ import annotations

import glob
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import IO, Any

from train.table import s3
from train.table.s3 import S3Object, is_s3
from vigil.errors import DataError

_FILE_KINDS = (".csv", ".parquet", ".npz")
_OTHER_ENDINGS = {".tsv": ".csv"}  # what separates its columns is seen in the file
_WILDCARDS = set("*?[")


@dataclass(frozen=True)
class File:
    """One file; `path` is local or s3://bucket/key.

    size: in bytes; etag: S3's, or the time of the last change of a local file; encoding: what its
    sender says of it, if anything
    """

    path: str
    size: int
    etag: str
    encoding: str | None = None

    @property
    def kind(self) -> str:
        """Its ending, as .csv."""
        ending = Path(self.path).suffix.lower()
        return _OTHER_ENDINGS.get(ending, ending)

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Open the file to read and seek in; raises DataError that names it when it cannot be."""
        try:
            stream = self._open()
        except OSError as error:
            reason = self._why_not(error)
            raise DataError(f"{self.path} cannot be read: {reason}") from error
        with stream:
            yield stream

    def _open(self) -> Any:
        return s3.open_object(self.path) if is_s3(self.path) else Path(self.path).open("rb")

    def _why_not(self, error: OSError) -> str:
        if not isinstance(error, PermissionError) and "ACCESS_DENIED" not in str(error):
            return str(error)
        if is_s3(self.path):
            return "access is denied (the job needs s3:GetObject)"
        return "access is denied"


@dataclass(frozen=True)
class FileInMemory(File):
    """A file that was sent, and lies nowhere."""

    content: bytes = b""

    def _open(self) -> Any:
        return io.BytesIO(self.content)


@dataclass(frozen=True)
class FileSplit:
    """What one task reads: a file, or some row groups of a Parquet file.

    first_row: number of its first row in the file; rows: how many, where the file says so without
    being read
    """

    file: File
    row_groups: tuple[int, ...] = ()
    first_row: int = 0
    rows: int | None = None


def find_files(path: str | Path) -> list[File]:
    """Return the files of `path` by name: one file, those of a folder, or what matches a glob.

    Raises DataError when there are none, when one is empty, or when they are of unknown or of
    several kinds.
    """
    text = str(path)
    files = _find_in_s3(text) if is_s3(text) else _find_local(text)
    if not files:
        raise DataError(f"no such data file: {text}")
    for file in files:
        if file.size == 0:
            raise DataError(f"{file.path} is empty")
    _check_kinds(files, text)
    return files


def _check_kinds(files: list[File], text: str) -> None:
    kinds = sorted({file.kind for file in files})
    first = kinds[0]
    if len(kinds) > 1:
        raise DataError(
            f"{text} has files of the kinds {', '.join(kinds)}: "
            f"name those of one kind, as in {text}/*{first}"
        )
    if first not in _FILE_KINDS:
        raise DataError(
            f"{files[0].path}: unknown kind of file {first!r}; use .csv, .tsv, .parquet or .npz"
        )


def _find_local(text: str) -> list[File]:
    try:
        return list(map(_local_file, _distinct(_matching_paths(text))))
    except OSError as error:
        raise DataError(f"{text} cannot be read: {error}") from error


def _matching_paths(text: str) -> list[Path]:
    root = Path(text).expanduser()
    if _WILDCARDS & set(text) and not root.exists():
        matches = glob.glob(str(root), recursive=True)  # noqa: PTH207  # it takes absolute globs
        return [Path(match) for match in matches]
    if root.is_dir():
        return [path for path in root.rglob("*") if not _is_hidden(str(path.relative_to(root)))]
    return [root]


def _distinct(paths: list[Path]) -> list[Path]:
    """Files by name, each once: links may lead to one by many ways, or in a circle."""
    longest_first = sorted(paths, key=lambda path: (len(str(path)), str(path)), reverse=True)
    by_target = {path.resolve(): path for path in longest_first if path.is_file()}
    return sorted(by_target.values(), key=str)


def _local_file(path: Path) -> File:
    status = path.stat()
    return File(str(path), status.st_size, str(status.st_mtime_ns))


def _is_hidden(name: str) -> bool:
    """Markers such as _SUCCESS, and files that are being written."""
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _find_in_s3(text: str) -> list[File]:
    bucket, _, pattern = text.removeprefix("s3://").partition("/")
    if not bucket:
        raise DataError(f"{text} names no bucket: write s3://BUCKET/KEY")
    prefix = _before_wildcards(pattern)
    objects = s3.list_objects(text, bucket, prefix)
    if prefix != pattern:
        chosen = [found for found in objects if fnmatchcase(found.key, pattern)]
    else:
        chosen = _object_or_folder(objects, pattern)
    return [File(f"s3://{bucket}/{one.key}", one.size, one.etag) for one in chosen]


def _before_wildcards(pattern: str) -> str:
    for place, letter in enumerate(pattern):
        if letter in _WILDCARDS:
            return pattern[:place]
    return pattern


def _object_or_folder(objects: list[S3Object], key: str) -> list[S3Object]:
    """The object of this key, else those below it as a folder."""
    exact = [one for one in objects if one.key == key]
    if exact:
        return exact
    folder = key if not key or key.endswith("/") else f"{key}/"
    inside = [one for one in objects if one.key.startswith(folder)]
    return [one for one in inside if not _is_hidden(one.key.removeprefix(folder))]
