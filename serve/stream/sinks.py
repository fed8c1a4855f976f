"""Where else results go: Parquet objects in S3 or a folder, and anomalies to a webhook."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from serve.stream.kinesis import translated
from serve.stream.records import Id, Result, ShardLeaseLost, StreamError
from serve.stream.scorer import Backoff
from vigil import http
from vigil.aws import AwsError, aws_errors

RECENT_OBJECTS = 20  # whose ids are read when a shard is taken up
FORBIDDEN = {"PreconditionFailed", "ConditionalRequestConflict"}


class Folder:
    """A folder as an object store in which nothing is written twice."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, data: bytes) -> None:
        """Raises ShardLeaseLost when the object is there."""
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unlike a rename, refuses to replace
        except FileExistsError as error:
            raise ShardLeaseLost(f"{path} is there: another consumer wrote it") from error
        finally:
            temporary.unlink()

    def get(self, key: str) -> bytes | None:
        path = self._root / key
        return path.read_bytes() if path.exists() else None


class Bucket:
    """An S3 prefix in which nothing is written twice (If-None-Match)."""

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = (
            client,
            bucket,
            f"{prefix.strip('/')}/" if prefix.strip("/") else "",
        )

    def put(self, key: str, data: bytes) -> None:
        place = f"s3://{self._bucket}"
        with translated(place):
            try:
                with aws_errors(place):
                    self._client.put_object(
                        Bucket=self._bucket, Key=self._prefix + key, Body=data, IfNoneMatch="*"
                    )
            except AwsError as error:
                if error.code not in FORBIDDEN:
                    raise
                raise ShardLeaseLost(
                    f"s3://{self._bucket}/{self._prefix}{key} is there: another consumer wrote it"
                ) from error

    def get(self, key: str) -> bytes | None:
        with translated(f"s3://{self._bucket}"):
            try:
                return self._client.get_object(Bucket=self._bucket, Key=self._prefix + key)[
                    "Body"
                ].read()
            except self._client.exceptions.NoSuchKey:
                return None


class ParquetSink:
    """Results as objects `<shard>/<n>.parquet`, one a checkpoint. The objects themselves tell what was written.

    Ids are strings in the column, so 5 and "5" are the same id here.
    """

    name = "parquet"

    def __init__(self, store: Folder | Bucket) -> None:
        self._store = store
        self._next: dict[str, int] = {}
        self._held: dict[str, list[Result]] = {}

    def recover(self, shard: str, state: Any) -> Iterable[Id]:
        at, found = max(0, int(state or 0) - RECENT_OBJECTS), []
        while (data := self._store.get(_key(shard, at))) is not None or at < int(state or 0):
            found += _ids(data) if data else []
            at += 1
        self._next[shard], self._held[shard] = at, []
        return found

    def write(self, shard: str, results: list[Result]) -> list[tuple[Result, str]]:
        self._held[shard] += results
        return []

    def flush(self, shard: str) -> int:
        if self._held[shard]:
            self._store.put(_key(shard, self._next[shard]), _parquet(self._held[shard]))
            self._next[shard], self._held[shard] = self._next[shard] + 1, []
        return self._next[shard]

    def close(self, shard: str) -> None:
        self._held.pop(shard, None)


def _key(shard: str, n: int) -> str:
    return f"{shard}/{n:09d}.parquet"


def _parquet(results: list[Result]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    out, columns = (
        BytesIO(),
        {name: [getattr(r, name) for r in results] for name in Result.__struct_fields__},
    )
    pq.write_table(pa.table(columns | {"id": [str(r.id) for r in results]}), out)
    return out.getvalue()


def _ids(data: bytes) -> Iterable[Id]:
    import pyarrow.parquet as pq

    for text in pq.read_table(BytesIO(data), columns=["id"])["id"].to_pylist():
        yield text
        if re.fullmatch("-?[0-9]{1,30}", text):
            yield int(text)


def signature(secret: bytes, timestamp: str, body: bytes) -> str:
    """The header X-Vigil-Signature: HMAC-SHA256 over "<timestamp>.<body>". Receivers compare it in constant time and refuse
    old timestamps."""
    return f"v1={hmac.new(secret, timestamp.encode() + b'.' + body, hashlib.sha256).hexdigest()}"


class Webhook:
    """Anomalies as signed POSTs, one each, in order; after `tries` in vain the result is refused, to the dead letters.

    After a crash an anomaly may come again, under the same X-Vigil-Delivery: only the receiver can tell.
    """

    name = "webhook"

    def __init__(
        self, url: str, secret: str, tries: int = 6, wait: Callable[[float], Any] = time.sleep
    ) -> None:
        if not secret:
            raise StreamError(
                "a webhook is signed: set VIGIL_SERVE_STREAM_WEBHOOK_SECRET to a secret that its receiver knows"
            )
        self._url = url
        self._secret = secret.encode()
        self._tries = tries
        self._wait = wait

    def recover(self, shard: str, state: Any) -> Iterable[Id]:
        return []

    def write(self, shard: str, results: list[Result]) -> list[tuple[Result, str]]:
        told = ((result, self._deliver(result)) for result in results if result.prediction == -1)
        return [(result, why) for result, why in told if why]

    def flush(self, shard: str) -> None:
        return None

    def close(self, shard: str) -> None:
        """Nothing is held back."""

    def _deliver(self, result: Result) -> str | None:
        """None when it was taken, else why not."""
        backoff, why = Backoff(self._wait), ""
        for n in range(self._tries):
            status, why = self._post(msgspec.json.encode(result), str(result.id))
            if 200 <= status < 300:
                return None
            if 400 <= status < 500 and status not in (408, 425, 429):
                return why
            if n + 1 < self._tries:
                backoff.pause()
        return f"{why}, {self._tries} times"

    def _post(self, body: bytes, delivery: str) -> tuple[int, str]:
        now = str(int(time.time()))
        headers = {
            "content-type": "application/json",
            "x-vigil-timestamp": now,
            "x-vigil-delivery": quote(delivery),
            "x-vigil-signature": signature(self._secret, now, body),
        }
        host = urlsplit(self._url).netloc
        try:
            with http.open_response(
                "POST", self._url, headers=headers, content=body, timeout_s=10, use_proxy=False
            ) as response:
                return response.status_code, f"{host} answered {response.status_code}"
        except OSError as error:
            return 0, f"{host} does not answer: {type(error).__name__}"
