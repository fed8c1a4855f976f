"""Files of captured windows, in a folder or below an s3:// URL.

They are named by their time, `date=YYYY-MM-DD/window-MILLISECONDS.parquet`, and put there whole.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from train.table.s3 import is_s3
from vigil.aws import AwsError, aws_client, aws_errors

_PATTERN = "date=*/window-*.parquet"
_S3_TIMEOUT_S = 10.0
_S3_ATTEMPTS = 3
_GONE = ("NoSuchKey", "404")


class WindowStore(Protocol):
    """Parquet files of windows; whatever fails raises OSError."""

    def names(self) -> list[str]:
        """Return all names, in the order of their time."""
        ...

    def read(self, name: str) -> IO[bytes]:
        """Open a file to read and seek in; raises FileNotFoundError when it is gone."""
        ...

    def write(
        self,
        name: str,
        table: pa.Table,
    ) -> None:
        """Put a file there: whole, or not at all."""
        ...

    def remove(self, name: str) -> None:
        """Take a file away, if it is there."""
        ...


def open_store(where: str | Path) -> WindowStore:
    """Return the store in a folder, or below an s3:// URL."""
    place = str(where)
    return _BucketStore(place) if is_s3(place) else _FolderStore(Path(place))


def window_name(seen: float) -> str:
    """Return the name of the window whose first row was seen then (Unix seconds).

    Names sort by time.
    """
    date = datetime.fromtimestamp(seen, UTC)
    return f"date={date:%Y-%m-%d}/window-{int(seen * 1000):015d}.parquet"


def window_ms(name: str) -> int:
    """Return the time in milliseconds that a name has; -1 for what is no window."""
    _, _, file = name.rpartition("/")
    digits = file.removeprefix("window-").removesuffix(".parquet")
    return int(digits) if digits.isdigit() else -1


class _FolderStore:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        files = self._folder.glob(_PATTERN)
        return sorted(str(file.relative_to(self._folder)) for file in files)

    def read(self, name: str) -> IO[bytes]:
        return (self._folder / name).open("rb")

    def write(
        self,
        name: str,
        table: pa.Table,
    ) -> None:
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}")
        try:
            _write_parquet(table, temporary)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


class _BucketStore:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._bucket = parts.netloc
        self._prefix = f"{parts.path.strip('/')}/".lstrip("/")
        self._client: Any = None

    def names(self) -> list[str]:
        keys = self._call(self._list_keys)
        names = [key.removeprefix(self._prefix) for key in keys]
        return sorted(name for name in names if window_ms(name) >= 0)

    def _list_keys(self, client: Any) -> list[str]:
        paginator = client.get_paginator("list_objects_v2")
        pages = paginator.paginate(Bucket=self._bucket, Prefix=f"{self._prefix}date=")
        keys: list[str] = []
        for page in pages:
            keys += [entry["Key"] for entry in page.get("Contents", ())]
        return keys

    def read(self, name: str) -> IO[bytes]:
        place = self._object(name)

        def get(client: Any) -> bytes:
            answer = client.get_object(**place)
            return answer["Body"].read()

        return io.BytesIO(self._call(get))

    def write(
        self,
        name: str,
        table: pa.Table,
    ) -> None:
        buffer = io.BytesIO()
        _write_parquet(table, buffer)
        window = {**self._object(name), "Body": buffer.getvalue()}
        self._call(lambda client: client.put_object(**window))

    def remove(self, name: str) -> None:
        place = self._object(name)
        self._call(lambda client: client.delete_object(**place))

    def _object(self, name: str) -> dict[str, str]:
        return {
            "Bucket": self._bucket,
            "Key": self._prefix + name,
        }

    def _call(self, request: Callable[[Any], Any]) -> Any:
        """Return what S3 answers to a request; raises OSError."""
        if self._client is None:
            self._client = aws_client(
                "s3",
                timeout_s=_S3_TIMEOUT_S,
                max_attempts=_S3_ATTEMPTS,
            )
        with _missing_objects(f"s3://{self._bucket}/{self._prefix}"):
            return request(self._client)


@contextmanager
def _missing_objects(place: str) -> Iterator[None]:
    """Raise what S3 refuses as OSError, and FileNotFoundError for an object that is gone."""
    try:
        with aws_errors(place):
            yield
    except AwsError as error:
        if error.code in _GONE:
            raise FileNotFoundError(str(error)) from error
        raise


def _write_parquet(table: pa.Table, target: Any) -> None:
    # Measured values hardly repeat: to look for it takes longer than to write them.
    pq.write_table(table, target, use_dictionary=False)
