"""Where else results go: Parquet objects in S3 or a folder, and anomalies to a webhook."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from msgspec import UNSET

from serve.stream.kinesis import translate_aws_errors
from serve.stream.records import (
    Id,
    Refusals,
    Result,
    ShardLeaseLost,
    StreamError,
)
from serve.stream.scorer import Backoff
from vigil.aws import AwsError, aws_errors
from vigil.webhook import Delivery, post_delivery, signed_headers

_NUMBERS_KEY = b"vigil.number_ids"
_NUMBER = re.compile("-?[0-9]{1,30}")
RECENT_OBJECTS = 20  # whose ids are read when a shard is taken up
MAX_DELIVERIES = 6
_EXISTS_ALREADY = {"PreconditionFailed", "ConditionalRequestConflict"}


class ObjectStore(Protocol):
    """Objects by key, in which nothing is written twice."""

    def put(self, key: str, data: bytes) -> None:
        """Raises ShardLeaseLost when the object is there."""
        ...

    def get(self, key: str) -> bytes | None:
        """The object, or None where there is none."""
        ...


class Folder:
    """A folder as an object store in which nothing is written twice."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, key: str, data: bytes) -> None:
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        _write_durably(temporary, data)
        _move_to_new(temporary, path)

    def get(self, key: str) -> bytes | None:
        path = self._root / key
        return path.read_bytes() if path.exists() else None


def _move_to_new(temporary: Path, path: Path) -> None:
    """Raises ShardLeaseLost where something is already."""
    try:
        os.link(temporary, path)  # unlike a rename, refuses to replace
    except FileExistsError as error:
        raise ShardLeaseLost(f"{path} is there: another consumer wrote it") from error
    finally:
        temporary.unlink()


def _write_durably(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


class Bucket:
    """An S3 prefix in which nothing is written twice (If-None-Match)."""

    def __init__(
        self,
        client: Any,
        bucket: str,
        prefix: str,
    ) -> None:
        folder = prefix.strip("/")
        self._client = client
        self._bucket = bucket
        self._prefix = f"{folder}/" if folder else ""
        self._place = f"s3://{bucket}"

    def put(self, key: str, data: bytes) -> None:
        with translate_aws_errors(self._place):
            try:
                self._put_new(key, data)
            except AwsError as error:
                if error.code not in _EXISTS_ALREADY:
                    raise
                raise ShardLeaseLost(
                    f"{self._place}/{self._prefix}{key} is there: another consumer wrote it"
                ) from error

    def _put_new(self, key: str, data: bytes) -> None:
        with aws_errors(self._place):
            self._client.put_object(**self._object(key), Body=data, IfNoneMatch="*")

    def get(self, key: str) -> bytes | None:
        with translate_aws_errors(self._place), suppress(self._client.exceptions.NoSuchKey):
            answer = self._client.get_object(**self._object(key))
            return answer["Body"].read()
        return None

    def _object(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}


class ParquetSink:
    """Results as objects `<shard>/<n>.parquet`, one a checkpoint. The objects themselves tell what
    was written.

    Ids, entities and times are text in their columns; which ids were numbers is in the metadata.
    """

    name = "parquet"

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._next: dict[str, int] = {}
        self._held: dict[str, list[Result]] = {}

    def recover(
        self,
        shard: str,
        state: Any,
    ) -> Iterable[Id]:
        written = int(state or 0)
        ids: list[Id] = []
        first = max(0, written - RECENT_OBJECTS)
        for n in range(first, written):
            ids += self._ids_of(shard, n) or []
        while (more := self._ids_of(shard, written)) is not None:
            ids += more
            written += 1
        self._next[shard] = written
        self._held[shard] = []
        return ids

    def _ids_of(
        self,
        shard: str,
        n: int,
    ) -> list[Id] | None:
        """The ids in an object; None where there is none."""
        data = self._store.get(_object_key(shard, n))
        return None if data is None else _ids_in(data)

    def write(
        self,
        shard: str,
        results: list[Result],
    ) -> Refusals:
        self._held[shard] += results
        return []

    def flush(self, shard: str) -> int:
        if self._held[shard]:
            self._put(shard)
        return self._next[shard]

    def _put(self, shard: str) -> None:
        key = _object_key(shard, self._next[shard])
        data = _as_parquet(self._held[shard])
        self._store.put(key, data)
        self._next[shard] += 1
        self._held[shard] = []

    def close(self, shard: str) -> None:
        self._held.pop(shard, None)


def _object_key(shard: str, n: int) -> str:
    return f"{shard}/{n:09d}.parquet"


def _as_parquet(results: list[Result]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "id": [str(result.id) for result in results],
        "anomaly_score": [result.anomaly_score for result in results],
        "prediction": [result.prediction for result in results],
        "model_version": [result.model_version for result in results],
    }
    for name in ("entity", "time"):
        columns[name] = _texts(results, name)
    columns["warming"] = [result.warming is True for result in results]
    runs = msgspec.json.encode(_runs_of_numbers(results))
    table = pa.table(columns)
    table = table.replace_schema_metadata({_NUMBERS_KEY: runs})
    buffer = BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _texts(results: list[Result], name: str) -> Any:
    """A field that not all results have, as a column of text."""
    import pyarrow as pa

    return pa.array([_text(getattr(result, name)) for result in results], pa.string())


def _text(value: Any) -> str | None:
    return None if value is UNSET else str(value)


def _runs_of_numbers(results: list[Result]) -> list[tuple[int, int]]:
    """Begin and end of each run of results whose ids are numbers: the column has their text."""
    is_number = [isinstance(result.id, int) for result in results]
    edges = np.diff(is_number, prepend=False, append=False)
    begins_and_ends = np.flatnonzero(edges).tolist()
    begins = begins_and_ends[::2]
    ends = begins_and_ends[1::2]
    return list(zip(begins, ends, strict=True))


def _ids_in(data: bytes) -> list[Id]:
    """The ids of an object, as they were sent."""
    import pyarrow.parquet as pq

    table = pq.read_table(BytesIO(data), columns=["id"])
    texts = table["id"].to_pylist()
    metadata = table.schema.metadata or {}
    if _NUMBERS_KEY not in metadata:
        return list(_possible_ids(texts))
    ids: list[Id] = list(texts)
    runs = msgspec.json.decode(metadata[_NUMBERS_KEY])
    for begin, end in runs:
        numbers = texts[begin:end]
        ids[begin:end] = map(int, numbers)
    return ids


def _possible_ids(texts: list[str]) -> Iterator[Id]:
    """Ids of an older release's object: as text and, where they may have been one, as number."""
    for text in texts:
        yield text
        if _NUMBER.fullmatch(text):
            yield int(text)


class Webhook:
    """Anomalies as signed POSTs, one each, in order; after `tries` in vain the result is refused,
    to the dead letters.

    After a crash an anomaly may come again, under the same X-Vigil-Delivery: only the receiver can
    tell.
    """

    name = "webhook"

    def __init__(
        self,
        url: str,
        secret: str,
        tries: int = MAX_DELIVERIES,
        *,
        wait: Callable[[float], Any] = time.sleep,
    ) -> None:
        if not secret:
            raise StreamError(
                "a webhook is signed: set VIGIL_SERVE_STREAM_WEBHOOK_SECRET to a secret that its "
                "receiver knows"
            )
        self._url = url
        self._secret = secret.encode()
        self._tries = tries
        self._wait = wait

    def recover(
        self,
        shard: str,
        state: Any,
    ) -> Iterable[Id]:
        return []

    def write(
        self,
        shard: str,
        results: list[Result],
    ) -> Refusals:
        anomalies = [result for result in results if result.prediction == -1]
        refusals = map(self._deliver, anomalies)
        pairs = zip(anomalies, refusals, strict=True)
        return [(result, reason) for result, reason in pairs if reason is not None]

    def flush(self, shard: str) -> None:
        return None

    def close(self, shard: str) -> None:
        """Nothing is held back."""

    def _deliver(self, result: Result) -> str | None:
        """None when it was taken, else why not."""
        backoff = Backoff(self._wait)
        delivery = self._post(result)
        for _ in range(self._tries - 1):
            if delivery.is_taken or delivery.is_refused:
                break
            backoff.pause()
            delivery = self._post(result)
        if delivery.is_taken:
            return None
        return delivery.reason if delivery.is_refused else f"{delivery.reason}, {self._tries} times"

    def _post(self, result: Result) -> Delivery:
        body = msgspec.json.encode(result)
        headers = signed_headers(
            self._secret,
            body,
            delivery_id=str(result.id),
            now=time.time(),
        )
        headers["content-type"] = "application/json"
        return post_delivery(
            self._url,
            body,
            headers,
            use_proxy=False,
        )
