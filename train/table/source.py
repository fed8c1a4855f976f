"""Where a table is: the files of a path, folder, glob or s3:// prefix, with what tells their content apart."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import urlsplit

from vigil.errors import DataError

_FILE_KINDS = (".csv", ".parquet", ".npz")
WILD = set("*?[")
DENIED = {"AccessDenied", "403", "AllAccessDisabled", "InvalidAccessKeyId", "SignatureDoesNotMatch"}


@dataclass(frozen=True)
class File:
    """One file; `path` is local or s3://bucket/key. etag: S3's, or the time of the last change of a local file."""

    path: str
    size: int
    etag: str

    @property
    def kind(self) -> str:
        return Path(self.path).suffix.lower()

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The file for reading and seeking; raises DataError that names it when it cannot be read."""
        try:
            found = self._open()
        except OSError as error:
            denied = isinstance(error, PermissionError) or "ACCESS_DENIED" in str(error)
            told = (
                f"access is denied{' (the job needs s3:GetObject)' * is_s3(self.path)}"
                if denied
                else str(error)
            )
            raise DataError(f"{self.path} cannot be read: {told}") from error
        with found as opened:
            yield opened

    def _open(self) -> Any:
        if is_s3(self.path):
            return _filesystem().open_input_file(self.path.removeprefix("s3://"))
        return Path(self.path).open("rb")


def is_s3(path: str) -> bool:
    return path.startswith("s3://")


def find_files(path: str | Path) -> list[File]:
    """The files of `path` by name: one file, the files of a folder and its folders, or what matches a glob.

    Raises DataError when there are none, when one is empty, or when they are of unknown or of several kinds.
    """
    text = str(path)
    files = _find_s3(text) if is_s3(text) else _find_local(text)
    if not files:
        raise DataError(f"no such data file: {text}")
    if empty := next((file for file in files if file.size == 0), None):
        raise DataError(f"{empty.path} is empty")
    kinds = sorted({file.kind for file in files})
    if len(kinds) > 1:
        raise DataError(
            f"{text} has files of the kinds {', '.join(kinds)}: name those of one kind, as in {text}/*{kinds[0]}"
        )
    if kinds[0] not in _FILE_KINDS:
        raise DataError(
            f"{files[0].path}: unknown kind of file {kinds[0]!r}; use .csv, .parquet or .npz"
        )
    return files


def _find_local(text: str) -> list[File]:
    root = Path(text).expanduser()
    try:
        if WILD & set(text) and not root.exists():
            found = [Path(match) for match in glob.glob(str(root), recursive=True)]  # noqa: PTH207  # it takes absolute globs
        elif root.is_dir():
            found = [file for file in root.rglob("*") if not _hidden(str(file.relative_to(root)))]
        else:
            found = [root]
        # Links may lead to one file by many ways, or in a circle.
        found.sort(key=lambda file: (len(str(file)), str(file)), reverse=True)
        files = sorted({file.resolve(): file for file in found if file.is_file()}.values(), key=str)
        return [
            File(str(file), file.stat().st_size, str(file.stat().st_mtime_ns)) for file in files
        ]
    except OSError as error:
        raise DataError(f"{text} cannot be read: {error}") from error


def _hidden(name: str) -> bool:
    """Markers such as _SUCCESS, and files that are being written."""
    return any(part.startswith((".", "_")) for part in name.split("/"))


def _find_s3(text: str) -> list[File]:
    from botocore.exceptions import BotoCoreError, ClientError

    bucket, _, wanted = text.removeprefix("s3://").partition("/")
    if not bucket:
        raise DataError(f"{text} names no bucket: write s3://BUCKET/KEY")
    fixed = wanted[: next((i for i, letter in enumerate(wanted) if letter in WILD), len(wanted))]
    try:
        pages = list(
            _session()
            .client("s3")
            .get_paginator("list_objects_v2")
            .paginate(Bucket=bucket, Prefix=fixed)
        )
    except ClientError as error:
        _refuse(error, text, bucket)
    except BotoCoreError as error:
        raise DataError(f"{text} cannot be listed: {error}") from error
    objects = [
        found
        for page in pages
        for found in page.get("Contents", ())
        if not found["Key"].endswith("/")
    ]
    if fixed != wanted:
        chosen = [o for o in objects if fnmatchcase(o["Key"], wanted)]
    else:
        folder = wanted if not wanted or wanted.endswith("/") else f"{wanted}/"
        inside = [
            o
            for o in objects
            if o["Key"].startswith(folder) and not _hidden(o["Key"].removeprefix(folder))
        ]
        chosen = [o for o in objects if o["Key"] == wanted] or inside
    return [File(f"s3://{bucket}/{o['Key']}", o["Size"], o["ETag"].strip('"')) for o in chosen]


def _refuse(error: Any, text: str, bucket: str) -> NoReturn:
    code = error.response.get("Error", {}).get("Code", "")
    if code == "NoSuchBucket":
        raise DataError(f"{text}: there is no bucket {bucket!r}") from error
    if code in DENIED:
        raise DataError(
            f"{text}: access to the bucket {bucket!r} is denied ({code}): the job needs s3:ListBucket and s3:GetObject on it"
        ) from error
    raise DataError(f"{text} cannot be listed: {error}") from error


@cache
def _session() -> Any:
    """One for the process: it takes long to make, and renews its credentials by itself."""
    import boto3

    return boto3.Session()


def _filesystem() -> Any:
    """pyarrow's S3 with the credentials, region and endpoint that boto3 finds (AWS_ENDPOINT_URL and the like)."""
    from pyarrow.fs import S3FileSystem

    client = _session().client("s3")
    found, endpoint = _session().get_credentials(), urlsplit(client.meta.endpoint_url)
    keys = found.get_frozen_credentials() if found else None
    return S3FileSystem(
        access_key=keys.access_key if keys else None,
        secret_key=keys.secret_key if keys else None,
        session_token=keys.token if keys else None,
        region=client.meta.region_name,
        scheme=endpoint.scheme,
        endpoint_override=endpoint.netloc,
    )
