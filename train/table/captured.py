"""Files of captured windows, in a folder or below an s3:// URL: named by their time, put there whole, read by whoever trains."""

from __future__ import annotations

import io
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from train.table.reader import Chunk, check
from train.table.source import File, is_s3
from train.table.table import Table
from vigil.arrays import Floats
from vigil.errors import DataError

_FILES = "date=*/window-*.parquet"
_ANSWER_TIMEOUT_S = 10.0  # of S3


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


def window_name(stamp: float) -> str:
    """The name of the window whose first row was seen at `stamp` (Unix seconds); sorts by time."""
    return f"date={datetime.fromtimestamp(stamp, UTC):%Y-%m-%d}/window-{int(stamp * 1000):015d}.parquet"


def window_ms(name: str) -> int:
    """Milliseconds, as the name has them; -1 for what is no window."""
    digits = name.rpartition("/")[2].removeprefix("window-").removesuffix(".parquet")
    return int(digits) if digits.isdigit() else -1


def read_captured(where: str | Path, since: float) -> Table | None:
    """The live rows that the monitor captured from `since` (Unix seconds) on, in time order; None when there are none.

    `where`: a folder or an s3:// URL. Raises DataError when it cannot be read.
    """
    kept, tables = windows(where), []
    try:
        for name in kept.names():
            if window_ms(name) < int(since * 1000):
                continue
            with (
                suppress(FileNotFoundError),
                kept.read(name) as file,
            ):  # the monitor's retention was faster
                whole = _whole(file, f"{name} in {where}")
                tables.append(
                    whole.select([name for name in whole.column_names if not name.startswith("_")])
                )
    except OSError as error:
        raise DataError(f"the captured rows in {where} cannot be read: {error}") from error
    if not tables:
        return None
    try:
        whole = pa.concat_tables(tables)
    except pa.ArrowInvalid as error:
        raise DataError(f"the captured rows since then are not of one schema: {error}") from error
    columns = tuple(whole.column_names)
    table = Table(
        np.column_stack([whole[name].to_numpy().astype(np.float64) for name in columns]), columns
    )
    check(Chunk(table.X, columns, 0), File(str(where), 0, ""), allow_missing=False)
    return table


def _whole(file: IO[bytes], where: str) -> pa.Table:
    try:
        return pq.ParquetFile(file).read()
    except pa.ArrowInvalid as error:
        raise DataError(f"{where} is not a readable Parquet file: {error}") from error


def read_request(where: str | Path, request: str) -> tuple[Table, Floats, str] | None:
    """The captured rows of one request, with the scores [n] they got and the version that gave them.

    A request may lie in several windows. Where a client has given one id to requests of several versions, it is the latest.
    """
    parts: list[pa.Table] = []
    kept = windows(where)
    for name in kept.names():
        with suppress(FileNotFoundError, pa.ArrowInvalid), kept.read(name) as file:
            part = pq.ParquetFile(file).read().filter(pc.field("_request") == request)
            if len(part):
                parts.append(part)
    if not parts:
        return None
    version = parts[-1]["_version"][-1].as_py()
    found = pa.concat_tables([part for part in parts if part["_version"][-1].as_py() == version])
    names = tuple(name for name in found.column_names if not name.startswith("_"))
    X = np.column_stack([found[name].to_numpy() for name in names])
    return Table(X, names), found["_score"].to_numpy(), version


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        return sorted(str(file.relative_to(self._folder)) for file in self._folder.glob(_FILES))

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
        return sorted(key for key in keys if window_ms(key) >= 0)

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
                connect_timeout=_ANSWER_TIMEOUT_S,
                read_timeout=_ANSWER_TIMEOUT_S,
                retries={"total_max_attempts": 3},
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
