"""Files of captured windows, in a folder or below an s3:// URL: named by their time, put there whole, read by whoever trains."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from train.table.source import is_s3

FILES = "date=*/window-*.parquet"
ANSWER_S = 10.0  # of S3


class Windows(Protocol):
    """Parquet files `date=YYYY-MM-DD/window-MILLISECONDS.parquet`; whatever fails raises OSError."""

    def names(self) -> list[str]:
        """All of them, in the order of their time."""
        ...

    def read(self, name: str) -> IO[bytes]:
        """One, to be read and sought in; raises FileNotFoundError when it is gone."""
        ...

    def write(self, name: str, table: pa.Table) -> None:
        """Put one there: whole, or not at all."""
        ...

    def remove(self, name: str) -> None:
        """Take one away, if it is there."""
        ...


def windows(where: str | Path) -> Windows:
    """Those in a folder, or below an s3:// URL."""
    return _Bucket(str(where)) if is_s3(str(where)) else _Folder(Path(where))


def name_of(stamp: float) -> str:
    """The name of the window whose first row was seen at `stamp` (Unix seconds); sorts by time."""
    return f"date={datetime.fromtimestamp(stamp, UTC):%Y-%m-%d}/window-{int(stamp * 1000):015d}.parquet"


def stamp_of(name: str) -> int:
    """Milliseconds, as the name has them; -1 for what is no window."""
    digits = name.rpartition("/")[2].removeprefix("window-").removesuffix(".parquet")
    return int(digits) if digits.isdigit() else -1


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        return sorted(str(file.relative_to(self._folder)) for file in self._folder.glob(FILES))

    def read(self, name: str) -> IO[bytes]:
        return (self._folder / name).open("rb")

    def write(self, name: str, table: pa.Table) -> None:
        file = self._folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}")
        try:
            _write(table, temporary)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        (self._folder / name).unlink(missing_ok=True)


class _Bucket:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._bucket, self._prefix = parts.netloc, f"{parts.path.strip('/')}/".lstrip("/")
        self._client: Any = None

    def names(self) -> list[str]:
        pages = self._ask(lambda client: list(self._pages(client)))
        keys = [
            found["Key"].removeprefix(self._prefix)
            for page in pages
            for found in page.get("Contents", ())
        ]
        return sorted(key for key in keys if stamp_of(key) >= 0)

    def _pages(self, client: Any) -> Any:
        return client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{self._prefix}date="
        )

    def read(self, name: str) -> IO[bytes]:
        found = self._ask(
            lambda client: client.get_object(Bucket=self._bucket, Key=self._prefix + name)[
                "Body"
            ].read()
        )
        return io.BytesIO(found)

    def write(self, name: str, table: pa.Table) -> None:
        buffer = io.BytesIO()
        _write(table, buffer)
        body = buffer.getvalue()
        self._ask(
            lambda client: client.put_object(
                Bucket=self._bucket, Key=self._prefix + name, Body=body
            )
        )

    def remove(self, name: str) -> None:
        self._ask(lambda client: client.delete_object(Bucket=self._bucket, Key=self._prefix + name))

    def _ask(self, question: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        if self._client is None:
            import boto3
            from botocore.config import Config

            patience = Config(
                connect_timeout=ANSWER_S, read_timeout=ANSWER_S, retries={"total_max_attempts": 3}
            )
            self._client = boto3.client("s3", config=patience)
        try:
            return question(self._client)
        except ClientError as error:
            kind = (
                FileNotFoundError
                if error.response["Error"]["Code"] in ("NoSuchKey", "404")
                else OSError
            )
            raise kind(f"s3://{self._bucket}/{self._prefix}: {error}") from error
        except BotoCoreError as error:
            raise OSError(f"s3://{self._bucket}/{self._prefix}: {error}") from error


def _write(table: pa.Table, to: Any) -> None:
    # Measured values hardly repeat: to look for it takes longer than to write them.
    pq.write_table(table, to, use_dictionary=False)
